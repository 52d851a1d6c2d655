"""What every test in the lab guest has: a host of its own, and a topology that is put back afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

import aiovirt
from aiovirt.hostdev import watcher
from tests.blocking import BlockingCalls, watch_blocking_calls
from tests.lab.guest import boot
from tests.labguest.heard import Heard, listening
from tests.labguest.topology import Qmp, Topology


@pytest.fixture(scope="session", autouse=True)
def inside() -> None:
    boot.require()


@pytest.fixture(scope="module", params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """A test that is cheap says ``@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)``."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def blocking_calls() -> Iterator[BlockingCalls]:
    with watch_blocking_calls() as calls:
        yield calls


@pytest.fixture(autouse=True)
def no_blocking_calls(blocking_calls: BlockingCalls) -> Iterator[None]:
    """Fails each test during which our code blocked a loop's thread."""
    yield
    if seen := blocking_calls.take():
        pytest.fail("\n".join(["blocked the event loop's thread:", *seen]), pytrace=False)


@pytest.fixture(autouse=True)
def ten_times_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the product waits for on a real host takes longer here."""
    monkeypatch.setattr(watcher, "ATTACH_WAIT", 10 * watcher.ATTACH_WAIT)


@pytest.fixture(scope="session")
def qmp(inside: None) -> Iterator[Qmp]:  # noqa: ARG001 - outside there is no port
    conversation = Qmp()
    yield conversation
    conversation.close()


@pytest.fixture
def lab(qmp: Qmp) -> Iterator[Topology]:
    """Each test finds and leaves the guest as it was booted."""
    topology = Topology(qmp)
    yield topology
    topology.restore()


@pytest.fixture
def uri() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield f"qemu:///embed?root={folder}/engine"


@pytest.fixture
async def host(lab: Topology, uri: str) -> AsyncIterator[aiovirt.Host]:  # noqa: ARG001 - ends before the topology is put back
    async with aiovirt.connect(uri) as connected:
        yield connected


@pytest.fixture
async def heard(host: aiovirt.Host) -> AsyncIterator[Heard]:
    async with listening(host) as events:
        yield events
