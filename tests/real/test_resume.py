"""examples/resume.py and the engine that it reads from are killed again and again while devices come and go.

Nothing is missing, nor there twice for no reason.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from aiovirt.events import Event, NetdevEvent, decode
from aiovirt.events.cursor import parse_cursor
from examples import resume
from tests.lab import sandbox
from tests.real.conftest import Place

PATIENCE = 100
KILLED_AFTER = (3, 20, 55, 1, 30)
"""How many events each life of the reader sees at least."""
PAIRS = 12
"""How many veth pairs come, change and go in a burst: some hundred events."""


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def only_lo() -> Iterator[None]:
    yield
    for number in range(PAIRS):
        subprocess.run(["ip", "link", "del", f"burst{number}"], check=False, stderr=subprocess.DEVNULL)


def ip(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def burst() -> None:
    for number in range(PAIRS):
        ip([f"link add burst{number} type veth peer name peer{number}"])
        ip([f"link set burst{number} mtu {mtu}" for mtu in (1400, 1300, 1200)])
    ip([f"link del burst{number}" for number in range(PAIRS)])


class Reader:
    """The example as a process; what it printed is kept, also across its death."""

    def __init__(self, place: Place) -> None:
        self.file = place.folder / "cursor"
        self.place = place
        self.lives: list[list[Event]] = []

    def start(self, *, attached: bool = False) -> None:
        self.lives.append([])
        uri = "qemu:///session" if attached else self.place.uri
        places = {f"AIOVIRT_{name}_DIR": str(self.place.folder / "engine" / name.lower()) for name in ("CONFIG", "STATE", "RUNTIME")}
        command = [sys.executable, resume.__file__, str(self.file), uri]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | (places if attached else {}))
        self._late = threading.Timer(PATIENCE, self._process.kill)
        self._late.start()

    def begun(self) -> str:
        """The cursor that the first start stores before anything happens."""
        while (cursor := resume.load(self.file)) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
            assert self._process.returncode is None, "it ended"
        return cursor

    def read(self) -> Event:
        """The next event it prints."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "it ended, or said nothing for too long"
        self.lives[-1].append(decode(line))
        return self.lives[-1][-1]

    def kill(self) -> None:
        """And reads what it had printed until then."""
        self._process.send_signal(signal.SIGKILL)
        self._late.cancel()
        rest, _ = self._process.communicate()
        self.lives[-1] += [decode(line) for line in rest.splitlines()]
        assert self._process.returncode == -signal.SIGKILL

    def end(self) -> None:
        """Whatever became of it."""
        self._late.cancel()
        self._process.kill()
        if self._process.stdout and not self._process.stdout.closed:
            self._process.communicate()


@pytest.fixture
def reader(place: Place) -> Iterator[Reader]:
    place.folder.joinpath("engine").mkdir()
    made = Reader(place)
    yield made
    made.end()


def test_killed_in_the_middle_nothing_is_lost(reader: Reader) -> None:
    reader.start()
    first = reader.begun()
    for number in KILLED_AFTER:
        making = threading.Thread(target=burst)
        making.start()
        for _ in range(number):
            reader.read()
        reader.kill()
        making.join()  # some of it happened while nobody was there
        reader.start()
        reader.read()
    ip(["link add burst0 type veth peer name peer0", "link set burst0 name theend", "link del theend"])
    while not (isinstance(last := reader.read(), NetdevEvent) and last.topic == "netdev.removed" and last.device.name == "theend"):
        pass

    assert_each_once(first, reader)


def assert_each_once(first: str, reader: Reader) -> None:
    """From the cursor ``first`` on; but for one at the begin of a life, which was printed and not noted."""
    expected = parse_cursor(first)
    for before, life in zip([[], *reader.lives], reader.lives, strict=False):
        cursors = [parse_cursor(event.cursor) for event in life]
        if before and cursors[0] == parse_cursor(before[-1].cursor):
            cursors = cursors[1:]  # printed, and killed before that was noted
        for cursor in cursors:
            assert cursor == (expected[0], expected[1] + 1)
            expected = cursor


@contextlib.contextmanager
def engine(place: Place) -> Iterator[subprocess.Popen[str]]:
    """An engine in a process of its own, which is killed with the block."""
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "engine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "Holding" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_the_engine_is_killed_and_the_reader_goes_on_with_the_next(reader: Reader) -> None:
    """kill -9 of the engine in the middle of what it tells, again and again; the reader is one and the same process."""
    with engine(reader.place):
        reader.start(attached=True)
        first = reader.begun()
        making = threading.Thread(target=burst)
        making.start()
        for _ in range(20):
            reader.read()
    for number in (3, 55, 1):
        making.join()  # some of it happened while nobody was there
        with engine(reader.place):
            making = threading.Thread(target=burst)
            making.start()
            while reader.read().topic != "host.started":
                pass
            for _ in range(number):
                reader.read()
    making.join()
    with engine(reader.place):
        ip(["link add burst0 type veth peer name peer0", "link set burst0 name theend", "link del theend"])
        while not (isinstance(last := reader.read(), NetdevEvent) and last.topic == "netdev.removed" and last.device.name == "theend"):
            pass
    assert len([event for event in reader.lives[0] if event.topic == "host.started"]) == 4
    reader.kill()
    assert len(reader.lives) == 1
    assert_each_once(first, reader)
