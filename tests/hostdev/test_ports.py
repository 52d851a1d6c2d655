from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from aiovirt.errors import AmbiguousDevice, NoSuchDevice
from aiovirt.hostdev.ports import by_phys_port, find_netdev, find_pci, netdev_pf, pci_pf, port, virtual_functions
from aiovirt.model.netdev import VF, Netdev, Unreadable
from aiovirt.model.pci import PCIDevice
from aiovirt.model.ports import KnownBy, Port

Told = str | None | Unreadable

PF0, PF1 = "0000:3b:00.0", "0000:3b:00.1"
EIO = Unreadable("EIO")
A, B, C = "e41d2d000001", "e41d2d000002", "e41d2d000003"
BY_ID, BY_NAME, BY_DEV_PORT, ONLY = KnownBy.PHYS_PORT_ID, KnownBy.PHYS_PORT_NAME, KnownBy.DEV_PORT, KnownBy.ONLY_NETDEV


@dataclass
class Host:
    """An inventory, put together device by device."""

    netdevs: dict[str, Netdev] = field(default_factory=dict)
    pci: dict[str, PCIDevice] = field(default_factory=dict)

    def card(self, *functions: str, vfs: int = 0) -> Host:
        """Physical functions with so many VFs each; the VFs are in other slots, as on real cards."""
        for function in functions:
            stem, _, number = function.rpartition(":")
            addresses = tuple(f"{stem}:{int(number[-1]) + 1:02x}.{index}" for index in range(vfs))
            self.pci[function] = PCIDevice(address=function, vfs=addresses)
            self.pci |= {its: PCIDevice(address=its, physfn=function, vf_index=index) for index, its in enumerate(addresses)}
        return self

    def nic(
        self,
        name: str,
        pci: str | None = None,
        *,
        id: Told = None,  # noqa: A002 - it reads like the attribute
        called: Told = None,
        switch: Told = None,
        dev_port: int = 0,
        vfs: Sequence[int] = (),
        altnames: tuple[str, ...] = (),
        parent: str | None = None,
    ) -> Host:
        ifindex = len(self.netdevs) + 2
        device = Netdev(
            id=f"{ifindex}.1",
            ifindex=ifindex,
            name=name,
            pci=pci,
            parent=parent or pci,
            phys_port_id=id,
            phys_port_name=called,
            phys_switch_id=switch,
            dev_port=dev_port,
            altnames=altnames,
            vfs=tuple(VF(index=index, mac=f"02:00:00:00:{ifindex:02x}:{index:02x}") for index in vfs),
        )
        self.netdevs[device.id] = device
        return self

    def __getitem__(self, name: str) -> Netdev:
        return next(device for device in self.netdevs.values() if device.name == name)

    def subjects(self, *names: str) -> tuple[str, ...]:
        return tuple(self[name].subject for name in names)


def vf(index: int, of: str = PF0) -> str:
    stem, _, number = of.rpartition(":")
    return f"{stem}:{int(number[-1]) + 1:02x}.{index}"


def names(devices: Sequence[Netdev]) -> list[str]:
    return [device.name for device in devices]


def vfs_of(found: Port) -> list[tuple[int, list[str], KnownBy | None]]:
    return [(its.index, names(its.netdevs), its.known_by) for its in found.vfs]


def sfs_of(found: Port) -> list[tuple[str, list[str], KnownBy]]:
    return [(its.name, names(its.netdevs), its.known_by) for its in found.sfs]


# igb, ixgbe: one function a port, and nothing tells anything
IGB = (
    Host()
    .card(PF0, PF1, vfs=2)
    .nic("ens1f0", PF0, vfs=[0, 1])
    .nic("ens1f1", PF1)
    .nic("ens1f0v0", vf(0))
    .nic("ens1f1v0", vf(0, PF1))
    .nic("ens1f1v1", vf(1, PF1))
)

# mlx4: one function with two ports, and VFs with two each
MLX4 = (
    Host()
    .card(PF0, vfs=3)
    .nic("ens1", PF0, id=A, dev_port=0, vfs=[0, 1, 2])
    .nic("ens1d1", PF0, id=B, dev_port=1, vfs=[0, 1, 2])
    .nic("ens1v0", vf(0), id=A)
    .nic("ens1v0d1", vf(0), id=B, dev_port=1)
    .nic("ens1v1", vf(1), id=B)  # a VF with the second port only: its first one
)

# mlx5 in switchdev mode: one function a port, one switch for the card
MLX5 = (
    Host()
    .card(PF0, PF1, vfs=1)
    .nic("p0", PF0, called="p0", switch="aabb")
    .nic("p1", PF1, called="p1", switch="aabb")
    .nic("pf0vf0", PF0, called="pf0vf0", switch="aabb")
    .nic("pf1vf0", PF1, called="pf1vf0", switch="aabb")
    .nic("pf0sf88", PF0, called="pf0sf88", switch="aabb")
    .nic("c1pf1vf3", PF1, called="c1pf1vf3", switch="aabb")
    .nic("c1pf1", called="c1pf1", switch="aabb")
    .nic("elsewhere", called="pf0vf0", switch="ccdd")
    .nic("mute", PF0, called="pf0vf7")
    .nic("v0", vf(0))
    .nic("v1", vf(0, PF1))
)

# i40e: the PF has an id and its VFs have none
I40E = (
    Host().card(PF0, PF1, vfs=1).nic("f0", PF0, id=A, called="p0").nic("f1", PF1, id=B, called="p1").nic("v0", vf(0)).nic("v1", vf(0, PF1))
)

# ice: names, and representors by them
ICE = (
    Host()
    .card(PF0, vfs=2)
    .nic("ens1f0np0", PF0, called="p0", switch="0102")
    .nic("ens1f0v0", vf(0))
    .nic("ens1f0npf0vf0", PF0, called="pf0vf0", switch="0102")
)

# one function, split into four
SPLIT = Host().card(PF0, vfs=1)
for number in range(4):
    SPLIT.nic(f"np0s{number}", PF0, called=f"p0s{number}")
SPLIT.nic("v0", vf(0), called="p0s2")

NUMBERED = (
    Host()
    .card(PF0, vfs=3)
    .nic("a", PF0, dev_port=0)
    .nic("b", PF0, dev_port=1)
    .nic("v0", vf(0), dev_port=0)
    .nic("v0b", vf(0), dev_port=1)
    .nic("v1b", vf(1), dev_port=1)
)

PLAIN = Host().card(PF0).nic("eth0", PF0).nic("br0").nic("gone?", "0000:99:00.0")


@pytest.mark.parametrize(
    ("host", "nic", "pf", "known_by"),
    [
        (IGB, "ens1f0v0", "ens1f0", ONLY),
        (IGB, "ens1f1v0", "ens1f1", ONLY),
        (MLX4, "ens1v0", "ens1", BY_ID),
        (MLX4, "ens1v0d1", "ens1d1", BY_ID),
        (MLX4, "ens1v1", "ens1d1", BY_ID),
        (MLX5, "v0", "p0", ONLY),
        (MLX5, "v1", "p1", ONLY),
        (I40E, "v0", "f0", ONLY),
        (I40E, "v1", "f1", ONLY),
        (ICE, "ens1f0v0", "ens1f0np0", ONLY),
        (SPLIT, "v0", "np0s2", BY_NAME),
        (NUMBERED, "v0", "a", BY_DEV_PORT),
        (NUMBERED, "v0b", "b", BY_DEV_PORT),
        (NUMBERED, "v1b", "b", BY_DEV_PORT),
    ],
)
def test_a_virtual_function_s_device_is_on_the_port_of_its_pf(host: Host, nic: str, pf: str, known_by: KnownBy) -> None:
    assert netdev_pf(host, nic) == host[pf]
    found = port(host, nic)
    assert (found.pf, found.known_by) == (host[pf], known_by)
    assert host[nic] in found.netdevs


@pytest.mark.parametrize(
    ("host", "nic", "known_by"),
    [
        (IGB, "ens1f0", ONLY),
        (MLX4, "ens1d1", BY_ID),
        (MLX5, "p1", BY_NAME),
        (I40E, "f0", BY_ID),
        (SPLIT, "np0s3", BY_NAME),
        (NUMBERED, "a", BY_DEV_PORT),
        (PLAIN, "eth0", ONLY),
        (PLAIN, "gone?", ONLY),
    ],
)
def test_what_is_no_virtual_function_s_stands_for_its_port(host: Host, nic: str, known_by: KnownBy) -> None:
    found = port(host, nic)
    assert (found.pf, found.known_by) == (host[nic], known_by)


@pytest.mark.parametrize(
    ("host", "nic", "devices", "vfs"),
    [
        (IGB, "ens1f0", ["ens1f0", "ens1f0v0"], [(0, ["ens1f0v0"], ONLY), (1, [], ONLY)]),
        (IGB, "ens1f1v0", ["ens1f1", "ens1f1v0", "ens1f1v1"], [(0, ["ens1f1v0"], ONLY), (1, ["ens1f1v1"], ONLY)]),
        (MLX4, "ens1", ["ens1", "ens1v0"], [(0, ["ens1v0"], BY_ID)]),
        (MLX4, "ens1v1", ["ens1d1", "ens1v0d1", "ens1v1"], [(0, ["ens1v0d1"], BY_ID), (1, ["ens1v1"], BY_ID)]),
        (SPLIT, "np0s2", ["np0s2", "v0"], [(0, ["v0"], BY_NAME)]),
        (SPLIT, "np0s1", ["np0s1"], []),
        (NUMBERED, "b", ["b", "v0b", "v1b"], [(0, ["v0b"], BY_DEV_PORT), (1, ["v1b"], BY_DEV_PORT)]),
        (ICE, "ens1f0v0", ["ens1f0np0", "ens1f0v0", "ens1f0npf0vf0"], [(0, ["ens1f0v0"], ONLY), (1, [], ONLY)]),
        (PLAIN, "eth0", ["eth0"], []),
    ],
)
def test_a_port_has_what_is_on_it(host: Host, nic: str, devices: list[str], vfs: list[tuple[int, list[str], KnownBy]]) -> None:
    found = port(host, nic)
    assert names(found.netdevs) == devices
    assert vfs_of(found) == vfs
    assert virtual_functions(host, nic) == found.vfs


# -- a detached VF -----------------------------------------------------------------------------


def test_a_virtual_function_without_a_network_device_is_on_the_port_when_there_is_only_one() -> None:
    detached = port(IGB, "ens1f0").vfs[1]
    assert (detached.pci.address, detached.netdevs, detached.known_by) == (vf(1), (), ONLY)
    assert detached.settings == IGB["ens1f0"].vfs[1]


@pytest.mark.parametrize("nic", ["ens1", "ens1d1"])
def test_it_is_on_neither_port_of_two(nic: str) -> None:
    assert 2 not in [its.index for its in port(MLX4, nic).vfs]
    assert [(its.index, its.known_by, its.settings) for its in virtual_functions(MLX4, MLX4.pci[PF0])][2] == (2, None, None)


# -- settings ----------------------------------------------------------------------------------


def test_what_is_set_for_a_virtual_function_is_its_own_port_s() -> None:
    assert [its.settings for its in port(MLX4, "ens1").vfs] == [MLX4["ens1"].vfs[0]]
    assert [its.settings for its in port(MLX4, "ens1d1").vfs] == list(MLX4["ens1d1"].vfs[:2])
    assert [its.settings for its in port(IGB, "ens1f1").vfs] == [None, None]


@pytest.mark.parametrize("function", [IGB.pci[PF0], PF0, PF0.upper()])
def test_the_virtual_functions_of_a_pci_function_are_all_of_them(function: PCIDevice | str) -> None:
    found = virtual_functions(IGB, function)
    assert [(its.index, its.pci.address, names(its.netdevs), its.known_by) for its in found] == [
        (0, vf(0), ["ens1f0v0"], None),
        (1, vf(1), [], None),
    ]
    assert [its.settings for its in found] == list(IGB["ens1f0"].vfs)


def test_one_that_is_not_here_yet_keeps_its_index_free() -> None:
    host = Host().card(PF0, vfs=3).nic("eth0", PF0)
    del host.pci[vf(1)]
    assert [its.index for its in virtual_functions(host, PF0)] == [0, 2] == [its.index for its in port(host, "eth0").vfs]


@pytest.mark.parametrize("function", [vf(0), IGB.pci[vf(0)]])
def test_a_virtual_function_has_none(function: PCIDevice | str) -> None:
    assert virtual_functions(IGB, function) == ()


# -- representors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "nic", "representors"),
    [
        (MLX5, "p0", ["pf0vf0", "pf0sf88"]),
        (MLX5, "p1", ["pf1vf0", "c1pf1vf3", "c1pf1"]),
        (MLX5, "v1", ["pf1vf0", "c1pf1vf3", "c1pf1"]),
        (MLX5, "pf0sf88", ["pf0vf0", "pf0sf88"]),
        (ICE, "ens1f0v0", ["ens1f0npf0vf0"]),
        (IGB, "ens1f0", []),
    ],
)
def test_representors_belong_to_their_port(host: Host, nic: str, representors: list[str]) -> None:
    found = port(host, nic)
    assert names(found.representors) == representors
    assert set(representors) <= set(names(found.netdevs))


@pytest.mark.parametrize(("nic", "pf"), [("pf0vf0", "p0"), ("pf1vf0", "p1"), ("c1pf1vf3", "p1"), ("c1pf1", "p1")])
def test_the_port_of_a_representor(nic: str, pf: str) -> None:
    found = port(MLX5, nic)
    assert (found.pf, found.known_by) == (MLX5[pf], BY_NAME)
    assert MLX5[nic] in found.netdevs


def representing(called: str, hangs_from: str | None, *uplinks: tuple[str, str | None], switch: Told = "aa") -> Host:
    """A representor, and the uplinks of its switch: their functions and names."""
    host = Host().card(PF0, PF1)
    for index, (function, name) in enumerate(uplinks):
        host.nic(f"u{index}", function, called=name, switch="aa")
    return host.nic("r", hangs_from, called=called, switch=switch)


@pytest.mark.parametrize(
    ("host", "pf"),
    [
        (representing("pf1vf0", None, (PF0, None)), "u0"),  # the only one
        (representing("pf1vf0", PF0, (PF0, "p0")), "u0"),  # bnxt numbers functions and ports apart
        (representing("pf1vf0", PF1, (PF0, "p7"), (PF1, "p8")), "u1"),
        (representing("pf1vf0", None, (PF0, "p0"), (PF1, "p1")), "u1"),
        (representing("pf1vf0", PF1, (PF0, None), (PF1, None)), "u1"),
    ],
)
def test_a_representor_s_uplink_is_its_function_s_or_has_its_number(host: Host, pf: str) -> None:
    assert port(host, "r").pf == host[pf]
    assert names(port(host, pf).representors) == ["r"]


@pytest.mark.parametrize(
    "host",
    [
        representing("pf1vf0", PF0, (PF0, "p0"), (PF1, "p1")),  # its function says one, its name another
        representing("pf0vf0", PF0, (PF0, "p0"), (PF0, "p1")),  # the number is the function's: it has two ports
        representing("pf0vf0", None, (PF0, "p0s0"), (PF0, "p0s1")),
        representing("pf0vf0", None, (PF0, None), (PF1, None)),
        representing("pf0vf0", PF0, (PF0, "p0"), (PF0, "p1"), switch=EIO),
    ],
)
def test_a_representor_of_which_nothing_tells_is_on_no_port(host: Host) -> None:
    with pytest.raises(AmbiguousDevice) as raised:
        port(host, "r")
    assert raised.value.candidates == host.subjects("u0", "u1")
    assert [port(host, nic).representors for nic in ("u0", "u1")] == [(), ()]


@pytest.mark.parametrize(
    "host",
    [
        representing("pf0vf0", PF0),
        representing("pf1vf0", None, (PF0, "p0")),  # the second port's uplink is in another namespace
        representing("pf0vf0", None, switch=None),
    ],
)
def test_a_representor_of_a_port_that_is_not_here(host: Host) -> None:
    with pytest.raises(NoSuchDevice, match="not here"):
        port(host, "r")


# -- nothing is guessed ------------------------------------------------------------------------


def dual(mine: Told, first: Told, second: Told, *, by_name: bool = False) -> Host:
    """Two uplinks on one function, numbered 0 and 1, and a VF's two network devices: v is number 1, w is number 0."""
    key = "called" if by_name else "id"
    host = Host().card(PF0, vfs=1)
    host.nic("a", PF0, **{key: first}).nic("b", PF0, dev_port=1, **{key: second})  # type: ignore[arg-type]
    return host.nic("v", vf(0), dev_port=1, **{key: mine}).nic("w", vf(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        dual(EIO, A, B),
        dual(EIO, None, None),
        dual(EIO, EIO, EIO),
        dual(None, A, EIO),
        dual(A, EIO, B),
        dual(A, None, B),
        dual(EIO, "p0", "p1", by_name=True),
        dual("p0", EIO, "p1", by_name=True),
    ],
)
def test_what_cannot_be_read_is_no_reason_to_go_by_less(host: Host) -> None:
    with pytest.raises(AmbiguousDevice) as raised:
        netdev_pf(host, "v")
    assert raised.value.candidates == host.subjects("a", "b")
    assert raised.value.subject == host["v"].subject
    with pytest.raises(AmbiguousDevice):
        port(host, "v")


@pytest.mark.parametrize(
    ("host", "pf", "known_by"),
    [
        (dual(A, A, EIO), "a", BY_ID),  # equal ids are equal, whatever the other's is
        (dual(B, EIO, B), "b", BY_ID),
        (dual(A, A, None), "a", BY_ID),
        (dual(A, None, None), "b", BY_DEV_PORT),
        (dual(None, A, B), "b", BY_DEV_PORT),
        (dual("p0", "p0", "p1", by_name=True), "a", BY_NAME),
        (dual("n0", "p0", "p1", by_name=True), "b", BY_DEV_PORT),  # a name, but no port's
    ],
)
def test_the_surest_that_tells_tells(host: Host, pf: str, known_by: KnownBy) -> None:
    assert (port(host, "v").pf, port(host, "v").known_by) == (host[pf], known_by)


@pytest.mark.parametrize("theirs", [None, EIO, A])
@pytest.mark.parametrize("mine", [None, EIO, A])
def test_the_only_uplink_is_it_unless_it_is_another(mine: Told, theirs: Told) -> None:
    host = Host().card(PF0, vfs=1).nic("a", PF0, id=theirs).nic("v", vf(0), id=mine)
    assert port(host, "v").pf == host["a"]
    assert port(host, "v").known_by == (BY_ID if mine == theirs == A else ONLY)


def test_an_uplink_with_another_id_is_another_port_s() -> None:
    host = Host().card(PF0, vfs=3).nic("a", PF0, id=A).nic("v", vf(0), id=B).nic("w", vf(1), id=B)
    with pytest.raises(NoSuchDevice, match="not here"):
        netdev_pf(host, "v")
    found = port(host, "v")
    assert (found.pf, names(found.netdevs), found.known_by) == (None, ["v", "w"], BY_ID)
    assert vfs_of(found) == [(0, ["v"], BY_ID), (1, ["w"], BY_ID)]
    assert names(port(host, "a").netdevs) == ["a"]


def test_dev_port_0_tells_nothing_where_no_other_number_is_given() -> None:
    host = Host().card(PF0, vfs=1).nic("a", PF0).nic("b", PF0, dev_port=1).nic("v", vf(0))
    with pytest.raises(AmbiguousDevice) as raised:
        port(host, "v")
    assert raised.value.candidates == host.subjects("a", "b")
    assert [names(port(host, nic).netdevs) for nic in "ab"] == [["a"], ["b"]]


@pytest.mark.parametrize(("first", "second", "mine"), [(0, 0, 0), (1, 1, 1), (0, 1, 2)])
def test_dev_ports_that_do_not_tell(first: int, second: int, mine: int) -> None:
    host = Host().card(PF0, vfs=1).nic("a", PF0, dev_port=first).nic("b", PF0, dev_port=second).nic("v", vf(0), dev_port=mine)
    with pytest.raises(AmbiguousDevice) as raised:
        netdev_pf(host, "v")
    assert raised.value.candidates == host.subjects("a", "b")


def test_dev_ports_that_two_share_tell_nothing() -> None:
    host = Host().card(PF0, vfs=1)
    host.nic("a", PF0).nic("b", PF0, dev_port=1).nic("c", PF0, dev_port=1).nic("v", vf(0)).nic("w", vf(0), dev_port=1)
    with pytest.raises(AmbiguousDevice) as raised:
        netdev_pf(host, "v")
    assert raised.value.candidates == host.subjects("a", "b", "c")


def test_two_of_one_function_that_cannot_be_told_apart() -> None:
    host = Host().card(PF0).nic("a", PF0).nic("b", PF0)
    with pytest.raises(AmbiguousDevice) as raised:
        port(host, "a")
    assert raised.value.candidates == host.subjects("a", "b")


def test_two_uplinks_of_one_port() -> None:
    host = Host().card(PF0, vfs=1).nic("v", vf(0), id=A).nic("a", PF0, id=A).nic("b", PF0, id=A)
    assert (names(port(host, "b").netdevs), port(host, "b").pf) == (["v", "a", "b"], host["b"])
    assert by_phys_port(host, A, None).pf == host["a"]
    with pytest.raises(AmbiguousDevice) as raised:
        netdev_pf(host, "v")
    assert raised.value.candidates == host.subjects("a", "b")


def test_a_port_of_a_function_whose_other_devices_nothing_tells_of() -> None:
    host = Host().card(PF0).nic("a", PF0, switch="aa").nic("b", PF0).nic("r", called="pf0vf0", switch="aa")
    assert names(port(host, "r").netdevs) == ["a", "r"]


def test_network_devices_are_told_by_ifindex_whatever_their_order_in_the_inventory() -> None:
    host = Host(netdevs=dict(reversed(MLX4.netdevs.items())), pci=MLX4.pci)
    assert port(host, "ens1") == port(MLX4, "ens1")
    assert virtual_functions(host, PF0) == virtual_functions(MLX4, PF0)


# -- in a guest, and where the PF is not -------------------------------------------------------


def test_in_a_guest_a_virtual_function_is_a_function_like_others() -> None:
    guest = Host().card("0000:01:00.0").nic("eth0", "0000:01:00.0", id=A).nic("eth1", "0000:01:00.0", id=B, dev_port=1)
    found = port(guest, "eth1")
    assert (found.netdevs, found.pf, found.vfs, found.known_by) == ((guest["eth1"],), guest["eth1"], (), BY_ID)
    with pytest.raises(NoSuchDevice, match="not a virtual function"):
        netdev_pf(guest, "eth0")


@pytest.mark.parametrize("told", [None, EIO])
def test_without_its_pf_s_device_and_without_an_id_a_virtual_function_is_alone(told: Told) -> None:
    host = Host().card(PF0, vfs=3).nic("v", vf(0), id=told).nic("w", vf(1), id=told)
    assert vfs_of(port(host, "v")) == [(0, ["v"], ONLY)]


def test_a_pf_that_is_not_in_the_inventory() -> None:
    host = Host().card(PF0, vfs=1).nic("v", vf(0))
    assert (port(host, "v").pf, port(host, "v").vfs[0].netdevs) == (None, (host["v"],))  # its network device is elsewhere
    del host.pci[PF0]
    found = port(host, "v")
    assert (found.netdevs, found.pf, found.vfs, found.known_by) == ((host["v"],), None, (), ONLY)
    with pytest.raises(NoSuchDevice, match="not here"):
        netdev_pf(host, "v")
    with pytest.raises(NoSuchDevice, match=PF0):
        pci_pf(host, host.pci[vf(0)])


# -- what is behind a function, and is not it --------------------------------------------------

SF = "mlx5_core.sf.4"


def with_sf() -> Host:
    """mlx5 in legacy mode with a VF, and a scalable function on the auxiliary bus below the PF, which has no phys_port_name."""
    host = Host().card(PF0, PF1, vfs=1).nic("p0", PF0, called="p0", vfs=[0]).nic("p1", PF1, called="p1")
    return host.nic("p0v0", vf(0)).nic("sf4", PF0, parent=SF)


def test_a_scalable_function_belongs_to_its_port_and_is_no_uplink() -> None:
    host = with_sf()
    assert netdev_pf(host, "p0v0") == netdev_pf(host, "sf4") == host["p0"]
    assert [(its.index, names(its.netdevs)) for its in virtual_functions(host, "p0")] == [(0, ["p0v0"])]
    (of_function,) = virtual_functions(host, PF0)
    assert of_function.settings == host["p0"].vfs[0]
    for nic in ("p0", "p0v0", "sf4"):
        found = port(host, nic)
        assert (names(found.netdevs), found.pf) == (["p0", "p0v0", "sf4"], host["p0"])
        assert sfs_of(found) == [(SF, ["sf4"], ONLY)]
    assert (sfs_of(port(host, "p1")), names(port(host, "p1").netdevs)) == ([], ["p1"])


def test_a_scalable_function_without_its_uplink_is_on_no_port() -> None:
    host = with_sf()
    del host.netdevs[host["p0"].id]
    for ask in (port, netdev_pf):
        with pytest.raises(NoSuchDevice, match="not here"):
            ask(host, "sf4")


def test_scalable_functions_of_a_function_with_two_ports_are_told_apart_by_what_tells() -> None:
    host = Host().card(PF0).nic("a", PF0, id=A).nic("b", PF0, id=B, dev_port=1)
    host.nic("sa", PF0, id=A, parent="x.sf.1").nic("sb", PF0, id=B, parent="x.sf.2").nic("s", PF0, parent="x.sf.3")
    assert sfs_of(port(host, "b")) == sfs_of(port(host, "sb")) == [("x.sf.2", ["sb"], BY_ID)]
    assert by_phys_port(host, B, host["s"]) == port(host, "b")
    with pytest.raises(AmbiguousDevice):
        port(host, "s")


@pytest.mark.parametrize("parent", ["1-2:1.0", "mlx5_core.eth-rep.0", "sf.4", "vdpa0", "0-1.0"])
def test_what_is_behind_a_function_is_on_no_port_of_it(parent: str) -> None:
    """A USB adapter behind its controller, a device on the auxiliary bus, …"""
    host = Host().card(PF0, vfs=1).nic("own", PF0, id=A).nic("v", vf(0), id=A).nic("behind", PF0, parent=parent, id=A)
    assert names(port(host, "v").netdevs) == ["own", "v"]
    assert netdev_pf(host, "v") == host["own"]
    assert by_phys_port(host, A, None) == port(host, "own")
    for ask in (port, virtual_functions, netdev_pf):
        with pytest.raises(NoSuchDevice, match=f"behind hangs from no PCI function, but from {parent}"):
            ask(host, "behind")
    with pytest.raises(NoSuchDevice, match="no PCI function"):
        by_phys_port(host, A, host["behind"])


@pytest.mark.parametrize(("driver", "is_own"), [("virtio-pci", True), (None, True), ("mlx5_core", False)])
def test_a_virtio_device_is_its_function_where_that_is_one(driver: str | None, *, is_own: bool) -> None:
    """Else it is one that another driver made, behind its vdpa device."""
    host = Host().card(PF0, vfs=1).nic("virtio", PF0, parent="virtio4").nic("v", vf(0), parent="virtio5")
    for address in (PF0, vf(0)):
        host.pci[address] = replace(host.pci[address], driver=driver)
    if is_own:
        assert (port(host, "v").pf, names(port(host, "virtio").netdevs)) == (host["virtio"], ["virtio", "v"])
    else:
        with pytest.raises(NoSuchDevice, match="virtio4"):
            port(host, "virtio")


@pytest.mark.parametrize("ask", [port, virtual_functions])
def test_what_hangs_from_no_function_is_on_no_port(ask: type) -> None:
    with pytest.raises(NoSuchDevice, match="no PCI function"):
        ask(PLAIN, "br0")


def test_the_pf_of_a_pci_function() -> None:
    assert pci_pf(IGB, PCIDevice(address=vf(1, PF1))) == IGB.pci[PF1]
    with pytest.raises(NoSuchDevice, match="not a virtual function"):
        pci_pf(IGB, IGB.pci[PF0])


# -- who is meant ------------------------------------------------------------------------------

NAMED = Host().nic("eth0", altnames=("eth1", "enp1s0")).nic("eth1").nic("eth2", altnames=("wan",))


@pytest.mark.parametrize(
    ("nic", "found"),
    [("eth0", "eth0"), ("enp1s0", "eth0"), ("wan", "eth2"), ("eth1", "eth1"), (2, "eth0"), (4, "eth2"), (NAMED["eth1"], "eth1")],
)
def test_a_network_device_is_found(nic: Netdev | str | int, found: str) -> None:
    assert find_netdev(NAMED, nic) == NAMED[found]


@pytest.mark.parametrize(
    "nic", ["", "eth9", "2", 0, -1, 99, True, Netdev(ifindex=2, name="eth0"), Netdev(id="2.2", ifindex=2, name="eth0")]
)
def test_a_network_device_is_not_found(nic: Netdev | str | int) -> None:
    with pytest.raises(NoSuchDevice):
        find_netdev(NAMED, nic)


def test_a_bool_is_no_ifindex() -> None:
    host = Host(netdevs={"1.1": Netdev(id="1.1", ifindex=1, name="lo")})
    assert find_netdev(host, 1).name == "lo"
    with pytest.raises(NoSuchDevice):
        find_netdev(host, True)


def test_a_name_used_again_is_another_device() -> None:
    before = Netdev(id="2.1", ifindex=2, name="eth0")
    renamed, after = replace(before, name="eth9"), Netdev(id="2.2", ifindex=2, name="eth0")
    assert find_netdev(Host(netdevs={"2.1": renamed}), before) == renamed
    with pytest.raises(NoSuchDevice, match="eth0"):
        find_netdev(Host(netdevs={"2.2": after}), before)


def test_a_pci_function_is_found_as_it_is_now() -> None:
    assert find_pci(IGB, PCIDevice(address=PF0)) == IGB.pci[PF0] == find_pci(IGB, PF0.upper())
    with pytest.raises(NoSuchDevice, match="0000:99"):
        find_pci(IGB, "0000:99:00.0")


# -- by phys_port_id ---------------------------------------------------------------------------

OTHER = "0000:5e:00.0"
CARDS = (
    Host()
    .card(PF0, OTHER, vfs=1)
    .nic("a", PF0, id=A)
    .nic("b", PF0, id=B, dev_port=1)
    .nic("v", vf(0), id=B)
    .nic("other", OTHER, id=A)
    .nic("upstairs", "0000:5e:00.1", id=C)
    .nic("br0", id=B)
)


@pytest.mark.parametrize(
    ("wanted", "of", "pf"),
    [
        (B, None, "b"),
        (B.upper(), None, "b"),
        (C, None, "upstairs"),
        (A, PF0, "a"),
        (A, PF0.upper(), "a"),
        (A, vf(0), "a"),
        (A, CARDS.pci[vf(0)], "a"),
        (A, CARDS["v"], "a"),
        (A, "v", "a"),
        (A, "b", "a"),
        (A, OTHER, "other"),
        (A, "upstairs", "other"),
        (C, OTHER, "upstairs"),
    ],
)
def test_a_port_by_its_id(wanted: str, of: PCIDevice | Netdev | str | None, pf: str) -> None:
    found = by_phys_port(CARDS, wanted, of)
    assert (found.pf, found.known_by) == (CARDS[pf], BY_ID)


def test_an_id_that_two_cards_have() -> None:
    with pytest.raises(AmbiguousDevice) as raised:
        by_phys_port(CARDS, A, None)
    assert raised.value.candidates == CARDS.subjects("a", "other")


@pytest.mark.parametrize(("wanted", "of"), [("ffff", None), ("", None), (C, PF0), (A, "br0"), (A, "nobody"), (A, "0000:99:00.0")])
def test_no_port_has_the_id(wanted: str, of: str | None) -> None:
    with pytest.raises(NoSuchDevice):
        by_phys_port(CARDS, wanted, of)


def test_an_id_that_could_not_be_read_is_spoken_of() -> None:
    host = Host().card(PF0).nic("a", PF0, id=EIO)
    with pytest.raises(NoSuchDevice, match="unreadable: that of a"):
        by_phys_port(host, A, None)


def test_functions_that_share_a_port_name_themselves() -> None:
    partitioned = Host().card(PF0, PF1).nic("a", PF0, id=A).nic("b", PF1, id=A)
    assert by_phys_port(partitioned, A, PF1).pf == partitioned["b"]
    with pytest.raises(AmbiguousDevice) as raised:
        by_phys_port(partitioned, A, None)
    assert raised.value.candidates == partitioned.subjects("a", "b")


def test_a_port_of_which_only_a_virtual_function_is_here() -> None:
    host = Host().card(PF0, vfs=1).nic("v", vf(0), id=A)
    assert by_phys_port(host, A, PF0).netdevs == (host["v"],)


def test_a_full_host_is_read_through_a_few_times_only() -> None:
    class Counted(dict[str, Netdev]):
        reads = 0

        def values(self) -> object:  # type: ignore[override]
            Counted.reads += 1
            return super().values()

    host = Host().card(PF0, PF1, vfs=8)
    for index in range(8):
        host.nic(f"v{index}", vf(index))
    host.nic("a", PF0, called="p0", switch="aa").nic("b", PF1, called="p1", switch="aa")
    for index in range(2000):
        host.nic(f"r{index}", PF0, called=f"pf0vf{index}", switch="aa")
    host.netdevs = Counted(host.netdevs)
    assert len(port(host, "a").representors) == 2000
    assert Counted.reads <= 3
