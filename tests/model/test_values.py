from __future__ import annotations

from uuid import UUID

import pytest

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.netdev import Netdev, Unreadable
from aiovirt.model.spec import DomainSpec, OsSpec
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason, detail_number, reason_number
from aiovirt.model.units import GiB, KiB, MiB, TiB, format_size

# -- libvirt's integers, from libvirt-domain.h -------------------------------------------------


def test_states_and_events_have_libvirts_numbers() -> None:
    assert [state.number for state in DomainState] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert (DomainState.RUNNING.number, DomainState.SHUTOFF.number, DomainState.PMSUSPENDED.number) == (1, 5, 7)
    assert [kind.number for kind in Lifecycle] == list(range(9))
    assert (Lifecycle.STARTED.number, Lifecycle.STOPPED.number, Lifecycle.CRASHED.number) == (2, 5, 8)


@pytest.mark.parametrize(
    ("state", "reason", "number"),
    [
        (DomainState.RUNNING, Reason.BOOTED, 1),
        (DomainState.RUNNING, Reason.UNPAUSED, 5),
        (DomainState.PAUSED, Reason.USER, 1),
        (DomainState.PAUSED, Reason.IOERROR, 5),
        (DomainState.PAUSED, Reason.STARTING_UP, 11),
        (DomainState.SHUTOFF, Reason.SHUTDOWN, 1),
        (DomainState.SHUTOFF, Reason.DESTROYED, 2),
        (DomainState.SHUTOFF, Reason.CRASHED, 3),
        (DomainState.CRASHED, Reason.PANICKED, 1),
        (DomainState.SHUTOFF, Reason.BOOTED, 0),
    ],
)
def test_reasons(state: DomainState, reason: Reason, number: int) -> None:
    assert reason_number(state, reason) == number


def test_details() -> None:
    assert detail_number(Lifecycle.SHUTDOWN, Detail.HOST) == 2
    assert detail_number(Lifecycle.STOPPED, Detail.FAILED) == 5
    with pytest.raises(KeyError):
        detail_number(Lifecycle.STARTED, Detail.DESTROYED)


# -- sizes and specs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (513, "513 B"), (KiB, "1 KiB"), (512 * MiB, "512 MiB"), (GiB, "1 GiB"), (TiB, "1 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_bare_512_is_a_mistake_and_says_so() -> None:
    with pytest.raises(InvalidArgument, match=r"did you mean 512 \* MiB\?") as refused:
        DomainSpec(name="web", memory=512)
    assert refused.value.code == 8


@pytest.mark.parametrize("memory", [0, -1, 128 * TiB])
def test_memory_that_cannot_be(memory: int) -> None:
    with pytest.raises(InvalidArgument, match="not possible"):
        DomainSpec(name="web", memory=memory)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\nb", "a\0b", "x" * 201, "\x7f", "\u202e", "\ud800"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidArgument):
        DomainSpec(name=name, memory=MiB)


@pytest.mark.parametrize("name", ["web", "Ω mega-1", "a,b=c", "-dash", "x" * 200])
def test_names_that_can_be(name: str) -> None:
    assert DomainSpec(name=name, memory=MiB).name == name


def test_parts_that_cannot_be() -> None:
    disk = Disk(source="/a", target="vda")
    for wrong in (
        lambda: Disk(source="relative", target="vda"),
        lambda: Disk(source="/a", target="../vda"),
        lambda: Disk(source="/a", target="vda", format="vmdk"),
        lambda: OsSpec(boot=("usb",)),
        lambda: OsSpec(cmdline="quiet"),
        lambda: OsSpec(boot=()),
        lambda: OsSpec(machine=""),
        lambda: DomainSpec(name="a", memory=MiB, emulator=" "),
        lambda: Serial(listen=False),
        lambda: Serial(type=Chardev.FILE),
        lambda: Serial(type=Chardev.UNIX, path="relative"),
        lambda: Serial(type=Chardev.PTY, path="/dev/pts/1"),
        lambda: DomainSpec(name="a", memory=MiB, vcpus=0),
        lambda: DomainSpec(name="a", memory=MiB, title="two\nlines"),
        lambda: DomainSpec(name="a", memory=MiB, devices=(disk, Disk(source="/b", target="vda", bus=DiskBus.IDE))),
    ):
        with pytest.raises(InvalidArgument):
            wrong()


def test_specs_are_values() -> None:
    one = DomainSpec(name="a", memory=MiB, uuid=UUID(int=1))
    assert one == DomainSpec(name="a", memory=MiB, uuid=UUID(int=1))
    with pytest.raises(AttributeError):
        one.memory = 2 * MiB  # type: ignore[misc]


# -- devices -----------------------------------------------------------------------------------


def test_unreadable_is_falsy_and_equal_to_nothing() -> None:
    why = Unreadable("EIO")
    assert not why
    assert why != why  # noqa: PLR0124 - that is the point
    assert why != Unreadable("EIO")
    assert why is not None
    assert "EIO" in str(why)


def test_who_it_is_is_no_attribute_of_a_device() -> None:
    here, there = (Netdev(id=f"1.{number}", ifindex=1, name="eth0", netns=number) for number in (1, 2))
    assert here.changes_to(there) == {}


def test_two_failures_for_the_same_reason_are_no_change() -> None:
    def device(value: str | None | Unreadable) -> Netdev:
        return Netdev(id="1.1", ifindex=1, name="eth0", phys_port_id=value)

    assert device(Unreadable("EIO")).changes_to(device(Unreadable("EIO"))) == {}
    assert set(device(Unreadable("EIO")).changes_to(device(Unreadable("ENODEV")))) == {"phys_port_id"}
    assert set(device(None).changes_to(device(Unreadable("EIO")))) == {"phys_port_id"}
    assert device(None).changes_to(device("c0ffee")) == {"phys_port_id": (None, "c0ffee")}
