"""Engines, clients, journals and records of different versions live side by side."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

import aiovirt
from aiovirt import DomainState
from aiovirt.engine.attached import AttachedEngine
from aiovirt.engine.connect import Connection
from aiovirt.events import DomainLifecycle, MonitorHealth, UnknownEvent
from aiovirt.events.segment import encode_checkpoint, encode_event
from tests.events.test_segment import POOLS, tables_of, with_tables
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import no_guest_is_left, pid_of
from tests.real.test_restart import change_record, heard, record

pytestmark = pytest.mark.anyio
__all__ = ["no_guest_is_left"]


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield Place(Path(folder))


@asynccontextmanager
async def newer(place: Place, what: str, backend: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A process of a later version, and what it said."""
    command = [sys.executable, "-m", "tests.support.newer", what, str(place.folder), backend]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout
        assert process.stdin
        with anyio.fail_after(PATIENCE):
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1_000_000)
        yield process, json.loads(line)
        await process.stdin.aclose()
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 0


@pytest.fixture
def backend(anyio_backend_name: str) -> str:
    return anyio_backend_name


async def test_engines_of_two_versions_take_turns_on_one_folder_with_a_running_guest(place: Place, backend: str) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid, uuid = pid_of(place, domain), domain.uuid
        begin = host.events.cursor
        (place.folder / "cursor").write_text(begin)
    async with newer(place, "hold", backend) as (_, first):
        assert first["domains"] == {"tiny": ["running", "connected"]}
    strange = "<vsock model='virtio-of-tomorrow'><cid auto='yes'/></vsock></devices>"
    xml = json.loads(record(place, uuid).read_text())["xml"].replace("</devices>", strange)
    change_record(place, uuid, xml=xml, taps=["tap0"])
    definition = place.folder / "engine/config/qemu/tiny.xml"
    definition.write_text(definition.read_text().replace("</devices>", strange))

    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        assert (domain.state, domain.id, host.domains(persistent=True)) == (DomainState.RUNNING, 1, [domain])
        assert strange in await domain.xml()
        topics = []
        async with host.events.subscribe(after=begin) as events:
            while events.cursor < host.events.cursor:
                event = await events.receive()
                topics.append(event.topic)
                if isinstance(event, UnknownEvent):
                    assert encode_event(event) == event.body
                    if event.topic == "domain.sung":
                        assert (event.subject, event.cause) == (f"domain/{uuid}", "order-of-tomorrow")
                        assert event.data == {"uuid": str(uuid), "name": "tiny", "song": "la", "loud": True}
                    else:
                        assert (event.topic, event.subject, event.data) == ("pool.filled", "pool/images", {"size": 2**40})
        assert topics[: len(first["topics"])] == first["topics"]
        assert {"domain.sung", "pool.filled"} < set(topics)
        await domain.suspend()
        with pytest.raises(aiovirt.OperationInvalid, match="running"):
            await domain.start()
    kept = json.loads(record(place, uuid).read_text())
    assert (kept["taps"], kept["xml"], kept["state"]) == (["tap0"], xml, "paused")
    assert not any(topic == "domain.lifecycle" for topic in topics[len(first["topics"]) :]), "nothing has happened to it"

    definition.write_text(definition.read_text().replace(strange, "</devices>"))
    change_record(place, uuid, xml=xml.replace(strange, "</devices>"))
    async with newer(place, "hold", backend) as (_, second):
        assert second["domains"] == {"tiny": ["paused", "connected"]}
        assert second["topics"][: len(topics)] == topics, "what the older one could not read is there for the newer one"
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        assert pid_of(place, domain) == pid
        await domain.destroy()


async def test_what_a_later_version_put_down_of_its_state_is_still_there_after_an_engine_of_today(place: Place) -> None:
    async with aiovirt.connect(place.uri):
        pass
    (state,) = (place.folder / "engine/state").rglob("state")
    state.write_bytes(with_tables(state.read_bytes(), pools=POOLS))
    as_of = tables_of(state.read_bytes())["cursor"]
    for _ in range(2):
        async with aiovirt.connect(place.uri) as host, place.attach() as attached:
            assert encode_checkpoint(host.engine.bus.state.checkpoint("")) == encode_checkpoint(attached.engine.bus.state.checkpoint(""))
        tables = tables_of(state.read_bytes())
        assert (tables["pools"], tables["newer_as_of"]) == (POOLS, as_of)
        assert str(tables["cursor"]) > str(as_of)


async def test_a_client_of_today_hears_a_newer_engine(place: Place, backend: str) -> None:
    async with newer(place, "hold", backend), place.attach() as host:
        assert isinstance(host.engine, AttachedEngine)
        domain = await host.define(place.spec())
        after = (place.folder / "cursor").read_text()
        async with host.events.subscribe(UnknownEvent, subject="pool/", after=after) as pools:
            with anyio.fail_after(PATIENCE):
                assert (await pools.receive()).data == {"size": 2**40}
        async with host.events.subscribe(DomainLifecycle, subject=domain, after=after) as events:
            assert (await events.receive()).name == "tiny"
        await domain.undefine()


async def test_an_order_that_the_engine_does_not_know_costs_its_caller_that_order_only(place: Place, backend: str) -> None:
    async with Connection(place.uri, {}) as host:
        await host.define(place.spec())
        async with newer(place, "ask", backend) as (_, said):
            assert said["attached"]
            sing, later, start, xml = said["answers"]
            assert (sing[:2], "Sing" in sing[2]) == (["Unsupported", 3], True)
            assert (later[:2], "Start's force_boot" in later[2]) == (["Unsupported", 3], True)
            assert (start, xml) == ("NoneType", "str")
        assert [domain.state for domain in host.domains()] == [DomainState.RUNNING]
        await host.domain("tiny").destroy()
