"""The public door, ``await domain.qmp(…)``: an engine in this process, whose guests are whoever answers at the sockets given.

All of an engine is there that stands between the door and the socket, and what an idle guest has; only who started the guests is
left out, so that there may be a thousand of them and the other contenders ask the very same.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from anyio import to_thread
from msgspec.structs import replace

from aiovirt import Domain
from aiovirt.drivers.door import DeviceSource
from aiovirt.drivers.qemu.driver import QemuDriver
from aiovirt.drivers.qemu.guest import Guest
from aiovirt.engine.local import LocalEngine
from aiovirt.engine.records import Records
from aiovirt.engine.sink import EngineSink
from aiovirt.events.bus import Bus
from aiovirt.libvirtxml import parse, render
from aiovirt.model.lifecycle import Fact
from aiovirt.model.orders import Start
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.system import process
from aiovirt.system.background import Background
from aiovirt.system.bytestream import connect_unix
from aiovirt.system.deadlines import Deadline
from aiovirt.system.loop import new_waker
from aiovirt.testing.tinyguest import tiny_guest
from benchmarks.qmp_contenders import PATIENCE, Ask, in_batches
from benchmarks.qmp_peers import pid_at

__all__ = ["domains", "doors"]


@asynccontextmanager
async def doors(paths: Sequence[str]) -> AsyncIterator[list[Ask]]:
    async with domains(paths) as handles:
        yield [partial(domain.qmp, "query-status") for domain in handles]


@asynccontextmanager
async def domains(paths: Sequence[str]) -> AsyncIterator[list[Domain]]:
    """A running domain for each path."""
    handles: list[Domain] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiovirt-")))
        bus = Bus(host=UUID(int=1), new_waker=new_waker)
        stack.callback(bus.close)
        tasks = (await stack.enter_async_context(Background())).group
        records = Records(bus, None)
        sink = EngineSink(records)
        driver = QemuDriver(sink, tasks, run_dir=folder, log_dir=folder, lock_dir=folder)
        await driver.open()
        engine = LocalEngine("qemu:///session", records, sink=sink, driver=driver, devices=cast("DeviceSource", None), store=None)

        async def join(path: str) -> None:
            number = len(handles) + 1
            handles.append(Domain(engine, UUID(int=number)))
            spec, xml = await to_thread.run_sync(described, number)
            entry = records.entries.new(UUID(int=number), f"g{number}", spec)
            who = await to_thread.run_sync(process.look_up, pid_at(path))
            assert who is not None
            entry.live, entry.id = spec, number
            entry.run = RunRecord(uuid=entry.uuid, name=entry.name, id=number, xml=xml, process=who.identity)
            guest = await cast("Any", driver)._hold(entry.run, spec, who)  # noqa: SLF001 - what a start does once there is a process
            assert isinstance(guest, Guest)
            await guest.begin(await connect_unix(path, signed=True), Deadline.after(PATIENCE))
            async with entry.turn(Start(uuid=entry.uuid), Deadline.after(PATIENCE)):
                sink.fact(entry.uuid, Fact.RESUMED)

        await in_batches(join, paths)
        yield handles


def described(number: int) -> tuple[DomainSpec, str]:
    """A guest's definition, as it is read from XML and kept."""
    xml = render(replace(tiny_guest("/none", name=f"g{number}"), uuid=UUID(int=number)))
    return parse(xml), xml
