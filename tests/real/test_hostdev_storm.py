"""A storm of changes from another process, and a watch that keeps up with it or does not: what is known in the end is what is there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Final

import anyio
import pytest
from anyio import to_thread

from aiovirt.events.types import Event, SourceResynced
from aiovirt.hostdev.watcher import Watch
from aiovirt.system import netlink
from aiovirt.system.netlink import NetlinkSocket, Overrun
from tests.lab import sandbox
from tests.lab.links import as_known, as_told_by_ip, ip_batch
from tests.lab.watched import Heard

pytestmark = pytest.mark.anyio

PATIENCE: Final = 60
GROUPS: Final = 10
TURNS: Final = 15
SMALL: Final = 4096
LOST, RESYNCED = "lost", "resynced"
SOURCES: Final = {netlink.ROUTE: "rtnetlink", netlink.KOBJECT_UEVENT: "uevent"}


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def only_lo() -> Iterator[None]:
    yield
    for group in range(GROUPS):
        subprocess.run(["ip", "link", "del", "group", str(group + 1)], check=False, capture_output=True)


def storm() -> Iterator[str]:
    """Some 3,000 lines of ip-link: in each turn devices come, are renamed and changed, and most of them go again."""
    for turn in range(TURNS):
        group = turn % GROUPS + 1
        for n in range(10):
            veth, bridge = f"v{turn}x{n}", f"b{turn}x{n}"
            yield f"add {veth} group {group} type veth peer name w{turn}x{n} group {group}"
            yield f"add {bridge} group {group} type bridge"
            yield from (f"set {veth} mtu {1400 + n}", f"set {veth} name r{turn}x{n}", f"set {bridge} up", f"set w{turn}x{n} up")
            yield from (f"set r{turn}x{n} master {bridge} up", f"property add dev {bridge} altname alias-{turn}x{n}")
            yield from (f"set r{turn}x{n} address 52:54:00:00:{turn:02x}:{n:02x}", f"set {bridge} name c{turn}x{n}")
            yield from (f"set r{turn}x{n} mtu {mtu}" for mtu in range(1300, 1304))
            yield from (f"set r{turn}x{n} name q{turn}x{n}", f"set w{turn}x{n} down", f"set q{turn}x{n} nomaster")
            yield from (f"set w{turn}x{n} up", f"set c{turn}x{n} name d{turn}x{n}")
        if turn % 5:
            yield f"del group {group}"
    yield "set lo mtu 65000"
    yield "set lo mtu 65536"


class Reader(Heard):
    """Who also hears what became of each source."""

    def __init__(self) -> None:
        super().__init__()
        self.last_word: dict[str, str] = {}  # of a source: that it lost messages, or that this was made good

    def publish(self, event: Event) -> None:
        if isinstance(event, SourceResynced):
            self.last_word[event.source] = RESYNCED
        super().publish(event)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """One that also hears of each loss, from the sockets themselves."""
    reader = Reader()
    receive = NetlinkSocket.receive_nowait

    def told(socket: NetlinkSocket) -> bytes | None:
        try:
            return receive(socket)
        except Overrun:
            reader.last_word[SOURCES[socket._protocol]] = LOST
            raise

    monkeypatch.setattr(NetlinkSocket, "receive_nowait", told)
    return reader


@pytest.mark.parametrize("receive_buffer", [netlink.RECEIVE_BUFFER, SMALL], ids=["all that is heard", "much that is lost"])
async def test_what_is_known_after_a_storm_is_what_is_there(receive_buffer: int, reader: Reader) -> None:
    watch = Watch(reader.publish, receive_buffer=receive_buffer)

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await watch.run(task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        process = await to_thread.run_sync(ip_batch, list(storm()))
        with anyio.fail_after(PATIENCE):
            assert await to_thread.run_sync(process.wait) == 0
        await reader.until(lambda: LOST not in reader.last_word.values() and as_known(reader.state.netdevs.values()) == as_told_by_ip())
        assert len(reader.state.netdevs) > TURNS
        assert {netdev.id: netdev for netdev in watch._links.table} == reader.state.netdevs
        assert reader.state.resyncs.keys() == reader.last_word.keys()
        assert ("rtnetlink" in reader.state.resyncs) is (receive_buffer == SMALL)
        assert [len(watch._uevents), len(watch._links.waiting)] == [0, 0]
        assert len(watch._links._rounds) <= 2  # one question about what changed last, one about who is new
        tasks.cancel_scope.cancel()
