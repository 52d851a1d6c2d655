from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from aiovirt.system.carrier import KEEP_LIMIT, Carrier, connect_unix, listen_unix

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as path:
        yield Path(path)


@pytest.fixture
def pair() -> Iterator[tuple[Carrier, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Carrier(ours), theirs


@pytest.mark.parametrize("name", ["short.sock", f"{'x' * 90}/{'y' * 90}/long.sock"])
async def test_paths_of_any_length(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with await to_thread.run_sync(listen_unix, str(path)) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        async with await connect_unix(str(path)) as carrier:
            accepted, _ = listener.accept()
            with accepted:
                carrier.write(b"hello")
                assert accepted.recv(100) == b"hello"
                accepted.sendall(b"hi")
                assert await carrier.receive() == b"hi"
            assert await carrier.receive() == b""
    with await to_thread.run_sync(listen_unix, str(path)):
        pass  # in place of the one that was left


async def test_nobody_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connect_unix(str(folder / "nothing"))
    (await to_thread.run_sync(listen_unix, str(folder / "left"))).close()
    with pytest.raises(ConnectionRefusedError):
        await connect_unix(str(folder / "left"))


async def test_what_the_kernel_does_not_take_is_kept_in_order(pair: tuple[Carrier, socket.socket]) -> None:
    carrier, theirs = pair
    lines = [f"{number:05d}\n".encode() * 1000 for number in range(300)]
    for line in lines:
        carrier.write(line)
    assert carrier.waiting > 0
    got = bytearray()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carrier.flush)
        while len(got) < sum(map(len, lines)):
            got += await to_thread.run_sync(theirs.recv, 65536)
        tasks.cancel_scope.cancel()
    assert bytes(got) == b"".join(lines)
    assert carrier.waiting == 0


async def test_a_peer_that_never_reads_has_its_limit(pair: tuple[Carrier, socket.socket]) -> None:
    carrier, _ = pair
    with pytest.raises(BufferError):
        for _ in range(KEEP_LIMIT // 1_000_000 + 2):
            carrier.write(b"x" * 1_000_000)


async def test_cancelling_a_read_loses_nothing(pair: tuple[Carrier, socket.socket]) -> None:
    carrier, theirs = pair
    with anyio.move_on_after(0.01):
        await carrier.receive()
    theirs.sendall(b"after")
    assert await carrier.receive() == b"after"


async def test_closing_wakes_the_reader(pair: tuple[Carrier, socket.socket]) -> None:
    carrier, _ = pair

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await carrier.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        carrier.close()
