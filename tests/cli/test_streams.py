"""Standard input, output and error that are closed, full, endless, gone, or no text: one line, and the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import TEST

PATIENCE = 60
BACKENDS = ["asyncio", "uvloop", "trio"]
XML = "<domain type='test'>\n  <name>other</name>\n  <memory>1024</memory>\n  <os><type>hvm</type></os>\n</domain>\n"

VERBS = [
    ["list", "--all"],
    ["list", "--json"],
    ["domstate", "test"],
    ["dominfo", "test"],
    ["dumpxml", "test"],
    ["suspend", "test"],
    ["destroy", "test", "--json"],
    ["autostart", "test"],
    ["wait", "test", "--for", "running"],
    ["watch"],
    ["watch", "--json"],
    ["event", "--loop", "--since", "old"],
    ["nodedev-list"],
    ["nodedev-list", "--ports"],
    ["nodedev-info", "ens1f0"],
    ["nodedev-dumpxml", "ens1f0"],
    ["log", "test"],
    ["--version"],
    ["--help"],
    ["list", "--help"],
    [],
]
"""What prints at once. ``event`` and its like print when something comes: see below."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "aiovirt", *TEST, *arguments]


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", f'"$@" {redirection}', "bash", *command(*arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@contextmanager
def running(words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:  # noqa: ANN401 - Popen's
    with subprocess.Popen(words, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def name_of(arguments: list[str]) -> str:
    return " ".join(arguments) or "none"


PRINTING = [verb for verb in VERBS if "old" not in verb and verb != ["log", "test"]]


@pytest.mark.parametrize("verb", PRINTING, ids=name_of)
@pytest.mark.parametrize(("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")])
def test_standard_output_that_takes_nothing(verb: list[str], redirection: str, why: str) -> None:
    done = shell(redirection, *verb)
    assert (done.returncode, done.stderr) == (1, f"error: cannot write to standard output: {why}\n")


@pytest.mark.parametrize("verb", [verb for verb in PRINTING if verb], ids=name_of)
def test_a_reader_that_has_left_is_no_error(verb: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command(*verb), stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "verb", [["watch"], ["event", "--loop"], ["nodedev-event", "--loop"], ["qemu-monitor-event", "--loop"]], ids=name_of
)
def test_what_follows_ends_when_its_reader_leaves_though_nothing_happens(backend: str, verb: list[str]) -> None:
    reading, writing = os.pipe()
    with running(command("--backend", backend, *verb), stdout=writing, stderr=subprocess.PIPE) as following:
        os.close(writing)
        if verb == ["watch"]:
            assert os.read(reading, 10)
        else:
            until_it_follows(following.pid)
        os.close(reading)
        _, err = following.communicate(timeout=PATIENCE)
    assert (following.returncode, err) == (0, "")


def until_it_follows(pid: int) -> None:
    """It has armed what ends it: the signals are caught."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        if int(status["SigCgt"], 16) & 1 << signal.SIGTERM - 1:
            return
        time.sleep(0.02)
    raise TimeoutError


def test_a_pipe_to_head_ends_at_once() -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", 'set -o pipefail; "$@" | head -n 1', "bash", *command("watch")],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "test"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_or_a_terminal_is_followed_until_interrupted(backend: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, running(command("--backend", backend, "watch"), stdout=out) as following:
        until_it_follows(following.pid)
        assert following.poll() is None
        following.terminate()
        assert following.wait(PATIENCE) == 0
    assert "following" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_standard_error_that_takes_nothing_changes_no_status(redirection: str) -> None:
    done = shell(redirection, "domstate", "nope")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "")
    assert shell(redirection, "domstate", "test").returncode == 0
    assert shell(redirection, "sing").returncode == 2
    assert shell(f"{redirection} >&-", "list").returncode == 1
    assert shell(f"{redirection} >/dev/full", "list").returncode == 1


def test_no_standard_stream_at_all() -> None:
    assert shell("<&- >&- 2>&-", "list").returncode == 1
    assert shell("<&- >&- 2>&-", "domstate", "nope").returncode == 4


# -- standard input ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["define", "create"])
@pytest.mark.parametrize(
    ("redirection", "why"),
    [
        ("<&-", "error: cannot read standard input: it is closed\n"),
        ("</dev/zero", "error: standard input has more than 1048576 bytes\n"),
        ("< <(yes)", "error: standard input has more than 1048576 bytes\n"),
        (r"< <(printf 'one\ntwo \377')", "error: standard input is not UTF-8 text: line 2 has the byte 0xff\n"),
        ("</dev/null", "error: XML error: "),
    ],
)
def test_standard_input_that_is_no_definition(verb: str, redirection: str, why: str) -> None:
    done = shell(redirection, verb, "-")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(why)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("/dev/zero", "error: /dev/zero has more than 1048576 bytes\n"),
        ("/", "error: cannot read /: Is a directory\n"),
        ("/no/such/file", "error: cannot read /no/such/file: No such file or directory\n"),
    ],
)
def test_a_file_that_is_no_definition(file: str, why: str) -> None:
    done = shell("", "define", file)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", why)


@pytest.mark.parametrize("backend", BACKENDS)
def test_standard_input_may_come_in_pieces(backend: str) -> None:
    with running(
        command("--backend", backend, "define", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as defining:
        assert defining.stdin is not None
        for line in XML.splitlines(keepends=True):
            defining.stdin.write(line)
            defining.stdin.flush()
        out, err = defining.communicate(timeout=PATIENCE)
    assert (defining.returncode, out, err) == (0, "Domain 'other' defined from -\n", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fifo_is_waited_for(backend: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with running(command("--backend", backend, "define", str(fifo)), stdout=subprocess.PIPE) as defining:
        fifo.write_text(XML)  # opens when it is open at the other end, too
        out, _ = defining.communicate(timeout=PATIENCE)
    assert (defining.returncode, out) == (0, f"Domain 'other' defined from {fifo}\n")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source", ["-", "fifo"])
def test_what_waits_for_input_ends_on_ctrl_c(backend: str, source: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    words = command("--backend", backend, "define", "-" if source == "-" else str(fifo))
    with running(words, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        until_it_waits(waiting.pid, fifo if source == "fifo" else None)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=PATIENCE)
    os.close(reading)
    os.close(writing)
    assert (waiting.returncode, out, err) == (130, "", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deadline_is_kept_while_input_is_waited_for(backend: str) -> None:
    reading, writing = os.pipe()
    words = command("--backend", backend, "--timeout", "4", "define", "-")
    done = subprocess.run(words, stdin=reading, capture_output=True, text=True, check=False, timeout=PATIENCE)
    os.close(reading)
    os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (124, "", "error: nothing within 4 s\n")


def until_it_waits(pid: int, fifo: Path | None) -> None:
    """It has the FIFO open, or standard input in an epoll of its own (proc_pid_fdinfo(5): ``tfd: 0``)."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            try:
                watched = [line.split()[1] for line in entry.read_text().splitlines() if line.startswith("tfd:")]
                targets = [str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in watched]
            except OSError:
                continue
            if (fifo is None and "0" in watched) or str(fifo) in targets:
                return
        time.sleep(0.02)
    raise TimeoutError
