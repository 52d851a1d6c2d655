"""What a guest's machine has while it runs, as a real QEMU tells it, and as it is found after an absence."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import Domain, Host
from aiovirt.events import DomainChanged
from aiovirt.model.machine import Job, Machine
from aiovirt.model.units import MiB
from tests.real.conftest import PATIENCE, Place

pytestmark = pytest.mark.anyio


async def until(host: Host, domain: Domain, after: str, holds: Callable[[Machine], bool]) -> list[DomainChanged]:
    """The changes from ``after`` on, up to the first after which that holds."""
    heard: list[DomainChanged] = []
    with anyio.fail_after(PATIENCE):
        async with host.events.subscribe(DomainChanged, subject=domain, after=after) as events:
            while not heard or not holds(heard[-1].new):
                heard.append(await events.receive())
    for before, event in pairwise(heard):
        assert event.old == before.new, "each change begins where the one before has ended"
    return heard


def outside(place: Place, *commands: dict[str, object]) -> None:
    """Commands from one who is not us, while nobody holds the monitor."""
    (path,) = Path(place.folder / "engine/runtime/qemu").glob("*.monitor")
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as said:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        said.readline()
        for command in ({"execute": "qmp_capabilities"}, *commands):
            said.write(json.dumps(command))
            said.flush()
            while "return" not in (answer := json.loads(said.readline())):
                assert "error" not in answer, answer


BALLOON: dict[str, object] = {"driver": "virtio-balloon-pci", "id": "balloon0"}


async def started(host: Host, place: Place, *, paused: bool = False) -> Domain:
    domain = await host.define(place.spec(vcpus=2))
    after = host.events.cursor
    await domain.start(paused=paused)
    (first,) = await until(host, domain, after, lambda _: True)
    assert (first.old, first.new) == (None, Machine(vcpus=2, devices=("disk-hda",)))
    assert domain.machine == first.new
    return domain


@pytest.mark.parametrize("paused", [False, True])
async def test_it_is_known_after_a_start_and_no_more_after_the_end(host: Host, place: Place, *, paused: bool) -> None:
    domain = await started(host, place, paused=paused)
    await domain.destroy()
    assert domain.machine is None
    after = host.events.cursor
    await domain.start()
    assert (await until(host, domain, after, lambda _: True))[0].old is None
    await domain.destroy()


async def test_devices_that_come_and_go(host: Host, place: Place) -> None:
    domain = await started(host, place)
    after = host.events.cursor
    await domain.qmp("device_add", BALLOON)
    changed = (await until(host, domain, after, lambda machine: "balloon0" in machine.devices))[-1]
    assert changed.changes == {
        "devices": (("disk-hda",), ("balloon0", "disk-hda")),
        "balloon": (None, (await domain.spec()).memory),
    }
    after = host.events.cursor
    await domain.qmp("device_del", {"id": "balloon0"})
    await domain.reset()  # this guest knows nothing of hot-plug: the slot is let go of in a reset
    assert (await until(host, domain, after, lambda machine: "balloon0" not in machine.devices))[-1].new.balloon is None
    await domain.destroy()


async def test_jobs_that_come_and_go(host: Host, place: Place) -> None:
    domain = await started(host, place)
    after = host.events.cursor
    new = place.folder / "new.img"
    new.touch()
    for job, file in (("make", str(new)), ("fail", "/no/such")):
        options = {"driver": "file", "filename": file, "size": MiB}
        await domain.qmp("blockdev-create", {"job-id": job, "options": options})
    heard = await until(
        host, domain, after, lambda machine: {job.status for job in machine.jobs} == {"concluded"} and len(machine.jobs) == 2
    )
    failed, made = heard[-1].new.jobs
    assert made == Job("make", "create", "concluded")
    assert (failed.id, failed.status) == ("fail", "concluded")
    assert failed.error
    assert "No such file" in failed.error
    for job in ("make", "fail"):
        await domain.qmp("job-dismiss", {"id": job})
    assert (await until(host, domain, heard[-1].cursor, lambda machine: not machine.jobs))[-1].new == Machine(
        vcpus=2, devices=("disk-hda",)
    )
    await domain.destroy()


async def test_what_changed_while_no_engine_was_there_is_told(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await started(host, place)
        cursor = host.events.cursor
    options = {"driver": "file", "filename": "/no/such", "size": MiB}
    outside(
        place,
        {"execute": "device_add", "arguments": BALLOON},
        {"execute": "blockdev-create", "arguments": {"job-id": "fail", "options": options}},
    )
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        changed = (await until(host, domain, cursor, lambda machine: any(job.status == "concluded" for job in machine.jobs)))[0]
        assert changed.missed
        assert changed.old == Machine(vcpus=2, devices=("disk-hda",))
        assert changed.new.devices == ("balloon0", "disk-hda")
        assert [job.id for job in changed.new.jobs] == ["fail"]
    async with aiovirt.connect(place.uri) as host:
        after = host.events.cursor
        assert host.domain("tiny").machine == changed.new, "it is known before it is asked again"
        await host.domain("tiny").suspend()  # and by now it was, and nothing was different
        await host.domain("tiny").destroy()
        async with host.events.subscribe(DomainChanged, after=after) as events:
            with pytest.raises(anyio.WouldBlock):
                events.receive_nowait()


# -- a balloon whose driver is us -------------------------------------------------------------

SLOT = 5
PORT = 0xC100
STATUS, ACTUAL = PORT + 0x12, PORT + 0x18
"""Of the virtio header in the ports of a legacy device, and of virtio_balloon_config behind it."""
DRIVER_OK = 7


async def write(domain: Domain, size: str, port: int, value: int) -> None:
    """An outb, outw or outl, as the guest itself would do it."""
    await domain.qmp("human-monitor-command", {"command-line": f"o /{size} {port:#x} {value:#x}"})


async def drive_balloon(domain: Domain, actual: int) -> None:
    """What a guest's driver does: finds the device, says that it is ready, and how much memory is left."""
    memory = (await domain.spec()).memory
    for register, size, value in ((0x10, "w", PORT | 1), (0x04, "h", 1)):  # its BAR 0, and decode it
        await write(domain, "w", 0xCF8, 1 << 31 | SLOT << 11 | register)
        await write(domain, size, 0xCFC, value)
    await write(domain, "b", STATUS, DRIVER_OK)
    await write(domain, "w", ACTUAL, (memory - actual) // 4096)


@pytest.mark.parametrize("heard", [True, False])
async def test_after_an_absence_a_balloon_of_before_a_reset_is_not_known_until_the_guest_has_a_driver(place: Place, *, heard: bool) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await started(host, place, paused=True)  # its firmware would look for a place for the device, too
        memory = (await domain.spec()).memory
        after = host.events.cursor
        await domain.qmp("device_add", BALLOON | {"addr": hex(SLOT), "disable-modern": True, "disable-legacy": "off"})
        await drive_balloon(domain, memory - MiB)
        await until(host, domain, after, lambda machine: machine.balloon == memory - MiB)
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        assert (await domain.qmp("query-balloon")) == {"actual": memory - MiB}  # by now it was asked for its machine
        assert domain.machine is not None
        assert domain.machine.balloon == memory - MiB, "the guest's driver was there all the time"
        after = host.events.cursor
        if heard:
            await domain.reset()
            await until(host, domain, after, lambda machine: machine.balloon is None)
    if not heard:
        outside(place, {"execute": "system_reset"})
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        assert (await domain.qmp("query-balloon")) == {"actual": memory - MiB}, "QEMU says the old one"
        assert domain.machine is not None
        assert domain.machine.balloon is None
        await drive_balloon(domain, memory - 2 * MiB)
        await until(host, domain, after, lambda machine: machine.balloon == memory - 2 * MiB)
        await domain.destroy()
