from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from aiovirt.system.bytestream import CHUNK, UnixStream, connect_unix
from aiovirt.system.sockets import listen_unix

pytestmark = pytest.mark.anyio

PATIENCE = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as path:
        yield Path(path)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[UnixStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield UnixStream(ours), theirs


class Ears:
    """What a stream hands on, and who waits for it."""

    def __init__(self) -> None:
        self.heard = b""
        self.rooms = 0
        self.ended = False
        self._news = anyio.Event()

    async def run(self, stream: UnixStream) -> None:
        await stream.run(self._hear, self._has_room)
        self.ended = True
        self._tell()

    async def until(self, content: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not content():
                await self._news.wait()

    def _hear(self, data: bytes) -> None:
        self.heard += data
        self._tell()

    def _has_room(self) -> None:
        self.rooms += 1
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


@asynccontextmanager
async def listening(stream: UnixStream) -> AsyncIterator[Ears]:
    ears = Ears()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ears.run, stream)
        await anyio.wait_all_tasks_blocked()
        yield ears
        tasks.cancel_scope.cancel()


def ignore(_: bytes) -> None:
    """Hears nothing."""


def fill(stream: UnixStream, line: bytes) -> list[bytes]:
    """Writes until one is refused: what was taken."""
    taken: list[bytes] = []
    while stream.write(line):
        taken.append(line)
    return taken


async def drain(theirs: socket.socket, size: int) -> bytes:
    """Reads so much; raises TimeoutError when it does not come."""
    got = b""
    theirs.settimeout(PATIENCE)
    while len(got) < size:
        got += await to_thread.run_sync(theirs.recv, 65536)
    theirs.settimeout(None)
    return got


@pytest.mark.parametrize("name", ["short.sock", f"{'x' * 90}/{'y' * 90}/long.sock"])
async def test_paths_of_any_length(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with await to_thread.run_sync(listen_unix, str(path)) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        async with await connect_unix(str(path)) as stream, listening(stream) as ears:
            accepted, _ = listener.accept()
            with accepted:
                assert stream.write(b"hello")
                assert accepted.recv(100) == b"hello"
                accepted.sendall(b"hi")
                await ears.until(lambda: ears.heard == b"hi")
                assert not ears.ended
            await ears.until(lambda: ears.ended)
    with await to_thread.run_sync(listen_unix, str(path)):
        pass  # in place of the one that was left


async def test_nobody_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connect_unix(str(folder / "nothing"))
    (await to_thread.run_sync(listen_unix, str(folder / "left"))).close()
    with pytest.raises(ConnectionRefusedError):
        await connect_unix(str(folder / "left"))


async def test_what_is_refused_is_not_sent_and_what_is_taken_is_sent_in_order(pair: tuple[UnixStream, socket.socket]) -> None:
    """Some of the lines are torn by the kernel: each arrives whole, none twice, and has_room is told after each."""
    stream, theirs = pair
    lines = [f"{number:05d}\n".encode() * 10_000 for number in range(100)]
    waiting = list(lines)
    refused = 0

    def pump() -> None:
        nonlocal refused
        while waiting and stream.write(waiting[0]):
            del waiting[0]
        refused += bool(waiting)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.run, ignore, pump)
        await anyio.wait_all_tasks_blocked()
        pump()
        assert refused == 1
        assert await drain(theirs, sum(map(len, lines))) == b"".join(lines)
        await anyio.wait_all_tasks_blocked()
        assert not waiting
        assert refused > 3
        tasks.cancel_scope.cancel()


async def test_a_line_of_any_size_goes_as_one(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    line = os.urandom(8_000_000)
    async with listening(stream) as ears:
        assert stream.write(line)
        assert not stream.write(b"not yet")
        assert await drain(theirs, len(line)) == line
        await ears.until(lambda: ears.rooms == 1)
        assert stream.write(b"now")
        assert theirs.recv(100) == b"now"


async def test_a_peer_that_never_reads_is_told_apart_at_once(pair: tuple[UnixStream, socket.socket]) -> None:
    """What it was refused takes no memory here: nothing of it is kept."""
    stream, theirs = pair
    async with listening(stream) as ears:
        taken = fill(stream, b"x" * 1_000_000)
        assert len(taken) < 3
        for _ in range(100):
            assert not stream.write(b"y" * 1_000_000)
        assert ears.rooms == 0
        assert await drain(theirs, len(b"".join(taken))) == b"".join(taken)
        await ears.until(lambda: ears.rooms > 0)
        with pytest.raises(BlockingIOError):
            theirs.recv(1, socket.MSG_DONTWAIT)


async def test_refused_again_and_again_it_says_once_that_there_is_room(pair: tuple[UnixStream, socket.socket]) -> None:
    """The kernel is full between two lines: it takes no part of the next."""
    stream, theirs = pair
    ours = stream._socket
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += ours.send(b"z")
    async with listening(stream) as ears:
        for _ in range(3):
            assert not stream.write(b"line\n")
            await anyio.wait_all_tasks_blocked()
        assert (ears.rooms, ears.ended) == (0, False)
        assert await drain(theirs, sent) == b"z" * sent
        await ears.until(lambda: ears.rooms > 0)
        await anyio.wait_all_tasks_blocked()
        assert ears.rooms == 1
        assert stream.write(b"line\n")
        assert theirs.recv(100) == b"line\n"


async def test_a_descriptor_goes_with_its_line(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    inner, outer = os.pipe()
    try:
        async with listening(stream):
            assert stream.write(b"take this\n", (outer,))
            data, descriptors, _, _ = socket.recv_fds(theirs, 100, 4)
        assert data == b"take this\n"
        (received,) = descriptors
        assert os.path.sameopenfile(received, outer)
        os.close(received)
    finally:
        os.close(inner)
        os.close(outer)


async def test_a_descriptor_is_sent_once_with_a_line_that_is_torn(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    line = b"x" * 3_000_000
    got = b""
    received: list[int] = []
    async with listening(stream):
        with socket.socket() as given:
            assert stream.write(line, (given.fileno(),))
        theirs.settimeout(PATIENCE)
        while len(got) < len(line):
            data, descriptors, _, _ = await to_thread.run_sync(socket.recv_fds, theirs, 65536, 4)
            got += data
            received += descriptors
    assert got == line
    assert len(received) == 1
    os.close(received[0])


async def test_a_stream_that_broke_is_told_to_who_writes(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.close()
    with pytest.raises(BrokenPipeError):
        stream.write(b"hello")


async def test_a_stream_that_broke_is_told_to_who_reads_after_all_that_came(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    assert stream.write(b"never read")
    theirs.sendall(b"last words")
    theirs.close()
    heard: list[bytes] = []
    with anyio.fail_after(PATIENCE), pytest.raises(ConnectionResetError) as broken:
        await stream.run(heard.append, lambda: None)
    assert broken.value.errno == errno.ECONNRESET
    assert heard == [b"last words"]


async def test_what_waits_is_told_when_the_stream_breaks_under_it(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    caught: list[OSError] = []
    ended = anyio.Event()

    async def listen() -> None:
        try:
            await stream.run(ignore, lambda: None)
        except OSError as error:
            caught.append(error)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        fill(stream, b"x" * 1_000_000)
        theirs.close()
        with anyio.fail_after(PATIENCE):
            await ended.wait()
    assert [error.errno in {errno.ECONNRESET, errno.EPIPE} for error in caught] == [True]


async def test_a_lot_comes_in_pieces(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    pieces: list[bytes] = []
    sent = os.urandom(CHUNK * 20 + 1)

    def send() -> None:
        theirs.sendall(sent)
        theirs.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, send)
        await stream.run(pieces.append, lambda: None)
    assert b"".join(pieces) == sent
    assert len(pieces) > 20
    assert max(map(len, pieces)) <= CHUNK


async def test_cancelling_a_read_loses_nothing(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    with anyio.move_on_after(0.01):
        await stream.run(ignore, lambda: None)
    theirs.sendall(b"after")
    with pytest.raises(BlockingIOError):
        theirs.recv(1, socket.MSG_DONTWAIT)
    again = UnixStream(stream._socket.dup())
    async with again, listening(again) as ears:
        await ears.until(lambda: ears.heard == b"after")


async def test_what_heard_raises_is_raised_as_it_is(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.sendall(b"1")

    def heard(data: bytes) -> None:
        raise LookupError(data)

    with pytest.raises(LookupError) as raised:
        await stream.run(heard, lambda: None)
    assert raised.value.args == (b"1",)


async def test_closing_ends_the_reader(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    async with listening(stream) as ears:
        stream.close()
        stream.close()
        await ears.until(lambda: ears.ended)
        with pytest.raises(BrokenPipeError):
            theirs.sendall(b"too late")
        await anyio.wait_all_tasks_blocked()
        assert ears.heard == b""
    assert stream._socket.fileno() >= 0  # its owner may still say which it was


async def test_closing_from_within_is_the_end(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.sendall(b"x" * (CHUNK * 2))
    heard: list[int] = []

    def once(data: bytes) -> None:
        heard.append(len(data))
        stream.close()

    with anyio.fail_after(PATIENCE):
        await stream.run(once, lambda: None)
    assert heard == [CHUNK]


async def test_leaving_the_block_closes_the_socket(pair: tuple[UnixStream, socket.socket]) -> None:
    stream, theirs = pair
    async with stream:
        assert stream.write(b"bye")
    assert (theirs.recv(100), theirs.recv(100)) == (b"bye", b"")
