"""Real guests for tests: an engine in a folder of the test's own, and tiny guests that say when they are up.

With the environment variable ``AIOVIRT_TEST_QEMU`` they run in that emulator, a path.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import aiovirt
from aiovirt import Host
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import DomainSpec, VirtType
from aiovirt.testing.tinyguest import UP, image, tiny_guest

PATIENCE = 60
EMULATOR = os.environ.get("AIOVIRT_TEST_QEMU")


class Place:
    """A folder with an engine's files and its guests' disks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"qemu:///embed?root={folder}/engine"

    def attach(self) -> AbstractAsyncContextManager[Host]:
        """As one who does not insist on being the engine: attached, where there is one."""
        root = self.folder / "engine"
        return aiovirt.connect("qemu:///session", config_dir=root / "config", state_dir=root / "state", runtime_dir=root / "runtime")

    def spec(self, name: str = "tiny", *, ports: Sequence[Serial] = (), **changes: object) -> DomainSpec:
        """A tiny guest under TCG, which is there everywhere, with a disk of its own and these serial ports."""
        disk = self.folder / f"{name}.img"
        disk.write_bytes(image())
        spec = tiny_guest(str(disk), name=name)
        return replace(spec, type=VirtType.QEMU, devices=(*spec.devices, *ports), **{"emulator": EMULATOR, **changes})

    @asynccontextmanager
    async def listening(self, name: str = "tiny", **changes: object) -> AsyncIterator[tuple[DomainSpec, anyio.Event]]:
        """A tiny guest's spec, and an event that is set when the guest says that it is up."""
        path = self.folder / f"{name}.com1"
        port = Serial(type=Chardev.UNIX, path=str(path), listen=False)
        up = anyio.Event()

        async def listen(stream: anyio.abc.ByteReceiveStream) -> None:
            said = b""
            async with stream:
                async for part in stream:
                    said += part
                    if UP in said:
                        up.set()

        async with await anyio.create_unix_listener(path) as com1, anyio.create_task_group() as tasks:
            tasks.start_soon(com1.serve, listen)
            with anyio.fail_after(PATIENCE):
                yield self.spec(name, ports=(port,), **changes), up
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def engine_of(place: Place, *words: str) -> AsyncIterator[anyio.abc.Process]:
    """An engine in a process of its own, which ends with the block if it has not before."""
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "engine", *words]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        try:
            with anyio.fail_after(PATIENCE):
                while b"Holding" not in await process.stdout.receive():
                    pass
            yield process
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(ProcessLookupError):
                process.terminate()
                await process.wait()


@pytest.fixture
def place() -> Iterator[Place]:
    """In /tmp itself: a unix socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield Place(Path(folder))


@pytest.fixture
async def host(place: Place) -> AsyncIterator[aiovirt.Host]:
    """An engine of its own, with no domain."""
    async with aiovirt.connect(place.uri) as connected:
        yield connected
