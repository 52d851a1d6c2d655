"""A disk that is full: what cannot be kept is refused, guests and readers go on, and the next engine finds them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import DomainState
from aiovirt.events import DomainEvent, JournalDegraded, MonitorHealth, Subscription
from tests.crash.test_engines import processes
from tests.real.conftest import PATIENCE, Place, engine_of

pytestmark = pytest.mark.anyio

FILLER = "filler"


@pytest.fixture
def small(place: Place) -> Iterator[Path]:
    """The folder of the engine's state, on a disk of its own that is soon full."""
    state = place.folder / "engine/state"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", state], check=True)
    try:
        yield state
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / FILLER).open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


async def test_a_full_disk_harms_no_guest(place: Place, small: Path) -> None:
    async with engine_of(place) as process, place.attach() as host, host.events.subscribe(JournalDegraded) as news:
        one, two = await host.define(place.spec("one")), await host.define(place.spec("two"))
        await one.start(paused=True)
        await anyio.to_thread.run_sync(fill, small)
        with anyio.fail_after(PATIENCE):
            assert "No space left" in (await until_degraded(one, news)).why
        assert one.is_active
        with pytest.raises(aiovirt.SystemFailure, match="No space left"):
            await two.start()
        assert two.state is DomainState.SHUTOFF
        assert processes(place) == {str(one.uuid)}
        process.kill()
        await process.wait()
    (small / FILLER).unlink()
    async with place.attach() as host, host.events.subscribe(DomainEvent) as events:
        one = host.domain("one")
        with anyio.fail_after(PATIENCE):
            while one.status.monitor is not MonitorHealth.CONNECTED:
                await events.receive()
        await host.domain("two").start(paused=True)
        for domain in host.domains(active=True):
            await domain.destroy()


async def until_degraded(domain: aiovirt.Domain, news: Subscription[JournalDegraded]) -> JournalDegraded:
    """Something happens until the journal's disk has no room for it."""
    while True:
        with contextlib.suppress(anyio.WouldBlock):
            return news.receive_nowait()
        await domain.resume()
        await domain.suspend()
