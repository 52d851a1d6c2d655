"""``aiovirt event``: what it shows, from where on, and how it ends."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

import aiovirt
from aiovirt.cli.main import main
from aiovirt.cli.output import Output
from aiovirt.cli.parser import parse
from aiovirt.cli.streams import QUIET, event, watch
from aiovirt.errors import InvalidArgument
from aiovirt.events import DomainQMP, DomainReboot, Event, HostStarted, NetdevAdded, NetdevChanged, decode
from aiovirt.testing import Control, control
from tests.events.samples import netdev

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.fixture
async def host() -> AsyncIterator[aiovirt.Host]:
    async with aiovirt.connect("test:///default") as connected:
        yield connected


@pytest.fixture
def world(host: aiovirt.Host) -> Control:
    return control(host)


@asynccontextmanager
async def showing(host: aiovirt.Host, *arguments: str) -> AsyncIterator[Callable[[], list[str]]]:
    """The verb at work, with a call that takes the lines printed since the last one."""
    stream = io.StringIO()
    args = parse(["events", "--loop", *arguments])

    def lines() -> list[str]:
        said = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return said

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(event, host, args, Output(json=args.json, stream=stream))
        await anyio.wait_all_tasks_blocked()
        yield lines
        tasks.cancel_scope.cancel()


async def a_bit_of_everything(host: aiovirt.Host) -> list[Event]:
    """One event of each sort that can be told apart; returns them as published."""
    domain, bus = host.domain("test"), host.engine.bus
    before = host.events.cursor
    bus.publish(DomainQMP.made(uuid=domain.uuid, name="test", event="RTC_CHANGE", data={"offset": 7}))
    bus.publish(DomainReboot(uuid=domain.uuid, name="test"))
    control(host).set_mtu("ens1f0", 9000)
    control(host).set_mtu("ens1f1", 9000)
    bus.publish(HostStarted(uri="test:///default"))
    published = []
    async with host.events.subscribe(after=before) as events:
        while True:
            try:
                published.append(events.receive_nowait())
            except anyio.WouldBlock:
                break
    await anyio.wait_all_tasks_blocked()
    return published


EPOCH = "01M81ZVW3XKGW4EMTQQQ6K1X6K"
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
REBOOT, MTU0, MTU1, STARTED, QMP = "domain.reboot", "netdev.changed ens1f0", "netdev.changed ens1f1", "host.started", "domain.qmp"
ALL = [REBOOT, MTU0, MTU1, STARTED]


def label(news: Event) -> str:
    return f"{news.topic} {news.device.name}" if isinstance(news, NetdevChanged) else news.topic


@pytest.mark.parametrize("spelling", ["text", "json"])
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], [REBOOT]),
        (["--all"], ALL),
        (["--type", "domain"], [REBOOT]),
        (["--type", "domain.reboot"], [REBOOT]),
        (["--type", "reboot"], [REBOOT]),
        (["--event", "reboot"], [REBOOT]),
        (["--type", "device"], [MTU0, MTU1]),
        (["--type", "netdev"], [MTU0, MTU1]),
        (["--type", "netdev.changed"], [MTU0, MTU1]),
        (["--type", "netdev.added"], []),
        (["--type", "host"], [STARTED]),
        (["--type", "host", "--type", "domain.reboot"], [REBOOT, STARTED]),
        (["--type", "host", "--event", "qmp"], [QMP, STARTED]),
        (["--type", "domain.qmp"], [QMP]),
        (["--all", "--type", "domain.qmp"], [QMP, *ALL]),
        (["--subject", "netdev/"], [MTU0, MTU1]),
        (["--subject", "ens1f1"], [MTU1]),
        (["--subject", "netdev/2.1"], [MTU0]),
        (["--subject", "host"], [STARTED]),
        (["--subject", "test"], [REBOOT]),
        (["--subject", f"domain/{UUID}"], [REBOOT]),
        (["--subject", "test", "--type", "domain.qmp"], [QMP]),
        (["--domain", "test"], [REBOOT]),
        (["--domain", "test", "--event", "qmp"], [QMP]),
    ],
)
async def test_what_is_asked_for_is_shown(host: aiovirt.Host, arguments: list[str], shown: list[str], spelling: str) -> None:
    json_too = ["--json"] if spelling == "json" else []
    async with showing(host, *arguments, *json_too) as lines:
        published = await a_bit_of_everything(host)
        expected = [news for news in published if label(news) in shown]
        assert len(expected) == len(shown)
        if json_too:
            assert [decode(line) for line in lines()] == expected
        else:
            assert [line.split() for line in lines()] == [str(news).split() for news in expected]


@pytest.mark.parametrize(
    "arguments", [["--subject", "ens1f0", "--type", "host"], ["--domain", "test", "--type", "netdev.changed"], ["--subject", "domain/web"]]
)
async def test_what_can_never_come_is_not_waited_for(host: aiovirt.Host, arguments: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"ens1f0|netdev/|domain/"), anyio.fail_after(1):
        await event(host, parse(["event", "--loop", *arguments]), Output(json=False, stream=io.StringIO()))


async def test_since_shows_everything_that_came_after(host: aiovirt.Host, world: Control) -> None:
    before = host.events.cursor
    published = [news for news in await a_bit_of_everything(host) if not isinstance(news, DomainQMP)]
    async with showing(host, "--since", before, "--json") as lines:
        assert [decode(line) for line in lines()] == published
        world.add_netdev("eth9")
        await anyio.wait_all_tasks_blocked()
        assert [decode(line).topic for line in lines()] == ["netdev.added"]
    async with showing(host, "--since", published[0].cursor, "--type", "netdev", "--json") as lines:
        assert [decode(line).topic for line in lines()] == ["netdev.changed", "netdev.changed", "netdev.added"]


async def test_the_first_one_is_enough_without_loop(host: aiovirt.Host) -> None:
    before = host.events.cursor
    await a_bit_of_everything(host)
    stream = io.StringIO()
    await event(host, parse(["event", "--since", before]), Output(json=False, stream=stream))
    assert stream.getvalue().count("\n") == 1


async def test_watch_does_not_show_what_qemu_says_either(host: aiovirt.Host) -> None:
    stream = io.StringIO()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, host, parse(["watch", "test"]), Output(json=False, stream=stream))
        await anyio.wait_all_tasks_blocked()
        await a_bit_of_everything(host)
        tasks.cancel_scope.cancel()
    assert [line.split()[2] for line in stream.getvalue().splitlines()[2:]] == ["reboot"]


# -- bookmarks ---------------------------------------------------------------------------------


async def test_quiet_times_are_bookmarked_for_programs(host: aiovirt.Host, world: Control) -> None:
    async with showing(host, "--json", "--type", "netdev") as lines:
        await anyio.sleep(QUIET - 1)
        assert lines() == []
        await host.domain("test").suspend()  # of no interest here, and seen all the same
        await anyio.sleep(2)
        (line,) = lines()
        said = json.loads(line)
        assert (said["type"], said["id"]) == ("io.aiovirt.bookmark.v1", host.events.cursor)
        assert said["source"] == f"/hosts/{host.uuid}"
        assert "data" not in said
        await anyio.sleep(QUIET)
        assert [json.loads(line)["id"] for line in lines()] == [said["id"]]  # again
        await anyio.sleep(QUIET - 2)
        world.set_mtu("ens1f0", 9000)
        await anyio.sleep(QUIET - 1)
        assert [decode(line).topic for line in lines()] == ["netdev.changed"]  # and it is not quiet for 30 s yet
        await anyio.sleep(2)
        assert [json.loads(line)["type"] for line in lines()] == ["io.aiovirt.bookmark.v1"]
    async with showing(host, "--json", "--since", said["id"], "--type", "netdev") as lines:
        assert [decode(line).topic for line in lines()] == ["netdev.changed"]


async def test_an_event_at_the_very_moment_of_a_bookmark_is_not_lost(host: aiovirt.Host, world: Control) -> None:
    async with showing(host, "--json", "--all") as lines:
        for mtu in range(2000, 2040):
            await anyio.sleep(QUIET)
            world.set_mtu("ens1f0", mtu)
        await anyio.sleep(1)
        events = [decode(line) for line in lines() if "bookmark" not in line]
    assert [news.new.mtu for news in events if isinstance(news, NetdevChanged)] == list(range(2000, 2040))


async def test_people_get_no_bookmarks(host: aiovirt.Host) -> None:
    async with showing(host, "--all") as lines:
        await anyio.sleep(10 * QUIET)
        assert lines() == []


# -- how it ends -------------------------------------------------------------------------------


async def test_a_deadline_is_one_for_the_whole_and_bookmarks_do_not_move_it(host: aiovirt.Host) -> None:
    stream = io.StringIO()
    args = parse(["event", "--json", "--timeout", "100"])
    with pytest.raises(TimeoutError):
        await event(host, args, Output(json=True, stream=stream))
    assert stream.getvalue().count("bookmark") == 3


async def test_it_leaves_nothing_waiting(host: aiovirt.Host) -> None:
    async with showing(host, "--json"):
        assert host.events.statistics().parked == 1
    assert host.events.statistics().parked == 0


class Elsewhere:
    """Stands in for a connection: a host with a past, which may be over already."""

    def __init__(self, prepare: Callable[[aiovirt.Host], None], *, ended: bool) -> None:
        self._real = aiovirt.connect("test:///default")
        self._prepare = prepare
        self._ended = ended

    async def __aenter__(self) -> aiovirt.Host:
        host = await self._real.__aenter__()
        self._prepare(host)
        if self._ended:
            await self._real.__aexit__(None, None, None)
        return host

    async def __aexit__(self, *error: object) -> None:
        if not self._ended:
            await self._real.__aexit__(None, None, None)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Elsewhere, *arguments: str) -> tuple[int, str, str]:
    def connect(uri: str | None, _given: object, _role: object) -> AbstractAsyncContextManager[aiovirt.Host]:
        assert uri == "test:///default"
        return elsewhere

    monkeypatch.setattr("aiovirt.engine.connect.Connection", connect)
    status = main(["-c", "test:///default", "event", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_end_of_the_host_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    heads: list[str] = []

    def prepare(host: aiovirt.Host) -> None:
        heads.append(host.events.cursor)

    status, out, err = run(monkeypatch, capsys, Elsewhere(prepare, ended=True), "--loop", *options)
    assert (status, out, err) == (1, "", f"error: the host is gone; resume after {heads[0]}\n")


def test_a_cursor_whose_events_are_gone_says_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def prepare(host: aiovirt.Host) -> None:
        for number in range(1, host.events.statistics().capacity + 100):
            host.engine.bus.publish(NetdevAdded(device=netdev(number)))

    monkeypatch.setattr("aiovirt.events.chain.new_epoch", lambda: EPOCH)
    status, out, err = run(monkeypatch, capsys, Elsewhere(prepare, ended=False), "--since", f"{EPOCH}:{1:016}")
    assert (status, out) == (1, "")
    told = re.fullmatch(rf"error: (\d+) events .* first one left is {EPOCH}:(\d+); --since {EPOCH}:(\d+) shows all that is left\n", err)
    assert told
    missed, first, resume = (int(number) for number in told.groups())
    assert (missed, resume) == (first - 2, first - 1)
    assert missed > 50
