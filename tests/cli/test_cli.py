"""The command line over ``test:///default``, in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiovirt.cli.main import main
from aiovirt.cli.output import Output
from aiovirt.events import decode
from tests.events.samples import netdev, started
from tests.support.command import TEST, run

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def test_list_is_virshs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--all")
    assert status == 0
    ours = out.splitlines()
    virsh = subprocess.run(["virsh", "-c", "test:///default", "list", "--all"], capture_output=True, text=True, check=True).stdout
    assert ours == virsh.splitlines()


@pytest.mark.parametrize("verb", [["domstate", "test"], ["domstate", "test", "--reason"], ["list", "--name"], ["list", "--uuid"]])
def test_other_verbs_are_virshs_too(capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    _, out, _ = run(capsys, *verb)
    virsh = subprocess.run(["virsh", "-c", "test:///default", *verb], capture_output=True, text=True, check=True).stdout
    assert out.split("(")[0].split() == virsh.split("(")[0].split()


def test_dominfo_has_virshs_fields(capsys: pytest.CaptureFixture[str]) -> None:
    def fields(text: str) -> dict[str, str]:
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines() if line)}

    _, out, _ = run(capsys, "dominfo", "test")
    virsh = subprocess.run(["virsh", "-c", "test:///default", "dominfo", "test"], capture_output=True, text=True, check=True).stdout
    ours, theirs = fields(out), fields(virsh)
    same = ("Id", "Name", "UUID", "State", "CPU(s)", "Max memory", "Persistent")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


@pytest.mark.parametrize("verb", ["suspend", "reset", "destroy", "shutdown", "undefine"])
def test_orders_say_what_they_did(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    status, out, err = run(capsys, verb, "test")
    assert (status, err) == (0, "")
    assert out.startswith("Domain 'test' ")
    if verb == "destroy":
        assert out == "Domain 'test' powered off; the definition stays\n"
    status, out, _ = run(capsys, verb, UUID, "--json")
    assert status == 0
    assert json.loads(out)["name"] == "test"
    assert json.loads(out)["result"]


def test_define_and_create(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, xml, _ = run(capsys, "dumpxml", "test")
    other = xml.replace("'test'", "'test'").replace("<name>test", "<name>other").replace(UUID, UUID.replace("6695", "7795"))
    file = tmp_path / "other.xml"
    file.write_text(other)
    assert run(capsys, "define", str(file))[1] == f"Domain 'other' defined from {file}\n"
    assert run(capsys, "create", str(file), "--paused")[1] == f"Domain 'other' created from {file}\n"
    with file.open() as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        assert run(capsys, "define", "-")[:2] == (0, "Domain 'other' defined from -\n")


def test_define_takes_what_libvirt_does_not_know_unless_it_is_to_validate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, xml, _ = run(capsys, "dumpxml", "test")
    file = tmp_path / "test.xml"
    file.write_text(xml)
    assert run(capsys, "define", "--validate", str(file)) == (0, f"Domain 'test' defined from {file}\n", "")
    file.write_text(xml.replace("</devices>", "<surprise/></devices>"))
    line = 1 + file.read_text().partition("<surprise/>")[0].count("\n")
    assert run(capsys, "define", str(file))[0::2] == (0, "")
    said = f"error: XML error: line {line}: /domain/devices/surprise: libvirt has nothing of this name\n"
    assert run(capsys, "define", "--validate", str(file)) == (1, "", said)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["domstate", "nope"], 4, "error: no domain has the name, id or uuid 'nope'"),
        (["watch", "nope"], 4, "error: there is neither a domain nor a network device nor a PCI function 'nope'"),
        (["start", "test"], 1, "error: the domain is already running"),
        (["define", "/no/such/file"], 1, "error: cannot read /no/such/file: No such file or directory"),
        (["event", "--event", "nope"], 1, "error: there is no event 'nope'"),
        (["event", "--since", "nope"], 1, "error: 'nope' is not a cursor"),
        (["event", "--timeout", "0.05"], 124, "error: nothing within 0.05 s"),
        (["wait", "test", "--for", "shutoff", "--timeout", "0.05"], 124, "error: nothing within 0.05 s"),
        (
            ["event", "--since", "01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001"],
            1,
            "error: an unknown number of events are no longer available",
        ),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (status, "")
    assert err.startswith(words)
    assert err.count("\n") == 1


DOCUMENT = (
    "<domain type='test'>\n  <name>x</name>\n  <title>Käse</title>\n  <memory>65536</memory>\n  <os><type>hvm</type></os>\n</domain>\n"
)


@pytest.mark.parametrize(
    "data",
    [
        ("<?xml version='1.0' encoding='ISO-8859-1'?>\n" + DOCUMENT).encode("latin-1"),
        ('<?xml version="1.0" encoding="windows-1252" standalone="yes"?>\n' + DOCUMENT).encode("cp1252"),
        ("<?xml version='1.0' encoding='UTF-16'?>\n" + DOCUMENT).encode("utf-16"),
        ("<?xml version='1.0' encoding='utf-8'?>\n" + DOCUMENT).encode("utf-8-sig"),
        ("<?xml version='1.0'?>\n" + DOCUMENT).encode(),
    ],
)
def test_a_file_is_in_the_encoding_that_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.xml"
    file.write_bytes(data)
    assert run(capsys, "define", str(file))[0::2] == (0, "")


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-7-of-tomorrow", "says that it is in the encoding 'utf-7-of-tomorrow', which cannot be read"),
        ("zip", "says that it is in the encoding 'zip', which cannot be read"),
        ("undefined", "says that it is in the encoding 'undefined', which cannot be read"),
        ("ascii", "is not ascii text: line 4 has the byte 0xe4"),
    ],
)
def test_a_wrong_encoding_is_named_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path, encoding: str, words: str) -> None:
    file = tmp_path / "x.xml"
    file.write_bytes(f"<?xml version='1.0' encoding='{encoding}'?>\n{DOCUMENT}".encode("latin-1"))
    place = "" if encoding == "ascii" else "XML error: line 1: "
    assert run(capsys, "define", str(file)) == (1, "", f"error: {place}{file} {words}\n")


def test_bad_xml_names_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.xml"
    file.write_text("<domain type='test'>\n  <name>x</name>\n  <memory>much</memory>\n  <os><type>hvm</type></os>\n</domain>\n")
    status, _, err = run(capsys, "define", str(file))
    assert status == 1
    assert "line 3" in err
    assert "/domain/memory" in err
    file.write_bytes(b"\xff\xfd")
    assert run(capsys, "define", str(file)) == (1, "", f"error: {file} is not UTF-8 text: line 1 has the byte 0xff\n")


@pytest.mark.parametrize("uri", ["foo:///x", "qemu+ssh://host/system", "qemu:///embed"])
def test_bad_uris(capsys: pytest.CaptureFixture[str], uri: str) -> None:
    assert main(["-c", uri, "list"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "arguments", [["sing"], ["start"], ["list", "--all", "--inactive"], ["event", "--timeout", "-1"], ["wait", "test", "--for", "asleep"]]
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*TEST, *arguments])
    assert left.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_without_a_verb_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "VERB" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("aiovirt ")


def test_wait_is_level_triggered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "wait", "test", "--for", "running")[:2] == (0, "Domain 'test' is running\n")


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_every_backend(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    status, out, _ = run(capsys, "--backend", backend, "list", "--name")
    assert (status, out) == (0, "test\n")


# -- following, in a process of its own -------------------------------------------------------------


def follow(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aiovirt", *TEST, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_watch_shows_what_is_there_and_ends_well_on_ctrl_c() -> None:
    with follow("watch") as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(4)]
        assert [line.split()[0] for line in lines[:3]] == ["test", "ens1f0", "ens1f1"]
        assert "Ctrl-C" in lines[3]
        watching.send_signal(signal.SIGINT)
        rest, err = watching.communicate(timeout=30)
    assert (watching.returncode, rest, err) == (0, "", "")


def test_watch_of_one_thing_as_json() -> None:
    with follow("watch", "ens1f1", "--json") as watching:
        assert watching.stdout is not None
        said = json.loads(watching.stdout.readline())
        assert (said["state"], said["name"], said["phys_port_id"]) == ("netdev", "ens1f1", "525400000001")
        watching.terminate()
        watching.communicate(timeout=30)
    assert watching.returncode == 0


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "aiovirt", *TEST, "list"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


# -- output ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_go_to_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, coloured in ((Terminal(), True), (io.StringIO(), False)):
        Output(json=False, stream=stream).event(started())
        assert ("\x1b[" in stream.getvalue()) is coloured
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(json=False, stream=stream).event(started())
    assert "\x1b[" not in stream.getvalue()


def test_events_as_json_are_cloudevents() -> None:
    from aiovirt.events import NetdevAdded

    stream = io.StringIO()
    event = NetdevAdded(device=netdev(1), cursor="01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001")
    Output(json=True, stream=stream).event(event)
    assert decode(stream.getvalue().strip()) == event


def test_an_empty_list_points_to_libvirts_guests(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("aiovirt.system.commandlines.count_by_words", lambda name, part: {("qemu-", "/libvirt/"): 2}[name, part])
    assert main(["-c", "test:///default", "list", "--inactive"]) == 0
    assert capsys.readouterr().err == "note: libvirt has 2 guests running on this machine, which are not aiovirt's: see virsh list\n"
    assert main(["-c", "test:///default", "list", "--all"]) == 0
    assert capsys.readouterr().err == ""
