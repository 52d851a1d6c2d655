"""Devices into a real QEMU that runs and out of it again, and back where a step fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from aiovirt.drivers.qemu.devices import Context, plugging_steps
from aiovirt.drivers.qemu.devices.plugging import Command, Step
from aiovirt.drivers.qemu.monitor import Listener, Monitor
from aiovirt.drivers.qemu.plugging import Removals, plug, unplug
from aiovirt.errors import CommandFailed, OperationFailed, OrderTimeout
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.rng import Rng, RngBackend
from aiovirt.model.devices.serial import Chardev
from aiovirt.model.spec import DomainSpec
from aiovirt.model.units import MiB
from aiovirt.system.bytestream import connect_unix
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.wire.qmp import QMPEvent
from tests.real.conftest import PATIENCE
from tests.real.test_qmp_session import PC, qemu

pytestmark = pytest.mark.anyio

SOON = 0.3
"""A deadline that is to pass."""
CONTROLLERS = ("-device", "virtio-serial-pci,id=virtio-serial0", "-device", "qemu-xhci,id=usb")
VIRTIO = ConsoleTarget.VIRTIO
NOTHING = [set[str](), set[str](), set[str](), set[str]()]


class Bench(Listener):
    """A session with a QEMU that has no device yet, and what it has."""

    def __init__(self) -> None:
        self.removals = Removals()
        self.monitor: Monitor

    def event(self, event: QMPEvent) -> None:
        self.removals.hear(event)

    async def ask(self, command: str, **arguments: object) -> list[dict[str, object]]:
        return await self.monitor.execute(command, arguments or None, returns=list[dict[str, object]], by=Deadline.after(PATIENCE))

    async def reset(self) -> None:
        await self.monitor.execute("system_reset", returns=object, by=Deadline.after(PATIENCE))

    async def plug(self, device: Device) -> list[Step]:
        steps = plugging_steps(device, Context(DomainSpec(name="one", memory=16 * MiB), 0))
        await plug(self.monitor, steps, Deadline.after(PATIENCE))
        return steps

    async def unplug(self, steps: list[Step], timeout: float = PATIENCE) -> None:
        await unplug(self.monitor, steps, self.removals, Deadline.after(timeout))

    async def all(self) -> list[set[str]]:
        """What was plugged in: devices, objects, chardevs, block nodes."""
        devices = {str(each["name"]) for each in await self.ask("qom-list", path="/machine/peripheral")} - {"type"}
        objects = {str(each["name"]) for each in await self.ask("qom-list", path="/objects")} - {"type", "pc.ram"}
        chardevs = {str(each["label"]) for each in await self.ask("query-chardev")} - {"qmp"}
        nodes = {str(each["node-name"]) for each in await self.ask("query-named-block-nodes")}
        return [devices - {"virtio-serial0", "usb"}, objects, chardevs, nodes]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as one:
        yield one


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    deadlines, one = Deadlines(), Bench()
    async with qemu(*PC, *CONTROLLERS) as process, await connect_unix(process.path) as stream, anyio.create_task_group() as tasks:
        one.monitor = Monitor(stream, one, deadlines, limit=1_000_000)
        tasks.start_soon(deadlines.run)
        tasks.start_soon(one.monitor.run)
        await one.monitor.ready(Deadline.after(PATIENCE))
        yield one
        tasks.cancel_scope.cancel()


def disk(folder: Path, format: str = "raw") -> Disk:  # noqa: A002 - the disk's
    image = folder / "disk.img"
    image.write_bytes(bytes(65536))
    return Disk(source=str(image), target="vda", format=format)


async def test_what_its_guest_has_no_say_in_comes_and_goes(bench: Bench, tmp_path: Path) -> None:
    tablet = await bench.plug(Input(type=InputType.TABLET, bus=InputBus.USB))
    console = await bench.plug(Console(target=VIRTIO, type=Chardev.UNIX, path=str(tmp_path / "s,1")))
    before = await bench.all()
    assert before == [{"input0", "console0"}, set(), {"console0"}, set()]
    await bench.unplug(tablet)
    await bench.unplug(console)
    assert await bench.all() == NOTHING
    await bench.plug(Input(type=InputType.TABLET, bus=InputBus.USB))


async def test_what_stands_on_pci_goes_when_the_guest_lets_it_or_is_reset(bench: Bench, tmp_path: Path) -> None:
    for device in (Rng(backend=RngBackend.BUILTIN, bytes=1024), MemBalloon(model=MemBalloonModel.VIRTIO), disk(tmp_path)):
        steps = await bench.plug(device)
        before = await bench.all()
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.unplug, steps)
                await wait_all_tasks_blocked()
                await bench.reset()
        assert before != NOTHING
        assert await bench.all() == NOTHING


async def test_one_that_the_guest_does_not_let_go_stays_with_all_that_it_stands_on(bench: Bench) -> None:
    steps = await bench.plug(Rng(backend=RngBackend.BUILTIN))
    before = await bench.all()
    with pytest.raises(OrderTimeout) as late:
        await bench.unplug(steps, SOON)
    assert late.value.sent
    assert await bench.all() == before == [{"rng0"}, {"objrng0"}, set(), set()]


async def test_where_the_second_step_fails_the_first_is_undone(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="not in qcow2 format"):
        await bench.plug(disk(tmp_path, format="qcow2"))
    assert await bench.all() == NOTHING
    of_that_name = Step(
        Command("device_add", {"driver": "usb-tablet", "id": "console0"}), Command("device_del", {"id": "console0"}), "console0"
    )
    await plug(bench.monitor, [of_that_name], Deadline.after(PATIENCE))
    with pytest.raises(CommandFailed, match="Duplicate device ID"):
        await bench.plug(Console(target=VIRTIO, type=Chardev.PTY))
    assert await bench.all() == [{"console0"}, set(), set(), set()]
    await bench.plug(disk(tmp_path))


async def test_it_is_unplugged_once(bench: Bench) -> None:
    steps = await bench.plug(Rng(backend=RngBackend.BUILTIN))
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.unplug, steps)
            await wait_all_tasks_blocked()
            with pytest.raises(OperationFailed, match="rng0 is being unplugged already"):
                await bench.unplug(steps)
            await bench.reset()
    assert await bench.all() == NOTHING
