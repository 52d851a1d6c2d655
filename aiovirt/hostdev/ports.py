"""Which port a network device is on. Pure: it reads an inventory and does no I/O.

An *uplink* is a network device of a function that is no representor: of a physical function, what stands for one of
its ports. It hangs from the function itself, and not from another device behind that (a USB adapter from its controller,
say). A virtual or scalable function's network device is told to be on one of them by the first of :class:`KnownBy` that
tells. Nothing here is ever guessed: an attribute that could not be read is neither "none" nor a reason to go by a
weaker one. docs/nics.md has what each driver tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeGuard

from msgspec.structs import replace

from aiovirt.errors import AmbiguousDevice, NoSuchDevice
from aiovirt.hostdev.port_names import PortName, parse_port_name
from aiovirt.model.netdev import VF, Netdev, Unreadable
from aiovirt.model.pci import PCI_ADDRESS, PCIDevice
from aiovirt.model.ports import KnownBy, Port, ScalableFunction, VirtualFunction

__all__ = ["Inventory", "by_phys_port", "find_netdev", "find_pci", "netdev_pf", "pci_pf", "port", "virtual_functions"]


class Inventory(Protocol):
    """Network devices by id, PCI functions by address."""

    @property
    def netdevs(self) -> Mapping[str, Netdev]: ...
    @property
    def pci(self) -> Mapping[str, PCIDevice]: ...


# -- who is meant ------------------------------------------------------------------------------


def find_netdev(inventory: Inventory, nic: Netdev | str | int) -> Netdev:
    """The device as it is now: by its id where a value is given, else by name, altname or ifindex. Raises NoSuchDevice.

    A name that is another device's altname is the name's.
    """
    if isinstance(nic, Netdev):
        found = inventory.netdevs.get(nic.id)
    elif isinstance(nic, str):
        found = _named(inventory.netdevs.values(), nic)
    else:
        found = next((device for device in inventory.netdevs.values() if device.ifindex == nic and not isinstance(nic, bool)), None)
    if found is None:
        raise NoSuchDevice(f"{nic.name} is gone" if isinstance(nic, Netdev) else f"no network device is named {nic!r}")
    return found


def _named(devices: Iterable[Netdev], name: str) -> Netdev | None:
    other = None
    for device in devices:
        if device.name == name:
            return device
        if name in device.altnames:
            other = device
    return other


def find_pci(inventory: Inventory, function: PCIDevice | str) -> PCIDevice:
    """The function as it is now, by its address; raises NoSuchDevice."""
    address = function.address if isinstance(function, PCIDevice) else function.lower()
    try:
        return inventory.pci[address]
    except KeyError:
        raise NoSuchDevice(f"no PCI function has the address {address!r}") from None


# -- what tells --------------------------------------------------------------------------------


class _Location(NamedTuple):
    """Where a device is: ``on`` those that stand for its port, ``known_by`` what told so.

    Empty: it is surely on none of the candidates. ``known_by`` is None where nothing tells; ``on`` are then all that could be.
    """

    on: Sequence[Netdev]
    known_by: KnownBy | None


def _port_id(device: Netdev) -> str | None | Unreadable:
    return device.phys_port_id


def _port_name(device: Netdev) -> PortName | None | Unreadable:
    name = device.phys_port_name
    return parse_port_name(name) if isinstance(name, str) else name


def _is_sf(device: Netdev) -> bool:
    """Whether it is a scalable function's: it hangs from that one's device on the auxiliary bus, as drivers call those."""
    return device.parent is not None and _SF.fullmatch(device.parent) is not None


_SF: Final = re.compile(r".+\.sf\.[0-9]+", re.ASCII | re.DOTALL)
_VIRTIO: Final = re.compile(r"virtio[0-9]+", re.ASCII)


def _is_representor(device: Netdev) -> bool:
    name = _port_name(device)
    return isinstance(name, PortName) and name.is_representor


_IDENTITIES: Final[tuple[tuple[KnownBy, Callable[[Netdev], str | PortName | None | Unreadable]], ...]] = (
    (KnownBy.PHYS_PORT_ID, _port_id),
    (KnownBy.PHYS_PORT_NAME, _port_name),
)


def _location(nic: Netdev, candidates: Sequence[Netdev], siblings: Iterable[Netdev]) -> _Location:
    """On whose port ``nic`` is; ``siblings`` are the network devices of its own function, itself included."""
    for known_by, read in _IDENTITIES:
        mine, theirs = read(nic), [read(candidate) for candidate in candidates]
        told = mine is not None and not isinstance(mine, Unreadable)
        if told and (same := [device for device, its in zip(candidates, theirs, strict=True) if its == mine]):
            return _Location(same, known_by)
        if told and all(its is not None and not isinstance(its, Unreadable) for its in theirs):
            return _Location((), known_by)
        if any(isinstance(its, Unreadable) for its in (mine, *theirs)) or (told and any(its is not None for its in theirs)):
            return _only(candidates)
    return _by_dev_port(nic, candidates, siblings)


def _by_dev_port(nic: Netdev, candidates: Sequence[Netdev], siblings: Iterable[Netdev]) -> _Location:
    """0 is also what a driver that numbers nothing leaves there: it counts where the function has another number, too."""
    several = 1 < len(candidates) == len({device.dev_port for device in candidates})
    if several and any(device.dev_port for device in siblings):
        same = [device for device in candidates if device.dev_port == nic.dev_port]
        return _Location(same, KnownBy.DEV_PORT) if same else _Location(candidates, None)
    return _only(candidates)


def _only(candidates: Sequence[Netdev]) -> _Location:
    return _Location(candidates, KnownBy.ONLY_NETDEV if len(candidates) == 1 else None)


# -- what hangs together -----------------------------------------------------------------------


class _Cards:
    """An inventory by function: read through once, asked often."""

    def __init__(self, inventory: Inventory) -> None:
        self.pci = inventory.pci
        self.representors: list[Netdev] = []
        self._sfs: dict[str, list[Netdev]] = {}
        self._uplinks: dict[str, list[Netdev]] = {}
        self._switches: dict[str, list[Netdev]] = {}
        for device in sorted(inventory.netdevs.values(), key=_ifindex):
            if _is_representor(device):
                self.representors.append(device)
            elif device.pci is not None and _is_sf(device):
                self._sfs.setdefault(device.pci, []).append(device)
            elif device.pci is not None and self.is_own(device):
                self._uplinks.setdefault(device.pci, []).append(device)
                if isinstance(device.phys_switch_id, str):
                    self._switches.setdefault(device.phys_switch_id, []).append(device)

    def is_own(self, nic: Netdev) -> bool:
        """Whether it hangs from its PCI function itself: a virtio device is its function, where virtio-pci has that."""
        if nic.parent is None or nic.parent == nic.pci:
            return True
        function = self.pci.get(nic.pci or "")
        return _VIRTIO.fullmatch(nic.parent) is not None and (function is None or function.driver in {None, "virtio-pci"})

    def is_on_card(self, nic: Netdev) -> bool:
        """Whether it is a PCI function's, or a part's of one."""
        return nic.pci is not None and (self.is_own(nic) or _is_sf(nic) or _is_representor(nic))

    def sfs(self, function: str | None) -> Sequence[Netdev]:
        """The network devices of this function's scalable functions, by ifindex."""
        return self._sfs.get(function, ()) if function is not None else ()

    def uplinks(self, function: str | None) -> Sequence[Netdev]:
        """The network devices of this function that are no representors, by ifindex."""
        return self._uplinks.get(function, ()) if function is not None else ()

    def all_uplinks(self) -> Iterable[Netdev]:
        """Those of every function."""
        return chain.from_iterable(self._uplinks.values())

    def physfn(self, nic: Netdev) -> str | None:
        """The address of its physical function, None where it is not a VF's."""
        function = self.pci.get(nic.pci) if nic.pci is not None else None
        return function.physfn if function is not None else None

    def home(self, nic: Netdev) -> str | None:
        """The address of the physical function that has its port."""
        return self.physfn(nic) or nic.pci

    def above(self, nic: Netdev) -> _Location:
        """Where it is among its PF's uplinks; nowhere when none of those is here."""
        if _is_sf(nic):
            return _location(nic, self.uplinks(nic.pci), [nic])
        return _location(nic, self.uplinks(self.physfn(nic)), self.uplinks(nic.pci))

    def beside(self, nic: Netdev) -> _Location:
        """Where it is among its own function's network devices: those on the same port, itself included."""
        peers = self.uplinks(nic.pci)
        return _location(nic, peers, peers)

    def behind(self, representor: Netdev) -> _Location:
        """Where a representor is among the uplinks on its switch."""
        switch = representor.phys_switch_id
        if not isinstance(switch, str):
            return _Location(self.uplinks(representor.pci), None)
        found = _behind(representor, self._switches.get(switch, []))
        return _Location(found, KnownBy.PHYS_PORT_NAME if len(found) <= 1 else None)

    def functions(self, physfn: str | None) -> list[VirtualFunction]:
        """The virtual functions of a physical one that are here, by index, with all their network devices."""
        pf = self.pci.get(physfn) if physfn is not None else None
        known = ((index, self.pci.get(address or "")) for index, address in enumerate(pf.vfs if pf is not None else ()))
        return [VirtualFunction(index=index, pci=vf, netdevs=tuple(self.uplinks(vf.address))) for index, vf in known if vf is not None]


def _behind(representor: Netdev, on_switch: list[Netdev]) -> list[Netdev]:
    """Those of the uplinks on its switch that could be its own: its function's, else the one with the number of its PF.

    That number is a function's, so it does not tell the ports of one function apart; and where it points to another
    function's port than the one that the representor hangs from, neither is believed.
    """
    number = _number(representor)
    own = [device for device in on_switch if device.pci == representor.pci]
    named = [device for device in on_switch if _number(device) == number]
    if own:
        return own if len(own) == 1 and (own[0] in named or not named) else on_switch
    return named or (on_switch if any(_number(device) is None for device in on_switch) else [])


class _Members:
    """What is on one port: that of ``anchor``, an uplink, or a VF's network device whose uplink is not here."""

    def __init__(self, cards: _Cards, anchor: Netdev) -> None:
        self._cards = cards
        self._anchor = anchor
        self._home = cards.home(anchor)
        self.pf = anchor if cards.physfn(anchor) is None else None
        self._beside = cards.beside(anchor)

    def port(self, known_by: KnownBy) -> Port:
        """All of it."""
        own = self._beside.on if self._beside.known_by is not None else (self._anchor,)
        vfs, sfs, representors = tuple(self._vfs()), tuple(self._sfs()), tuple(self._representors(own))
        parts = (*(vf.netdevs for vf in vfs), *(sf.netdevs for sf in sfs))
        netdevs = {device.ifindex: device for device in chain(own, representors, *parts)}
        return Port(netdevs=_by_ifindex(netdevs.values()), pf=self.pf, vfs=vfs, sfs=sfs, representors=representors, known_by=known_by)

    def _vfs(self) -> Iterator[VirtualFunction]:
        only = self.pf is not None and len(self._cards.uplinks(self._home)) == 1
        settings = _settings(self.pf)
        for vf in self._cards.functions(self._home):
            told = [(device, known_by) for device in vf.netdevs if (known_by := self._known_by(device)) is not None]
            if told:
                here = tuple(device for device, _ in told)
                yield replace(vf, netdevs=here, settings=settings.get(vf.index), known_by=told[0][1])
            elif only and not vf.netdevs:
                yield replace(vf, settings=settings.get(vf.index), known_by=KnownBy.ONLY_NETDEV)

    def _sfs(self) -> Iterator[ScalableFunction]:
        by_name: dict[str | None, list[Netdev]] = {}
        for device in self._cards.sfs(self._anchor.pci):
            by_name.setdefault(device.parent, []).append(device)
        for name, devices in by_name.items():
            above = self._cards.above(devices[0])
            if name is not None and above.known_by is not None and self._anchor in above.on:
                yield ScalableFunction(name=name, netdevs=tuple(devices), known_by=above.known_by)

    def _known_by(self, device: Netdev) -> KnownBy | None:
        """What tells that a VF's network device is on this port; None where nothing does."""
        if self.pf is not None:
            above = self._cards.above(device)
            return above.known_by if self._anchor in above.on else None
        if device in self._beside.on:
            return self._beside.known_by
        return KnownBy.PHYS_PORT_ID if device.phys_port_id is not None and device.phys_port_id == self._anchor.phys_port_id else None

    def _representors(self, own: Sequence[Netdev]) -> Iterator[Netdev]:
        for device in self._cards.representors:
            behind = self._cards.behind(device)
            if behind.known_by is not None and behind.on and behind.on[0] in own:
                yield device


def _ifindex(device: Netdev) -> int:
    return device.ifindex


def _by_ifindex(devices: Iterable[Netdev]) -> tuple[Netdev, ...]:
    return tuple(sorted(devices, key=_ifindex))


def _number(device: Netdev) -> int | None:
    name = _port_name(device)
    return name.number if isinstance(name, PortName) else None


def _settings(pf: Netdev | None) -> dict[int, VF]:
    return {its.index: its for its in pf.vfs} if pf is not None else {}


# -- what is asked -----------------------------------------------------------------------------


def netdev_pf(inventory: Inventory, vf: Netdev | str | int) -> Netdev:
    """The uplink, on its physical function, of the port that a VF's network device is on, or a scalable function's.

    Raises NoSuchDevice where it is neither, or that uplink is not here; AmbiguousDevice where nothing tells which it is.
    """
    cards, nic = _Cards(inventory), find_netdev(inventory, vf)
    _check_on_card(cards, nic)
    if cards.physfn(nic) is None and not _is_sf(nic):
        raise NoSuchDevice(f"{nic.name} is not a virtual function's", subject=nic.subject)
    return _one(nic, cards.above(nic), "the network device of its physical function")[0]


def pci_pf(inventory: Inventory, vf: PCIDevice) -> PCIDevice:
    """The physical function of a virtual one; raises NoSuchDevice where it is none, or its PF is not here."""
    function = find_pci(inventory, vf)
    if function.physfn is None:
        raise NoSuchDevice(f"{function.address} is not a virtual function", subject=function.subject)
    return find_pci(inventory, function.physfn)


def virtual_functions(inventory: Inventory, pf: Netdev | PCIDevice | str | int) -> tuple[VirtualFunction, ...]:
    """Those of a physical function, by index; where a network device is asked about, those on its port (see :func:`port`).

    A PCI function may be given by its address, too. What is set for each of its VFs is told where it has one uplink
    only. Raises NoSuchDevice, and AmbiguousDevice as :func:`port` does.
    """
    if not isinstance(pf, PCIDevice) and not _is_address(pf):
        return port(inventory, pf).vfs
    cards, function = _Cards(inventory), find_pci(inventory, pf)
    uplinks = cards.uplinks(function.address)
    settings = _settings(uplinks[0] if len(uplinks) == 1 else None)
    return tuple(replace(vf, settings=settings.get(vf.index)) for vf in cards.functions(function.address))


def port(inventory: Inventory, nic: Netdev | str | int) -> Port:
    """The port that a network device is on; of each virtual function, only its network devices on this port are listed.

    Raises NoSuchDevice where it hangs from no PCI function, or where it is a representor or a scalable function's and the
    port is not here; AmbiguousDevice where nothing tells.
    """
    return _port(_Cards(inventory), find_netdev(inventory, nic))


def _port(cards: _Cards, nic: Netdev) -> Port:
    if _is_representor(nic):
        anchor, known_by = _one(nic, cards.behind(nic), "the uplink that it is a representor behind")
    else:
        _check_on_card(cards, nic)
        anchor, known_by = _anchor(cards, nic)
    return _Members(cards, anchor).port(known_by)


def _anchor(cards: _Cards, nic: Netdev) -> tuple[Netdev, KnownBy]:
    """The uplink of its port: itself, where it is none of a part's or that of its PF is not here; and what told."""
    if (above := cards.above(nic)).on:
        return _one(nic, above, "")
    if _is_sf(nic):
        raise NoSuchDevice(f"{nic.name}: the uplink that it is a scalable function of is not here", subject=nic.subject)
    return nic, _known(nic, cards.beside(nic))


def _check_on_card(cards: _Cards, nic: Netdev) -> None:
    if not cards.is_on_card(nic):
        behind = f", but from {nic.parent}" if nic.pci is not None else ""
        raise NoSuchDevice(f"{nic.name} hangs from no PCI function{behind}, so it is on no card's port", subject=nic.subject)


def by_phys_port(inventory: Inventory, phys_port_id: str, of: PCIDevice | Netdev | str | None) -> Port:
    """The port with this id, in either case of its letters; ``of`` names its card by any function or device on it.

    Where functions of one card share a port (NPAR), ``of`` can be the one that is meant. Raises NoSuchDevice, and
    AmbiguousDevice where several physical functions have a port with this id.
    """
    cards, wanted = _Cards(inventory), phys_port_id.lower()
    asked = _home(cards, inventory, of) if of is not None else None
    devices = [device for device in cards.all_uplinks() if asked is None or _slot(cards.home(device)) == _slot(asked)]
    homes: dict[str | None, list[Netdev]] = {}
    for device in devices:
        if device.phys_port_id == wanted:
            homes.setdefault(cards.home(device), []).append(device)
    meant = [homes[asked]] if asked in homes else list(homes.values())
    found = [min(those, key=lambda device: cards.physfn(device) is not None) for those in meant]
    if not found:
        raise NoSuchDevice(f"no port here has the phys_port_id {wanted!r}{_but_unread(devices)}")
    if len(found) > 1:
        raise AmbiguousDevice(f"several functions have a port with the phys_port_id {wanted!r}", candidates=_subjects(found))
    return _port(cards, found[0])


def _home(cards: _Cards, inventory: Inventory, of: PCIDevice | Netdev | str) -> str | None:
    """The physical function that is meant by a function or device on the card."""
    if isinstance(of, PCIDevice) or _is_address(of):
        function = find_pci(inventory, of)
        return function.physfn or function.address
    nic = find_netdev(inventory, of)
    _check_on_card(cards, nic)
    return cards.home(nic)


def _is_address(named: object) -> TypeGuard[str]:
    """Whether it is a PCI function's address: no network device's name has a colon."""
    return isinstance(named, str) and PCI_ADDRESS.fullmatch(named.lower()) is not None


def _slot(address: str | None) -> str:
    return (address or "").rpartition(".")[0]


def _but_unread(devices: Iterable[Netdev]) -> str:
    names = [device.name for device in devices if isinstance(device.phys_port_id, Unreadable)]
    return f"; unreadable: that of {', '.join(names)}" if names else ""


def _one(nic: Netdev, location: _Location, wanted: str) -> tuple[Netdev, KnownBy]:
    """The one that it is on, and what told; raises AmbiguousDevice, and NoSuchDevice where it is on none of them."""
    if not location.on:
        raise NoSuchDevice(f"{nic.name}: {wanted} is not here", subject=nic.subject)
    if len(location.on) > 1:
        location = _Location(location.on, None)
    return location.on[0], _known(nic, location)


def _known(nic: Netdev, location: _Location) -> KnownBy:
    if location.known_by is None:
        names = " or ".join(device.name for device in location.on)
        raise AmbiguousDevice(
            f"nothing tells which port {nic.name} is on ({names})", candidates=_subjects(location.on), subject=nic.subject
        )
    return location.known_by


def _subjects(devices: Iterable[Netdev]) -> tuple[str, ...]:
    return tuple(device.subject for device in devices)
