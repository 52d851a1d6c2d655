"""All that is printed leaves through one door, which makes it harmless."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import aiovirt
from aiovirt.cli.logs import configure_logs
from aiovirt.cli.main import main
from aiovirt.cli.output import Output
from aiovirt.cli.terminal import Painted, Parser, Screen, complain
from aiovirt.drivers.qemu.errors import command_failed, session_lost, unexpected_reply
from aiovirt.errors import Error, GuestFailed, XMLInvalid
from aiovirt.system.log import get_logger
from aiovirt.text import cells
from tests.test_text import HOSTILE, is_harmless

ROOT = Path(aiovirt.__file__).parent
DOOR = ROOT / "cli/terminal.py"
EVIL = "".join(HOSTILE.values())


# -- nothing else prints ---------------------------------------------------------------------------

STREAMS = {"stdout", "stderr", "stdin", "__stdout__", "__stderr__", "__stdin__"}
PRINTERS = {"print", "print_exc", "print_exception", "print_stack", "pprint", "print_last", "input", "breakpoint", "showwarning"}
LOGGERS = {"StreamHandler", "FileHandler", "Formatter", "lastResort", "ArgumentParser"}


def sources() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != DOOR]


def prints(tree: ast.AST) -> Iterator[ast.AST]:
    """What could print without the door."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name in STREAMS:
                yield node
            case ast.ImportFrom(module="sys", names=names) if STREAMS & {alias.name for alias in names}:
                yield node
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in PRINTERS | LOGGERS:
                yield node
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="write"), args=[ast.Constant(value=1 | 2), *_]):
                yield node
            case ast.Call(func=ast.Attribute(value=ast.Name(id="warnings"), attr="warn")):
                yield node
            case ast.Call(func=ast.Name(id="open"), args=[ast.Constant(value=0 | 1 | 2 | "/dev/stdout" | "/dev/stderr" | "/dev/tty"), *_]):
                yield node


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_door_prints(path: Path) -> None:
    allowed = {"argparse.ArgumentParser"}  # as a type
    found = [
        f"{path.name}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"
        for node in prints(ast.parse(path.read_text()))
        if ast.unparse(node) not in allowed
    ]
    assert not found


def test_the_search_finds_what_prints() -> None:
    bad = [
        "print(1)",
        "sys.stdout.write('x')",
        "from sys import stderr",
        "os.write(2, b'')",
        "traceback.print_exc()",
        "logging.StreamHandler()",
        "warnings.warn('x')",
        "open('/dev/tty')",
    ]
    for line in bad:
        assert list(prints(ast.parse(line))), line
    assert not list(prints(ast.parse("log.warning('x'); out.line('x'); os.write(handle, b'')")))


def test_in_the_door_all_is_written_by_two_functions() -> None:
    """And both get only what was made harmless."""
    tree = ast.parse(DOOR.read_text())
    writers = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"write", "writelines"}
    }
    assert writers == {"_write", "_say"}


# -- what leaves it ----------------------------------------------------------------------------


def test_all_that_screens_show_is_harmless() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.line(EVIL, Painted(EVIL, "red"))
    screen.text(EVIL)
    screen.json(msgspec.json.encode({"a": EVIL.encode(errors="replace").decode()}).decode())
    screen.xml(f"<a>{EVIL}</a>")
    out = Output(json=False, stream=stream)
    out.table(("Name", EVIL), [("a", EVIL)])
    out.fields({"Name": EVIL, EVIL: "x"})
    out.object({"name": EVIL, EVIL: [EVIL]})
    out.object({"name": EVIL}, indent=2)
    shown = stream.getvalue()
    assert is_harmless(shown.replace("\n", ""))
    assert "\\x1b" in shown
    assert "\\u202e" in shown


def test_objects_keep_their_values() -> None:
    stream = io.StringIO()
    value = {"name": "\x9b\u202e\x7f\U000e0041東"}
    Output(json=True, stream=stream).object(value)
    assert json.loads(stream.getvalue()) == value
    Output(json=True, stream=stream).object({"path": "a\udcff"})
    assert stream.getvalue().splitlines()[1] == '{"path":"a\\\\udcff"}'


class OtherEncoding(io.StringIO):
    encoding = "iso-8859-1"


def test_json_and_xml_are_read_back_whatever_the_terminal_can_show() -> None:
    stream = OtherEncoding()
    Output(json=True, stream=stream).object({"name": "é東\N{PILE OF POO}"})
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue()) == {"name": "é東\N{PILE OF POO}"}
    stream = OtherEncoding()
    Output(json=False, stream=stream).xml("<name>é東</name>")
    assert stream.getvalue() == "<name>&#xe9;&#x6771;</name>\n"
    stream = OtherEncoding()
    Output(json=False, stream=stream).line("é東")
    assert stream.getvalue() == "é\\u6771\n"


def test_columns_are_cells() -> None:
    stream = io.StringIO()
    Output(json=False, stream=stream).table(("Id", "Name", "State"), [("1", "東京", "running"), ("2", "web-e\u0301", "running")])
    assert stream.getvalue().splitlines() == [
        " Id   Name    State",
        "-----------------------",
        " 1    東京    running",
        " 2    web-e\u0301   running",
        "",
    ]


@pytest.mark.parametrize(("columns", "widest"), [(200, 73), (60, 60), (40, 40), (30, 38)])
def test_a_table_fits_its_terminal(columns: int, widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as headings and eight columns of each let it; what is not a terminal gets all of it."""
    stream = io.StringIO()
    out = Output(json=False, stream=stream)
    monkeypatch.setattr(Screen, "width", columns)
    out.table(("Id", "Name", "State"), [("1", "東京" * 12, "running"), ("-", "web", "shut off")])
    lines = stream.getvalue().splitlines()
    assert max(map(cells, lines)) <= max(columns, widest)
    assert cells(lines[2]) <= widest
    assert lines[2].startswith(" 1    東京")
    assert ("…" in lines[2]) is (columns < 73)
    assert lines[3].endswith("shut off")


def test_what_is_no_terminal_is_as_wide_as_it_is() -> None:
    assert Screen(io.StringIO()).width is None
    stream = io.StringIO()
    Output(json=False, stream=stream).table(("Name",), [("x" * 500,)])
    assert "x" * 500 in stream.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        Error(EVIL),
        GuestFailed(f"QEMU said: {EVIL}", log=EVIL),
        XMLInvalid(EVIL, path=f"/domain/{EVIL}", line=3),
        command_failed("stop", "GenericError", EVIL),
        session_lost(EVIL),
        unexpected_reply("stop", EVIL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_reads_as_one_harmless_line(error: Error) -> None:
    assert is_harmless(str(error))
    assert EVIL in error.message


def test_log_lines_are_harmless_however_they_are_rendered() -> None:
    script = """
import sys, structlog
from pathlib import Path
from aiovirt.system.log import get_logger
import logging
logging.basicConfig(format="%(message)s", stream=sys.stdout)
structlog.configure(processors=[structlog.processors.KeyValueRenderer(repr_native_str=False)])
evil = "a\\x1b[2J\\nb\\u202e\\x9b\\udcff"
get_logger("engine").bind(program=evil).warning(evil, why=evil, path=Path(evil), raw=evil.encode(errors="replace"))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert is_harmless(said.removesuffix("\n"))
    assert said.count("\\u202e") == 5


def test_log_lines_of_others_are_harmless_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        configure_logs()
        logging.getLogger("asyncio").warning("%s", EVIL)
        logging.getLogger("asyncio").error("it failed", exc_info=ValueError(EVIL))
        get_logger("engine").error(EVIL, program=EVIL)
        get_logger("engine").error("a guest is cut off", exc_info=KeyError(EVIL), domain="web")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert is_harmless(said.getvalue().replace("\n", ""))
    assert "ValueError: " in said.getvalue()
    assert "\nKeyError: " in said.getvalue(), "a traceback"
    assert "domain=web\n" in said.getvalue()
    assert said.getvalue().count("\\x1b[2J") == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["domstate", EVIL],
        ["watch", EVIL],
        ["nodedev-info", EVIL],
        ["define", f"/{EVIL}"],
        ["event", "--type", EVIL],
        ["event", "--since", EVIL],
        ["event", "--subject", EVIL],
        ["qemu-monitor-command", "test", EVIL],
        ["qemu-monitor-event", "--event", f"({EVIL}", "--regex"],
        ["qmp-proxy", "test", EVIL],
        ["log", EVIL],
        ["-c", EVIL, "list"],
        ["-c", f"qemu:///embed?root={EVIL}", "list"],
        ["list", EVIL],
        ["list", f"--{EVIL}"],
        [EVIL],
        ["wait", "test", "--for", EVIL],
        ["--timeout", EVIL, "list"],
    ],
    ids=lambda arguments: arguments[0] if len(arguments[0]) < 30 else "evil",
)
def test_what_was_asked_for_is_harmless_when_it_is_said_again(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    try:
        status = main(["-c", "test:///default", *arguments])
    except SystemExit as left:
        status = int(left.code or 0)
    said = capsys.readouterr()
    assert status in {1, 2, 4}
    assert is_harmless(said.err.replace("\n", ""))
    assert "Traceback" not in said.err
    assert said.out == "" or is_harmless(said.out.replace("\n", ""))
    assert status == 2 or said.err.count("\n") == 1


def test_the_parsers_help_brings_no_escapes_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Parser(prog="aiovirt", description=EVIL).print_help()
    assert is_harmless(capsys.readouterr().out.replace("\n", ""))


class FullForAMoment(io.StringIO):
    is_full = True

    def flush(self) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")


def test_a_log_on_a_full_disk_goes_on_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    said = FullForAMoment()
    monkeypatch.setattr("sys.stderr", said)
    complain("one")
    said.is_full = False
    complain("two")
    assert said.getvalue() == "one\ntwo\n"
