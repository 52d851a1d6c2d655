"""What the verbs about this host's devices do, in virsh's words and libvirt's names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import anyio

from aiovirt import Host
from aiovirt.cli.output import Output, netdev_fields, stamp
from aiovirt.cli.streams import until_interrupted
from aiovirt.errors import AmbiguousDevice, InvalidArgument, NoSuchDevice
from aiovirt.events import DriverEvent, Event, NetdevAdded, NetdevChanged, NetdevEvent, NetdevRemoved, NetdevRenamed
from aiovirt.events.types import PCIAdded, PCIChanged, PCIEvent, PCIRemoved
from aiovirt.events.words import show
from aiovirt.libvirtxml.nodedev_names import COMPUTER, bus_name, nodedev_name, nodedev_parent
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.ports import KnownBy, Port, ScalableFunction, VirtualFunction

__all__ = ["dump", "follow", "info", "list_devices", "tree_lines"]

Device = Netdev | PCIDevice

_YES: Final = {True: "yes", False: "no"}


async def list_devices(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``nodedev-list [--tree | --ports | --details] [--cap NAME,…]``"""
    if args.cap and (args.tree or args.ports):
        raise InvalidArgument("Options --tree and --ports are incompatible with --cap")
    if args.ports:
        _list_ports(host, out)
    elif args.details and args.cap and "net" not in args.cap:
        raise InvalidArgument("--details is of network devices: --cap net")
    elif args.details and not out.json:
        _table(host.devices.netdevs(), out)
    else:
        _list(_listed(host, ["net"] if args.details else args.cap), out, tree=args.tree)


async def info(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``nodedev-info DEVICE``"""
    device = _find(host, args.device)
    if out.json:
        out.object(_fields(device))
        return
    kept = _YES[device is None]  # the computer has always been there, and will be
    name, parent = _name(device), "" if device is None else nodedev_parent(device)
    out.fields({"Name": name, "Parent": parent, "Active": "yes", "Persistent": kept, "Autostart": kept})


async def dump(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``nodedev-dumpxml DEVICE``"""
    device = await _device(host, args.device)
    xml = await host.devices.xml(device)
    if out.json:
        out.object(_fields(device) | {"xml": xml})
    else:
        out.xml(xml)


# -- names -------------------------------------------------------------------------------------


def _devices(host: Host) -> list[Device]:
    return [*host.devices.netdevs(), *host.devices.pci()]


def _name(device: Device | None) -> str:
    return COMPUTER if device is None else nodedev_name(device)


def _find(host: Host, name: str) -> Device | None:
    """The device by libvirt's name for it, a network device's own name, or a PCI address; None is the computer itself.

    Raises NoSuchDevice, AmbiguousDevice where several have this name of libvirt's.
    """
    if name == COMPUTER:
        return None
    found = [device for device in _devices(host) if nodedev_name(device) == name]
    if len(found) > 1:
        raise AmbiguousDevice(f"{len(found)} devices are named {name!r}", candidates=tuple(device.subject for device in found))
    if found:
        return found[0]
    functions = {device.address: device for device in host.devices.pci()}
    try:
        return functions.get(name) or host.devices.netdev(name)
    except NoSuchDevice:
        raise NoSuchDevice(f"no node device with matching name {name!r}") from None


async def _device(host: Host, name: str) -> Device:
    try:
        device = _find(host, name)
    except NoSuchDevice as unknown:
        try:
            return await host.devices.refresh(name)  # an altname that the kernel did not tell of
        except NoSuchDevice:
            raise unknown from None
    if device is None:
        raise InvalidArgument(f"{name} is the host itself: it has neither XML nor events here")
    return device


def _fields(device: Device | None) -> dict[str, Any]:
    """A device as ``--json`` prints it: what it is (``Netdev``'s or ``PCIDevice``'s fields), and three keys of nodedev's own.

    ``capability`` is ``system``, ``net`` or ``pci``, ``nodedev`` libvirt's name for it, ``nodedev_parent`` that of what it
    hangs from (null for the computer).
    """
    if device is None:
        return {"capability": "system", "nodedev": COMPUTER, "nodedev_parent": None}
    own = netdev_fields(device) if isinstance(device, Netdev) else {name: getattr(device, name) for name in device.__struct_fields__}
    return own | {"capability": _capability(device), "nodedev": nodedev_name(device), "nodedev_parent": nodedev_parent(device)}


def _capability(device: Device | None) -> str:
    if device is None:
        return "system"
    return "net" if isinstance(device, Netdev) else "pci"


# -- lists -------------------------------------------------------------------------------------


def _listed(host: Host, capabilities: list[str] | None) -> list[Device | None]:
    """Those that can this, in virsh's order; None stands for the computer."""
    devices: list[Device | None] = [None, *_devices(host)]
    wanted = (device for device in devices if not capabilities or _capability(device) in capabilities)
    return sorted(wanted, key=lambda device: _order(_name(device)))


def _order(name: str) -> str:
    """virsh sorts without regard to case."""
    return name.lower()


def _list(devices: Iterable[Device | None], out: Output, *, tree: bool) -> None:
    if out.json:
        for device in devices:
            out.object(_fields(device))
        return
    if tree:
        lines = tree_lines({nodedev_name(device): nodedev_parent(device) for device in devices if device is not None}, COMPUTER)
    else:
        lines = map(_name, devices)
    for line in lines:
        out.line(line)
    out.note()


def _table(devices: Iterable[Netdev], out: Output) -> None:
    rows = [
        (
            device.name,
            device.mac or "-",
            str(device.mtu),
            str(device.operstate),
            show("phys_port_id", device.phys_port_id),
            device.parent or "-",
            device.driver or device.kind or "-",
        )
        for device in devices
    ]
    out.table(("Name", "MAC", "MTU", "State", "phys_port_id", "Parent", "Driver"), rows)


# -- trees -------------------------------------------------------------------------------------


class _Branch(NamedTuple):
    label: str
    children: tuple[_Branch, ...] = ()


def tree_lines(parents: Mapping[str, str], root: str) -> Iterator[str]:
    """virsh's drawing of a tree: ``parents`` has each name's parent. What does not lead to ``root`` hangs from it."""
    children: dict[str, list[str]] = {}
    for name in sorted(parents, key=_order):
        above = parents[name] if parents[name] in parents else root
        children.setdefault(above, []).append(name)

    def branch(name: str) -> _Branch:
        return _Branch(name, tuple(map(branch, children.get(name, ()))))

    return _draw(branch(root))


def _draw(branch: _Branch, indent: str = "", *, root: bool = True, last: bool = True) -> Iterator[str]:
    yield f"{indent}{'' if root else '+- '}{branch.label}"
    indent += "" if root else "  " if last else "| "
    if branch.children:
        yield f"{indent}  |"
    for child in branch.children:
        yield from _draw(child, f"{indent}  ", root=False, last=child is branch.children[-1])
    if last and not branch.children:
        yield indent


# -- ports -------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """A port, and what told of each network device (by its ifindex) that it is on it."""

    port: Port
    known_by: dict[int, KnownBy]


def _list_ports(host: Host, out: Output) -> None:
    """Every port that a network device is on; then those of which nothing tells where they are."""
    ports, lost = _ports(host)
    for seen in ports:
        if out.json:
            out.object(_port_fields(seen))
        else:
            for line in _draw(_port_branch(seen)):
                out.line(line)
    for device, why in lost.items():
        if out.json:
            out.object({"port": None, "netdevs": [device], "why": why})
        else:
            out.line(f"{device}: {why}")


def _ports(host: Host) -> tuple[list[_Seen], dict[str, str]]:
    seen: dict[tuple[int, ...], _Seen] = {}
    lost: dict[str, str] = {}
    for device in host.devices.netdevs():
        try:
            port = host.devices.port(device)
        except AmbiguousDevice as error:
            lost[device.name] = error.message
        except NoSuchDevice:
            continue  # on no card
        else:
            found = seen.setdefault(tuple(other.ifindex for other in port.netdevs), _Seen(port, {}))
            found.known_by[device.ifindex] = port.known_by
    return list(seen.values()), lost


def _port_name(port: Port) -> str:
    """Its phys_port_id or phys_port_name, else the function and the number of the port on it."""
    devices = [*([port.pf] if port.pf is not None else []), *port.netdevs]
    ids = [value for name in ("phys_port_id", "phys_port_name") for device in devices if isinstance(value := getattr(device, name), str)]
    return ids[0] if ids else next((f"{device.pci or '-'} port {device.dev_port}" for device in devices), "-")


def _port_branch(seen: _Seen) -> _Branch:
    port = seen.port
    functions = (*(_Branch(_vf_words(vf)) for vf in port.vfs), *(_Branch(_sf_words(sf)) for sf in port.sfs))
    parts = (*(vf.netdevs for vf in port.vfs), *(sf.netdevs for sf in port.sfs))
    in_functions = {device.ifindex for netdevs in parts for device in netdevs}
    pf = port.pf.ifindex if port.pf is not None else None
    below = [
        _Branch(_netdev_words(device, seen), functions if device.ifindex == pf else ())
        for device in port.netdevs
        if device.ifindex not in in_functions
    ]
    return _Branch(f"port {_port_name(port)}", (*below, *(functions if pf is None else ())))


def _netdev_words(device: Netdev, seen: _Seen) -> str:
    port = seen.port
    role = "PF" if port.pf is not None and device.ifindex == port.pf.ifindex else ""
    role = "representor" if any(device.ifindex == other.ifindex for other in port.representors) else role
    return "  ".join(part for part in (device.name, role, device.pci or "", _how(seen.known_by.get(device.ifindex))) if part)


def _vf_words(vf: VirtualFunction) -> str:
    has_it = ", ".join(device.name for device in vf.netdevs) or vf.pci.driver or "no driver"
    return f"VF {vf.index}  {vf.pci.address}  {has_it}  {_how(vf.known_by)}"


def _sf_words(sf: ScalableFunction) -> str:
    return f"SF {sf.name}  {', '.join(device.name for device in sf.netdevs)}  {_how(sf.known_by)}"


def _how(known_by: KnownBy | None) -> str:
    return f"(known by {known_by})" if known_by is not None else "(unknown)"


def _port_fields(seen: _Seen) -> dict[str, Any]:
    """A port as ``--json`` prints it: names and addresses, and of each network device and VF what told that it is there."""
    port = seen.port
    return {
        "port": _port_name(port),
        "pf": port.pf.name if port.pf is not None else None,
        "netdevs": [
            {"name": device.name, "ifindex": device.ifindex, "known_by": seen.known_by.get(device.ifindex)} for device in port.netdevs
        ],
        "vfs": [
            {"index": vf.index, "pci": vf.pci.address, "netdevs": [device.name for device in vf.netdevs], "known_by": vf.known_by}
            for vf in port.vfs
        ],
        "sfs": [{"name": sf.name, "netdevs": [device.name for device in sf.netdevs], "known_by": sf.known_by} for sf in port.sfs],
        "representors": [device.name for device in port.representors],
    }


# -- events ------------------------------------------------------------------------------------


async def follow(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``nodedev-event [--loop] [--all | --event lifecycle|update] [--device DEVICE] [--timestamp]``"""
    about = await _device(host, args.device) if args.device else None
    received, ended = 0, "interrupted"
    try:
        with anyio.fail_after(args.timeout.hand_over()):
            async with until_interrupted(out), host.events.subscribe(NetdevEvent, PCIEvent, DriverEvent, subject=about) as events:
                async for event in events:
                    for words in _said(event, args, out):
                        if out.json:
                            out.event(event)
                        else:
                            out.line(words)
                        received += 1
                        if not args.loop:
                            ended = ""
                            return
    except TimeoutError:
        ended = "timed out"
        if not received:
            raise
    finally:
        _end(out, ended, received)


def _end(out: Output, ended: str, received: int) -> None:
    """virsh's last words, for people."""
    if out.json:
        return
    if ended:
        out.note(f"event loop {ended}")
    out.note(f"events received: {received}")
    out.note()


def _said(event: Event, args: argparse.Namespace, out: Output) -> list[str]:
    """virsh's lines for an event, those that are asked for; of an event that is shown as one object, at most one."""
    time = f"{stamp(event.time)}: " if args.timestamp else ""
    news = [time + words for kind, words in _news(event) if args.event in {None, kind}]
    return news[:1] if out.json else news


def _news(event: Event) -> Iterator[tuple[str, str]]:
    """(libvirt's kind of event, virsh's line): a device whose name is another than before was deleted, and is created."""
    before, after = _names(event)
    if before == after:
        if after is not None:
            yield "update", f"event 'update' for node device {after}"
        return
    for name, what in ((before, "Deleted"), (after, "Created")):
        if name is not None:
            yield "lifecycle", f"event 'lifecycle' for node device {name}: {what}"


def _names(event: Event) -> tuple[str | None, str | None]:
    """libvirt's names of what it is about, before and after; None where it was not there, or libvirt knows no such device."""
    match event:
        case NetdevAdded() | PCIAdded():
            return None, nodedev_name(event.device)
        case NetdevRemoved() | PCIRemoved():
            return nodedev_name(event.device), None
        case NetdevRenamed() | NetdevChanged() | PCIChanged():
            return nodedev_name(event.old), nodedev_name(event.new)
        case DriverEvent() if event.device.bus == "pci":
            return bus_name(event.device), bus_name(event.device)
        case _:
            return None, None
