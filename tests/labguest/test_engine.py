"""An engine that ends, and one that goes on from its journal: what changed meanwhile is told as missed."""

from __future__ import annotations

import pytest

import aiovirt
from aiovirt.events.types import DeviceEvent, DriverBound, HostStarted, NetdevAdded, NetdevChanged, NetdevRemoved, PCIAdded, PCIRemoved
from tests.labguest.heard import all_after, listening
from tests.labguest.topology import Topology, ip
from tests.labguest.truth import agrees

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_what_changed_between_two_engines_is_missed(lab: Topology, uri: str) -> None:
    kept, gone = await lab.plug(1), await lab.plug(2)
    await lab.settle()
    async with aiovirt.connect(uri) as host, listening(host) as heard:
        (kept_nic,), (gone_nic,) = await heard.nics(host, kept), await heard.nics(host, gone)
        await agrees(host, heard, lab)
        others = {device.id for device in host.devices.netdevs()} - {gone_nic.id}
        cursor = host.events.cursor
    await lab.unplug(2)
    new = await lab.plug(3)
    await lab.settle()
    ip("link", "set", kept_nic.name, "mtu", "1400")
    await lab.knob(kept_nic.name, "port_id", "0badcafe")
    async with aiovirt.connect(uri) as host, listening(host) as heard:
        await agrees(host, heard, lab)
        events = await all_after(host, cursor)
        (started,) = [event for event in events if isinstance(event, HostStarted)]
        assert (started.resumed, started.clean) == (True, True)
        told = [event for event in events if isinstance(event, DeviceEvent) and event.missed]
        about = {(type(event), event.subject): event for event in told}
        (new_nic,) = host.devices.netdevs(of=new)
        assert about.keys() >= {
            (PCIRemoved, f"pci/{gone}"),
            (NetdevRemoved, gone_nic.subject),
            (PCIAdded, f"pci/{new}"),
            (DriverBound, f"pci/{new}"),
            (NetdevAdded, new_nic.subject),
            (NetdevChanged, kept_nic.subject),
        }
        changed = about[NetdevChanged, kept_nic.subject]
        assert isinstance(changed, NetdevChanged)
        assert changed.changes["mtu"] == (1500, 1400)
        assert changed.changes["phys_port_id"] == (kept_nic.phys_port_id, "0badcafe")
        assert {device.id for device in host.devices.netdevs()} == others | {new_nic.id}
        assert new_nic.id not in others | {gone_nic.id}
        assert host.devices.netdev(kept_nic.name).id == kept_nic.id
