"""Devices of real QEMUs: what a domain says is there, as QEMU itself says it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aiovirt import Host
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.rng import Rng, RngBackend
from aiovirt.model.devices.watchdog import Watchdog, WatchdogAction, WatchdogModel
from aiovirt.model.spec import DomainSpec
from aiovirt.model.units import MiB
from tests.system.conftest import Place

pytestmark = pytest.mark.anyio

Row = tuple[str, Device, str]
ROWS: list[Row] = [
    ("balloon0", MemBalloon(model=MemBalloonModel.VIRTIO), "virtio-balloon-pci"),
    ("watchdog0", Watchdog(model=WatchdogModel.I6300ESB), "i6300esb"),
    ("watchdog0", Watchdog(model=WatchdogModel.IB700), "ib700"),
    ("rng0", Rng(backend=RngBackend.RANDOM), "virtio-rng-pci"),
    ("rng0", Rng(backend=RngBackend.BUILTIN, bytes=4096, period=500), "virtio-rng-pci"),
]


def spec_with(spec: DomainSpec, device: Device) -> DomainSpec:
    return replace(spec, devices=(*spec.devices, device))


@pytest.mark.parametrize(("name", "device", "kind"), ROWS)
async def test_a_device_is_there(host: Host, place: Place, name: str, device: Device, kind: str) -> None:
    spec = place.spec()
    async with host.run(spec_with(spec, device)) as domain:
        path = f"/machine/peripheral/{name}"
        assert await domain.qmp("qom-get", {"path": path, "property": "type"}) == kind
        assert device in (await domain.spec()).devices


async def test_a_balloon_says_how_much_memory_there_is(host: Host, place: Place) -> None:
    async with host.run(spec_with(place.spec(), MemBalloon(model=MemBalloonModel.VIRTIO))) as domain:
        assert await domain.qmp("query-balloon") == {"actual": 16 * MiB}


@pytest.mark.parametrize("action", WatchdogAction)
async def test_each_action_of_a_watchdog_is_one_of_qemus(host: Host, place: Place, action: WatchdogAction) -> None:
    async with host.run(spec_with(place.spec(), Watchdog(model=WatchdogModel.I6300ESB, action=action))) as domain:
        await domain.qmp("watchdog-set-action", {"action": str(action)})


async def test_a_generator_has_its_rate(host: Host, place: Place) -> None:
    async with host.run(spec_with(place.spec(), Rng(backend=RngBackend.BUILTIN, bytes=4096, period=500))) as domain:
        read = {
            name: await domain.qmp("qom-get", {"path": "/machine/peripheral/rng0", "property": name}) for name in ("max-bytes", "period")
        }
        assert read == {"max-bytes": 4096, "period": 500}
