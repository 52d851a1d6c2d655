"""Network interfaces: read, written, filled in, and as QEMU's argv."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check
from aiovirt.drivers.qemu.defaults import Capabilities, fill
from aiovirt.drivers.qemu.devices import Context, arguments, plugging_steps
from aiovirt.errors import ConfigUnsupported, InvalidArgument, XMLInvalid
from aiovirt.libvirtxml import parse, render
from aiovirt.model.devices.interface import InterfaceSource, InterfaceType, NetworkInterface
from aiovirt.model.spec import DomainSpec
from tests.drivers.qemu.test_panic import domain

MAC = "52:54:00:11:22:33"
ONE = UUID(int=1)
UDP = (
    f"<interface type='udp'><mac address='{MAC}'/>"
    "<source address='127.0.0.1' port='11115'><local address='127.0.0.2' port='11116'/></source></interface>"
)


def options(spec: DomainSpec) -> list[dict[str, Any]]:
    return [json.loads(word) for word in arguments(fill(spec, Capabilities())) if word.startswith("{")]


@pytest.mark.parametrize(
    ("xml", "backend", "driver"),
    [
        (f"<interface type='user'><mac address='{MAC}'/></interface>", {"type": "user"}, "rtl8139"),
        (f"<interface type='user'><mac address='{MAC}'/><model type='virtio'/></interface>", {"type": "user"}, "virtio-net-pci"),
        (f"<interface type='user'><mac address='{MAC}'/><model type='e1000e'/><link state='up'/></interface>", {"type": "user"}, "e1000e"),
        (
            f"<interface type='mcast'><mac address='{MAC}'/><source address='230.0.0.1' port='5558'/></interface>",
            {"type": "socket", "mcast": "230.0.0.1:5558"},
            "rtl8139",
        ),
        (
            f"<interface type='server'><mac address='{MAC}'/><source port='5558'/></interface>",
            {"type": "socket", "listen": ":5558"},
            "rtl8139",
        ),
        (
            f"<interface type='client'><mac address='{MAC}'/><source address='192.168.0.1' port='5558'/></interface>",
            {"type": "socket", "connect": "192.168.0.1:5558"},
            "rtl8139",
        ),
        (
            UDP,
            {"type": "socket", "udp": "127.0.0.1:11115", "localaddr": "127.0.0.2:11116"},
            "rtl8139",
        ),
    ],
)
def test_it_is_read_written_and_asked_for(xml: str, backend: dict[str, str], driver: str) -> None:
    spec = domain(xml)
    assert parse(render(spec)) == spec
    check(spec)
    host, card = options(spec)
    assert host == {"id": "hostnet0", **backend}
    assert card == {"driver": driver, "netdev": "hostnet0", "id": "net0", "mac": MAC}


def test_a_mac_address_is_the_same_at_each_start_and_another_for_each_card() -> None:
    spec = replace(domain("<interface type='user'/>", "<interface type='user'/>"), uuid=ONE)
    macs = [interface.mac for interface in fill(spec, Capabilities()).of(NetworkInterface)]
    assert all(mac is not None and mac.startswith("52:54:00:") for mac in macs)
    assert len(set(macs)) == 2
    assert [interface.mac for interface in fill(spec, Capabilities()).of(NetworkInterface)] == macs
    others = [interface.mac for interface in fill(replace(spec, uuid=UUID(int=2)), Capabilities()).of(NetworkInterface)]
    assert not {*others} & {*macs}
    assert fill(fill(spec, Capabilities()), Capabilities()) == fill(spec, Capabilities())


@pytest.mark.parametrize(("mac", "kept"), [("52:54:00:AB:CD:EF", "52:54:00:ab:cd:ef"), ("52:54:0:1:2:3", "52:54:00:01:02:03")])
def test_a_mac_address_is_kept_as_libvirt_prints_it(mac: str, kept: str) -> None:
    assert NetworkInterface.user(mac=mac).mac == kept


@pytest.mark.parametrize("mac", ["52:54:00:11:22", "5254.0011.2233", "01:54:00:11:22:33", "zz:54:00:11:22:33", f"{MAC}:44"])
def test_what_is_no_mac_address_is_refused(mac: str) -> None:
    with pytest.raises(InvalidArgument, match="MAC address"):
        NetworkInterface.user(mac=mac)
    with pytest.raises(XMLInvalid, match="MAC address"):
        domain(f"<interface type='user'><mac address='{mac}'/></interface>")


@pytest.mark.parametrize(
    ("kind", "source", "missing"),
    [
        ("client", None, "address"),
        ("client", InterfaceSource(address="a"), "port"),
        ("server", InterfaceSource(address="a"), "port"),
        ("mcast", InterfaceSource(port=1), "address"),
        ("udp", InterfaceSource(address="a", port=1), "local address"),
        ("udp", InterfaceSource(address="a", port=1, local_address="b"), "local port"),
    ],
)
def test_a_source_says_what_its_type_needs(kind: str, source: InterfaceSource | None, missing: str) -> None:
    with pytest.raises(InvalidArgument, match=f"of type {kind} needs the {missing} of its source"):
        NetworkInterface(type=InterfaceType(kind), source=source)


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_port_is_one(port: int) -> None:
    with pytest.raises(InvalidArgument, match="is no port"):
        InterfaceSource(port=port)


@pytest.mark.parametrize(
    ("devices", "path"),
    [
        (["<interface type='network'><source network='default'/></interface>"], "/domain/devices/interface/@type"),
        (["<interface type='user'><model type='ne2k_isa'/></interface>"], "/domain/devices/interface[1]/model/@type"),
        (["<interface type='user'><link state='down'/></interface>"], "/domain/devices/interface[1]/link/@state"),
        (["<interface type='user'><mtu size='1400'/></interface>"], "/domain/devices/interface/mtu"),
        ([f"<interface type='user'><mac address='{MAC}'/></interface>"] * 2, "/domain/devices/interface[2]/mac/@address"),
        (["<interface type='client'><source address='a b' port='1'/></interface>"], "/domain/devices/interface[1]/source/@address"),
    ],
)
def test_what_it_cannot_give_is_refused(devices: list[str], path: str) -> None:
    with pytest.raises(ConfigUnsupported) as caught:
        check(domain(*devices))
    assert path in [place.path for place in caught.value.places]


def test_it_is_plugged_in_in_two_steps() -> None:
    spec = fill(domain(f"<interface type='user'><mac address='{MAC}'/><model type='virtio'/></interface>"), Capabilities())
    (card,) = spec.of(NetworkInterface)
    host, device = plugging_steps(card, Context(spec, 0))
    assert (host.do.name, host.undo.name, device.do.name, device.undo.name) == ("netdev_add", "netdev_del", "device_add", "device_del")
