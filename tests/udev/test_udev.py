"""The watch and a udevd that is this sandbox's own: python -m tests.lab.sandbox --udev python -m pytest tests/udev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from aiovirt.events.types import DeviceEvent, DeviceInitialized, NetdevAdded, NetdevRemoved, SourceMissing, SourceResynced
from aiovirt.hostdev import udev as joined
from aiovirt.hostdev.links import Survey
from aiovirt.hostdev.survey import Questions
from aiovirt.system import udev
from aiovirt.system.netlink import Overrun
from aiovirt.system.udev import UdevMonitor, UdevWord
from tests.lab import sandbox
from tests.lab.watched import PATIENCE, Heard, ip, only_lo, run, watching

pytestmark = pytest.mark.anyio

FUNCTIONS = sorted(path.name for path in Path("/sys/bus/pci/devices").iterdir())


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()
    if not Path("/run/udev/control").exists():
        raise RuntimeError("this needs a udevd: python -m tests.lab.sandbox --udev python -m pytest tests/udev (or: make test)")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Each test finds and leaves a namespace with lo alone, and a udevd with nothing to do."""
    with only_lo():
        yield
    settle()


def settle() -> None:
    run("udevadm", "settle")


@contextmanager
def held_back() -> Iterator[None]:
    """udevd hears, and does nothing yet."""
    run("udevadm", "control", "--stop-exec-queue")
    try:
        yield
    finally:
        run("udevadm", "control", "--start-exec-queue")


def order(heard: Heard, identity: str) -> list[type[DeviceEvent]]:
    """What was told of one network device, but for its changes."""
    return [
        type(event)
        for event in heard.events
        if (isinstance(event, NetdevAdded) and event.device.id == identity)
        or (isinstance(event, DeviceInitialized) and event.netdev is not None and event.netdev.id == identity)
    ]


# -- one by one --------------------------------------------------------------------------------


async def test_a_new_device_is_initialized_after_it_was_added() -> None:
    async with watching() as heard:
        ip("add v0 type veth peer name v1")
        device, _ = await heard.until_initialized("v0", "v1")
        (added,) = [event for event in heard.of(NetdevAdded) if event.device.name == "v0"]
        (initialized,) = heard.initializations(device.id)
        assert (added.device.id, added.device.initialized, added.device.properties) == (device.id, False, {})
        assert order(heard, device.id) == [NetdevAdded, DeviceInitialized]
        assert initialized.bus_device is None
        assert initialized.properties == device.properties
        assert device.properties["ID_NET_DRIVER"] == "veth"
        assert all(name.startswith("ID_") for name in device.properties)
        assert heard.of(SourceMissing) == []


async def test_what_was_there_before_is_initialized_from_the_database() -> None:
    ip("add v0 type veth peer name v1")
    settle()
    async with watching() as heard:
        device, _ = await heard.until_initialized("v0", "v1")
        assert order(heard, device.id) == [NetdevAdded, DeviceInitialized]
        assert device.properties["ID_NET_DRIVER"] == "veth"


async def test_what_udev_has_not_come_to_yet_is_not_initialized() -> None:
    ip("add v0 type veth peer name v1")
    settle()
    with held_back():
        ip("add w0 type veth peer name w1")
        async with watching() as heard:
            await heard.until_initialized("v0", "v1")
            ip("add x0 type veth peer name x1")
            await heard.until(lambda: "x0" in heard.netdevs())
            assert {name: heard.netdevs()[name].initialized for name in ("v0", "w0", "x0")} == {"v0": True, "w0": False, "x0": False}
            run("udevadm", "control", "--start-exec-queue")
            await heard.until_initialized("w0", "w1", "x0", "x1")
            for name in ("w0", "x0"):
                assert order(heard, heard.netdevs()[name].id) == [NetdevAdded, DeviceInitialized]


async def test_what_udev_gave_it_stays_when_it_changes() -> None:
    async with watching() as heard:
        ip("add v0 type veth peer name v1")
        before, _ = await heard.until_initialized("v0", "v1")
        ip("set v0 mtu 1400", "set v0 name w0", "set w0 up")
        await heard.until(lambda: "w0" in heard.netdevs() and heard.netdevs()["w0"].is_up)
        after = heard.netdevs()["w0"]
        assert (after.id, after.mtu, after.initialized) == (before.id, 1400, True)
        assert after.properties["ID_NET_DRIVER"] == "veth"


@pytest.mark.parametrize("action", ["remove", "add", "unbind"])
async def test_udev_s_word_is_about_the_same_device_after_a_uevent_that_was_sent_on_request(action: str) -> None:
    async with watching() as heard:
        with held_back():
            ip("add v0 type veth peer name v1")
            await heard.until(lambda: "v0" in heard.netdevs())
            run("udevadm", "trigger", f"--action={action}", "/sys/class/net/v0")
        await heard.until_initialized("v0", "v1")
        assert heard.of(NetdevRemoved) == []


async def test_a_device_that_goes_is_not_initialized_any_more() -> None:
    async with watching() as heard:
        ip("add v0 index 7777 type veth peer name v1")
        (before,) = await heard.until_initialized("v0")
        ip("del v0")
        await heard.until(lambda: "v0" not in heard.netdevs())
        with held_back():
            ip("add v0 index 7777 type veth peer name v1")
            await heard.until(lambda: "v0" in heard.netdevs())
            assert (before.id, heard.netdevs()["v0"].id, heard.netdevs()["v0"].initialized) == ("7777.1", "7777.2", False)
        await heard.until_initialized("v0", "v1")


@pytest.mark.skipif(not FUNCTIONS, reason="this machine has no PCI bus")
async def test_who_runs_is_found_by_the_socket_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that has another name; it is not disturbed."""
    assert await to_thread.run_sync(udev._udevd_listens)
    (tmp_path / "control").symlink_to("/run/udev/control")
    monkeypatch.setattr(udev, "_SOCKETS", [tmp_path / "control"])
    async with UdevMonitor(receive_buffer=1 << 20):
        pass
    run("udevadm", "settle")


async def test_udev_speaks_of_pci_functions_too() -> None:
    address = FUNCTIONS[-1]
    async with watching() as heard:
        run("udevadm", "trigger", "--action=change", f"/sys/bus/pci/devices/{address}")
        await heard.until(lambda: heard.of(DeviceInitialized))
        await heard.until(lambda: [event for event in heard.of(DeviceInitialized) if event.bus_device is not None])
        initialized = [event for event in heard.of(DeviceInitialized) if event.bus_device is not None]
        assert [event.device.subject for event in initialized] == [f"pci/{address}"]
        assert "ID_PCI_CLASS_FROM_DATABASE" in initialized[0].properties or initialized[0].properties is not None


# -- late words about those who are gone -------------------------------------------------------


class Words(list[UdevWord]):
    """Every word that a monitor handed out, beside whoever took it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        receive = UdevMonitor.receive_nowait

        def listening(monitor: UdevMonitor) -> UdevWord | None:
            if (word := receive(monitor)) is not None:
                self.append(word)
            return word

        monkeypatch.setattr(UdevMonitor, "receive_nowait", listening)


@pytest.mark.parametrize("name", ["v0", "w0"])
async def test_a_late_word_about_a_device_does_not_initialize_the_next_one_with_its_number(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words(monkeypatch)
    ip("add first type bridge")
    settle()
    async with watching() as heard:
        await heard.until_initialized("first")  # the database is read
        with held_back():
            ip("add v0 index 7777 type veth peer name v1")
            await heard.until(lambda: "v0" in heard.netdevs())
            ip("del v0", f"add {name} index 7777 type bridge", "add last type bridge")
            await heard.until(lambda: {name, "last"} <= heard.netdevs().keys() and heard.netdevs()[name].kind == "bridge")
        (second, _) = await heard.until_initialized(name, "last")
        assert second.id == "7777.2"
        assert heard.initializations("7777.1") == []
        (initialized,) = heard.initializations("7777.2")
        assert initialized.properties["ID_NET_DRIVER"] == "bridge"
        about = [(word.action, word.name) for word in words if word.ifindex == 7777]
        assert about == [("add", "v0"), ("remove", "v0"), ("add", name)]  # the late one came


async def test_the_database_may_tell_of_the_device_before_and_udevs_word_puts_it_right() -> None:
    """It is kept by number; until udev comes to the next device, it says what it said of the one before."""
    ip("add v0 index 7777 type veth peer name v1")
    settle()
    with held_back():
        ip("del v0", "add w0 index 7777 type bridge", "add last type bridge")
        async with watching() as heard:
            await heard.until(lambda: heard.of(DeviceInitialized))
            run("udevadm", "control", "--start-exec-queue")
            await heard.until_initialized("last")
            await heard.until(lambda: heard.netdevs()["w0"].properties.get("ID_NET_DRIVER") == "bridge")


# -- words that are lost -----------------------------------------------------------------------


async def test_words_that_are_lost_are_read_in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    async def counting() -> list[UdevWord]:
        found = await udev.read_database()
        reads.append(len(found))
        return found

    monkeypatch.setattr(joined, "read_database", counting)
    words = Words(monkeypatch)
    names = [f"{side}{number}" for number in range(60) for side in "vw"]
    ip("add first type bridge")
    settle()
    async with watching(receive_buffer=4096) as heard:
        await heard.until_initialized("first")
        ip(*(f"add v{number} type veth peer name w{number}" for number in range(60)))
        settle()  # all is said while the loop stands still
        await heard.until_initialized(*names)
        assert len([word for word in words if word.action == "add"]) < len(names)  # else nothing was lost
        assert len(reads) >= 2
        assert heard.of(SourceResynced)
        for name in names:
            assert heard.netdevs()[name].properties["ID_NET_DRIVER"] == "veth"
            assert order(heard, heard.netdevs()[name].id)[:2] == [NetdevAdded, DeviceInitialized]
        ip("add last type bridge")
        await heard.until_initialized("last")  # it hears on


async def test_a_device_that_is_found_after_udev_spoke_of_it_is_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's messages of it were lost, and its database was read before the links were."""
    about_all, was_read, asked = Questions.about_all, anyio.Event(), 0

    async def reading() -> list[UdevWord]:
        found = await udev.read_database()
        if any(word.name == "w59" for word in found):
            was_read.set()
        return found

    async def late(self: Questions) -> Survey:
        nonlocal asked
        asked += 1
        if asked == 2:
            await was_read.wait()
            await anyio.wait_all_tasks_blocked()  # what it said is over
        return await about_all(self)

    monkeypatch.setattr(joined, "read_database", reading)
    monkeypatch.setattr(Questions, "about_all", late)
    async with watching(receive_buffer=4096) as heard:
        ip(*(f"add v{number} type veth peer name w{number}" for number in range(60)))
        settle()  # all is said while the loop stands still
        await heard.until_initialized(*(f"{side}{number}" for number in range(60) for side in "vw"))
    assert asked >= 2


async def test_a_monitor_says_that_words_are_lost_and_goes_on() -> None:
    async with UdevMonitor(receive_buffer=4096) as monitor:
        ip(*(f"add v{number} type veth peer name w{number}" for number in range(30)))
        settle()
        with pytest.raises(Overrun):
            while monitor.receive_nowait() is not None:
                pass
        while monitor.receive_nowait() is not None:
            pass
        seen: list[UdevWord] = []
        done = anyio.Event()

        def readable() -> None:
            while (word := monitor.receive_nowait()) is not None:
                seen.append(word)
                done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(monitor.run, readable)
            ip("add last type bridge")
            with anyio.fail_after(PATIENCE):
                await done.wait()
            tasks.cancel_scope.cancel()
        assert [(word.action, word.subsystem, word.name) for word in seen] == [("add", "net", "last")]
        assert seen[0].ifindex is not None
        assert seen[0].seqnum > 0
