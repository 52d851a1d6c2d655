"""examples/sse.py as a server of its own, read over real connections."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn
from msgspec import Struct

import aiovirt
from aiovirt.events import decode
from examples import sse

EXAMPLE = Path(sse.__file__)
PATIENCE = 60
NEVER = "01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001"


class Message(Struct, frozen=True):
    """One message as a browser would see it."""

    id: str
    event: str = ""
    data: str = ""

    @property
    def number(self) -> int:
        return int(self.id.partition(":")[2])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as (url, _):
        yield url


@contextmanager
def serving() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The example in a process of its own: (where it listens, the process)."""
    command = [sys.executable, str(EXAMPLE), "test:///default", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr
            said = ""
            while not (at := re.search(r"running on (http://127\.0\.0\.1:\d+) ", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield at[1], process
        finally:
            process.kill()


@contextmanager
def reading(url: str, *, last: str | None = None, after: str | None = None) -> Iterator[Iterator[Message]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    params = {} if after is None else {"after": after}
    with httpx.stream("GET", f"{url}/events", headers=headers, params=params, timeout=PATIENCE) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield messages(response)


def messages(response: httpx.Response) -> Iterator[Message]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value
        else:
            yield Message(**fields)
            fields = {}


def post(url: str, verb: str) -> None:
    answer = httpx.post(f"{url}/domains/test/{verb}", timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.json()["state"] == {"suspend": "paused", "resume": "running"}[verb]


def take(stream: Iterator[Message], number: int) -> list[Message]:
    return [next(stream) for _ in range(number)]


def kinds(seen: list[Message]) -> list[str]:
    """What happened; each message is what its event says, too."""
    for one in seen:
        news = decode(one.data)
        assert (news.cursor, news.topic) == (one.id, one.event)
    return [json.loads(one.data)["data"]["kind"] for one in seen]


@pytest.mark.parametrize("how", ["last", "after"])
def test_who_comes_back_gets_exactly_the_rest(server: str, how: str) -> None:
    with reading(server) as stream:
        begin = next(stream)
        assert begin.event == ""
        post(server, "suspend")
        (first,) = take(stream, 1)
    for verb in ("resume", "suspend", "resume"):
        post(server, verb)
    with reading(server, **{how: first.id}) as stream:
        assert next(stream) == Message(id=first.id)
        rest = take(stream, 3)
        post(server, "suspend")
        rest += take(stream, 1)
    assert kinds([first, *rest]) == ["suspended", "resumed", "suspended", "resumed", "suspended"]
    assert [one.number for one in [first, *rest]] == list(range(begin.number + 1, begin.number + 6))
    post(server, "resume")


def test_two_clients_see_the_same(server: str) -> None:
    with reading(server) as one, reading(server) as two:
        assert next(one) == next(two)
        post(server, "suspend")
        post(server, "resume")
        assert take(one, 2) == take(two, 2)


def test_a_gap_is_told_and_the_stream_goes_on(server: str) -> None:
    with reading(server, last=NEVER) as stream:
        gap = next(stream)
        told = json.loads(gap.data)
        assert (gap.event, gap.id, told["missed"]) == ("gap", told["resume"], None)
        assert next(stream) == Message(id=told["resume"])
        first = next(stream)
        assert first.id == told["first_available"]
        assert first.number == gap.number + 1
    with reading(server, last=gap.id) as stream:  # what a browser would send next
        assert take(stream, 2) == [Message(id=gap.id), first]


def test_what_cannot_be_is_refused(server: str) -> None:
    def status(method: str, path: str) -> int:
        answer = httpx.request(method, server + path, timeout=PATIENCE)
        assert answer.json()["error"]
        return answer.status_code

    assert status("GET", "/events?after=nonsense") == 400
    assert status("POST", "/domains/nobody/suspend") == 404
    assert status("POST", "/domains/test/destroy") == 400
    assert status("POST", "/domains/test/resume") == 409


def test_the_server_can_be_ended_while_it_is_read() -> None:
    with serving() as (url, process), reading(url) as stream:
        next(stream)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        with pytest.raises((StopIteration, httpx.HTTPError)):
            take(stream, 1)


def test_a_client_that_leaves_takes_its_subscription_with_it() -> None:
    """In this process, to look inside; uvicorn runs on asyncio only."""

    async def parked(host: aiovirt.Host, number: int) -> None:
        with anyio.fail_after(PATIENCE):
            while host.events.statistics().parked != number:
                await anyio.sleep(0.01)

    async def main() -> None:
        app = sse.make_app("test:///default")
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        serve = asyncio.create_task(server.serve())
        with anyio.fail_after(PATIENCE):
            while not server.started:
                await anyio.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/events"
        host: aiovirt.Host = app.state.host
        before = host.events.statistics().parked
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            async with client.stream("GET", url) as one, client.stream("GET", url) as two:
                await anext(one.aiter_lines())
                await anext(two.aiter_lines())
                await parked(host, before + 2)
            await parked(host, before)
        server.should_exit = True
        await serve

    asyncio.run(main())


# -- its stream, in virtual time ---------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_quiet_times_are_bookmarked_until_the_host_is_gone() -> None:
    seen: list[str] = []

    async def read(host: aiovirt.Host) -> None:
        seen.extend([message async for message in sse.messages(host, None)])

    async with anyio.create_task_group() as tasks, aiovirt.connect("test:///default") as host:
        tasks.start_soon(read, host)
        begin = host.events.cursor
        await anyio.sleep(2 * sse.QUIET + 1)
        await host.domain("test").suspend()
        end = host.events.cursor
        await anyio.sleep(sse.QUIET + 1)
    *bookmarks, event, last = seen
    assert bookmarks == [f"id: {begin}\n\n"] * 3
    assert event.startswith(f"id: {end}\nevent: domain.lifecycle\ndata: {{")
    assert last == f"id: {end}\n\n"
