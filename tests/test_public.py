"""What is public is there, documented, light to import, and works as the README shows it."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt.engine.devices import Devices
from aiovirt.events import Events

ROOT = Path(__file__).parent.parent
MODULES = sorted(name for _, name, _ in pkgutil.walk_packages(aiovirt.__path__, "aiovirt.") if name != "aiovirt.__main__")


@pytest.mark.parametrize("name", MODULES)
def test_everything_in_all_is_there_and_nothing_else_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "a module says what lives in it"
    public = getattr(module, "__all__", [])
    assert len(public) == len(set(public))
    for item in public:
        assert hasattr(module, item), item
    tree = ast.parse(inspect.getsource(module))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    missing = {item for item in defined if not item.startswith("_")} - set(public)
    if module.__name__.startswith("aiovirt.cli.verbs."):
        return  # a verb is reached by its name, and nothing lists verbs
    assert not missing, f"not in __all__: {missing}"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    for item in getattr(module, "__all__", []):
        value = getattr(module, item)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{item} has no docstring"


def test_the_front_door() -> None:
    for name in aiovirt.__all__:
        assert getattr(aiovirt, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        getattr(aiovirt, "nothing_of_the_kind")  # noqa: B009 - type checkers refuse it too
    tree = ast.parse(inspect.getsource(aiovirt))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported - {"annotations", "TYPE_CHECKING", "import_module", "version"} == {*aiovirt.__all__} - {"__version__"}


def test_the_front_door_has_what_a_guest_is_described_with() -> None:
    from aiovirt.model import spec, units

    assert {*spec.__all__} - {"by_target", "check_name"} <= {*aiovirt.__all__}
    assert {*units.__all__} - {"format_size"} <= {*aiovirt.__all__}
    assert aiovirt.DomainSpec(name="web", memory=512 * aiovirt.MiB) == spec.DomainSpec(name="web", memory=512 * 1024 * 1024)


def test_the_version_is_the_installed_one() -> None:
    assert aiovirt.__version__ == importlib.metadata.version("aiovirt")


def test_completion_sees_what_is_public_before_it_is_loaded() -> None:
    script = "import sys, aiovirt; print(sorted({*aiovirt.__all__} - {*dir(aiovirt)}), 'aiovirt.engine' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
    assert not [name for name in dir(aiovirt) if name.startswith("_") and not name.startswith("__")]


def test_help_begins_with_what_people_need() -> None:
    for described, words in (
        (aiovirt, ("aiovirt.connect(", "host.domain(", "host.events", "host.devices", "DomainSpec(", "aiovirt.events")),
        (aiovirt.Host, ("host.domain(", "host.define(", "host.events.subscribe(", "host.events.follow(", "host.devices.netdev(")),
    ):
        text = inspect.getdoc(described) or ""
        assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("kind", [aiovirt.Host, aiovirt.Domain, Devices, Events])
def test_every_public_member_says_what_it_is(kind: type) -> None:
    """And is a member of the class, so that help() and completion show it."""
    members = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    assert members
    assert [name for name, member in members.items() if not inspect.getdoc(member)] == []


@pytest.mark.anyio
async def test_what_a_host_has_is_in_its_help(host: aiovirt.Host) -> None:
    for value in (host, host.events, host.devices, host.domain("test")):
        assert [name for name in vars(value) if not name.startswith("_")] == []


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_sees_the_front_door(checker: str, tmp_path: Path) -> None:
    """A name that is not there is an error, one that is has its type."""
    good = "from aiovirt import Disk, DomainSpec, MiB\nimport aiovirt\nversion: str = aiovirt.__version__\n"
    good += "spec: DomainSpec = DomainSpec(name='a', memory=64 * MiB, devices=[Disk(source='/a', target='vda')])\n"
    command = [sys.executable, "-m", checker] + (["--strict", "--python-executable", sys.executable] if checker == "mypy" else [])
    for name, text, status in (("good", good, 0), ("bad", "from aiovirt import DomainSpecc\n", 1)):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        done = subprocess.run([*command, str(file)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout
        assert ("DomainSpecc" in done.stdout) is (name == "bad")


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    from aiovirt import errors

    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or "")) | {"Error"}
    real = {name for name in errors.__all__ if name not in ("ErrorCode", "ErrorDomain", "Place")}
    assert drawn == real
    for name in real - {"Error"}:
        kind = getattr(errors, name)
        line = next(line for line in (errors.__doc__ or "").splitlines() if f"── {name} " in line)
        number = re.search(r"\s(\d+)\s", line)
        if number:
            assert kind.code == int(number[1]), name


def test_importing_it_loads_no_backend_and_no_source() -> None:
    script = """
import sys, aiovirt
heavy = {"trio", "pyroute2", "pyudev", "qemu", "lxml", "uvloop"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_it_writes_nothing_by_itself() -> None:
    """Not even when something is wrong: logs are for who configures them, and stdout is the application's."""
    script = """
import anyio, aiovirt, pathlib, tempfile
from aiovirt.system.log import get_logger
get_logger("engine").error("something is wrong", device="x")
async def main():
    async with aiovirt.connect("test:///default") as host:
        await host.domain("test").destroy()
anyio.run(main)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")


# -- the README --------------------------------------------------------------------------------


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_readmes_example_runs_as_printed(backend: str, tmp_path: Path) -> None:
    example, *_ = readme_blocks("python")  # the others need QEMU: tests/real/test_readme.py
    assert "anyio.run(main)" in example
    script = tmp_path / "example.py"
    script.write_text(example.replace("anyio.run(main)", f"anyio.run(main, backend={backend!r})"))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert [line.split("  ")[1:] for line in ended.stdout.splitlines()] == [
        ["test", "suspended", "paused"],
        ["test", "resumed", "unpaused"],
    ]


def test_the_readmes_first_table_is_what_is_printed() -> None:
    table = next(block for block in readme_blocks("console") if "list --all" in block)
    command, _, expected = table.partition("\n")
    assert command == "$ aiovirt -c test:///default list --all"
    ended = subprocess.run([sys.executable, "-m", "aiovirt", *command.split()[2:]], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == expected.strip()


# -- the pytest plugin -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_fixture_host_is_a_fresh_test_host(host: aiovirt.Host) -> None:
    assert host.uri == "test:///default"
    await host.domain("test").suspend()


@pytest.mark.anyio
async def test_and_fresh_each_time(host: aiovirt.Host) -> None:
    assert host.domain("test").state is aiovirt.DomainState.RUNNING
    await anyio.lowlevel.checkpoint()
