"""The block of ``connect``: what leaves it, and what is left behind it."""

from __future__ import annotations

import anyio
import pytest

import aiovirt
from aiovirt.events import DomainLifecycle
from aiovirt.model.spec import DomainSpec

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Own(Exception):
    """Somebody's own exception."""


async def test_what_the_body_raises_leaves_as_itself() -> None:
    with pytest.raises(Own) as raised:
        async with aiovirt.connect("test:///default"):
            raise Own
    assert type(raised.value) is Own


async def test_a_group_that_the_body_raises_is_not_touched() -> None:
    group = ExceptionGroup("mine", [Own()])
    with pytest.raises(ExceptionGroup) as raised:
        async with aiovirt.connect("test:///default"):
            raise group
    assert raised.value is group


async def test_a_deadline_around_it_is_a_plain_timeout() -> None:
    with pytest.raises(TimeoutError) as raised:
        with anyio.fail_after(1):
            async with aiovirt.connect("test:///default"):
                await anyio.sleep_forever()
    assert type(raised.value) is TimeoutError


async def test_a_cancellation_around_it_goes_where_it_belongs() -> None:
    with anyio.CancelScope() as scope:
        async with aiovirt.connect("test:///default"):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    await anyio.sleep(1)  # and nowhere else


async def test_an_error_in_a_stream_or_in_a_run_leaves_as_itself() -> None:
    spec = DomainSpec(name="web", memory=64 * aiovirt.MiB)
    for depth in ("subscribe", "watch", "run"):
        with pytest.raises(Own) as raised:
            async with aiovirt.connect("test:///default") as host:
                if depth == "subscribe":
                    async with host.events.subscribe(DomainLifecycle):
                        raise Own
                if depth == "watch":
                    async with host.events.watch():
                        raise Own
                async with host.run(spec):
                    raise Own
        assert type(raised.value) is Own


async def test_streams_end_when_the_host_does() -> None:
    async with anyio.create_task_group() as tasks:
        ended = anyio.Event()

        async def read(host: aiovirt.Host) -> None:
            async with host.events.subscribe() as events:
                tasks_ready.set()
                with pytest.raises(aiovirt.HostGone):
                    async for _ in events:
                        pass
            ended.set()

        tasks_ready = anyio.Event()
        async with aiovirt.connect("test:///default") as host:
            tasks.start_soon(read, host)
            await tasks_ready.wait()
        await ended.wait()


async def test_hosts_in_memory_have_nothing_in_common() -> None:
    async with aiovirt.connect("test:///default") as one, aiovirt.connect("test:///default") as two:
        assert one.uuid != two.uuid
        assert one.domain("test") != two.domain("test")
        assert one.domain("test") == one.domain(two.domain("test").uuid)
        await one.domain("test").suspend()
        assert two.domain("test").state is aiovirt.DomainState.RUNNING


async def test_an_unknown_uri() -> None:
    with pytest.raises(aiovirt.NoConnect) as refused:
        async with aiovirt.connect("foo:///bar"):
            pass
    assert refused.value.code == 5
