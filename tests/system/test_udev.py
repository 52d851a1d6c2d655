"""Without a udevd, as in a container: what there is of udev's word then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovirt.errors import SystemFailure
from aiovirt.events.types import DeviceInitialized, NetdevAdded, SourceMissing, WatcherLost
from aiovirt.system.udev import UdevMonitor, read_database
from tests.lab import sandbox
from tests.lab.watched import ip, only_lo, watching

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()
    assert not Path("/run/udev/control").exists()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with only_lo():
        yield


async def test_without_udevd_all_else_goes_on() -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        assert [missing.source for missing in heard.of(SourceMissing)] == ["udev"]
        ip("add w0 type veth peer name w1", "set w0 up")
        await heard.until(lambda: "w0" in heard.netdevs() and heard.netdevs()["w0"].is_up)
        assert {device.initialized for device in heard.netdevs().values()} == {None}
        assert {event.device.initialized for event in heard.of(NetdevAdded)} == {None}
        assert heard.of(DeviceInitialized) == []
        assert heard.of(WatcherLost) == []


async def test_without_udevd_its_monitor_says_so() -> None:
    with pytest.raises(SystemFailure, match="no udevd"):
        async with UdevMonitor(receive_buffer=1 << 20):
            pass


async def test_without_udevd_its_database_has_nobody() -> None:
    ip("add v0 type veth peer name v1")
    assert await read_database() == []
