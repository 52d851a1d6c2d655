"""Definitions of a kind of object that is none of ours: the engine has nothing of domains in what keeps, finds and marks them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from aiovirt.engine.upkeep import follow_edits, start_all
from aiovirt.errors import ConfigUnsupported, NoSuchDevice, OperationFailed, OperationInvalid, OrderTimeout, SystemFailure, XMLInvalid
from aiovirt.system.deadlines import Deadline
from tests.engine.pools import PATIENCE, DefinePool, MarkPool, Pool, PoolEntry, UndefinePool, begun, render

pytestmark = pytest.mark.anyio

ONE = Pool(name="one", target="/srv/one", uuid=UUID(int=1))
XML = "<pool>\n  <!-- ours -->\n  <name>one</name>\n  <target>/srv/one</target>\n</pool>\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pools"


async def test_what_was_defined_is_found_again(folder: Path) -> None:
    """Its text as it was given, and the uuid that it was given."""
    engine = await begun(folder)
    uuid = await engine.define(XML)
    assert engine.pools.published == [("added", "one")]
    assert (folder / "one.xml").read_text() == XML
    assert str(uuid) in (folder / "filled/one.xml").read_text()
    again = await begun(folder)
    assert again.known() == engine.known() == {"one": Pool(name="one", target="/srv/one", uuid=uuid)}
    assert again.pools.entries.get(uuid).subject == f"pool/{uuid}"
    assert await again.define(render(Pool(name="one", target="/srv/other", uuid=uuid))) == uuid
    assert again.pools.published == [("updated", "one")]
    assert (await begun(folder)).known() == {"one": Pool(name="one", target="/srv/other", uuid=uuid)}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Pool(name="one", target="/", uuid=UUID(int=2)), "pool 'one' already exists with uuid"),
        (Pool(name="two", target="/", uuid=UUID(int=1)), "pool 'one' is already defined with uuid"),
    ],
    ids=["name", "uuid"],
)
async def test_a_name_and_a_uuid_are_one_object_s(folder: Path, other: Pool, why: str) -> None:
    engine = await begun(folder)
    await engine.define(render(ONE))
    with pytest.raises(OperationFailed, match=why) as refused:
        await engine.define(render(other))
    assert refused.value.subject == f"pool/{ONE.uuid}"
    assert engine.known() == (await begun(folder)).known() == {"one": ONE}


async def test_two_files_with_one_uuid_are_not_two_objects(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    await (await begun(folder)).define(render(ONE))
    (folder / "two.xml").write_text(render(Pool(name="two", target="/", uuid=ONE.uuid)))
    engine = await begun(folder)
    assert engine.known() == {"one": ONE}
    assert "a definition is left alone" in caplog.text
    with pytest.raises(OperationFailed, match="cannot be read"):
        await engine.define(render(Pool(name="two", target="/srv/two", uuid=UUID(int=2))))


async def test_what_cannot_be_had_is_not_kept(folder: Path) -> None:
    engine = await begun(folder)
    with pytest.raises(XMLInvalid):
        await engine.define("<pool/>")
    with pytest.raises(ConfigUnsupported, match="no folder of this host"):
        await engine.define(render(Pool(name="one", target="nfs://far")))
    assert (engine.known(), engine.pools.published, list(folder.glob("*.xml"))) == ({}, [], [])


async def test_what_the_disk_does_not_take_is_not_defined(folder: Path) -> None:
    engine = await begun(folder)
    (folder / "one.xml").mkdir()
    with pytest.raises(SystemFailure):
        await engine.define(render(ONE))
    assert (engine.known(), engine.pools.published) == ({}, [])


async def test_what_is_marked_is_started_with_the_host(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = await begun(folder)
    for name in ("one", "two", "bad"):
        uuid = await engine.define(render(Pool(name=name, target="/")))
        await engine.mark(uuid)
        await engine.mark(uuid, enabled=name != "two")
        assert await engine.definitions.ask_autostart(MarkPool(uuid=uuid, enabled=True), Deadline.after(PATIENCE)) is (name != "two")
    assert sorted(path.name for path in (folder / "autostart").iterdir()) == ["bad.xml", "one.xml"]
    started: list[str] = []

    async def start(entry: PoolEntry) -> None:
        await anyio.lowlevel.checkpoint()
        if entry.name == "bad":
            raise OperationFailed("it is broken")
        started.append(entry.name)

    await start_all([entry for entry in (await begun(folder)).pools.entries if entry.autostart], start)
    assert started == ["one"]
    assert "a pool could not be started with the host" in caplog.text


async def test_what_is_undefined_is_gone(folder: Path) -> None:
    engine = await begun(folder)
    uuid = await engine.define(render(ONE))
    await engine.mark(uuid)
    await engine.undefine(uuid)
    assert engine.pools.published == [("added", "one"), ("removed", "one")]
    assert engine.known() == (await begun(folder)).known() == {}
    assert [path for path in folder.rglob("*") if not path.is_dir()] == []
    for order in (engine.undefine, engine.mark):
        with pytest.raises(NoSuchDevice, match="no pool has the uuid"):
            await order(uuid)


async def test_what_has_no_definition_is_neither_marked_nor_undefined(folder: Path) -> None:
    engine = await begun(folder)
    uuid = engine.pools.entries.new(uuid4(), "transient").uuid
    for order in (engine.undefine, engine.mark):
        with pytest.raises(OperationInvalid, match="a transient pool"):
            await order(uuid)


async def test_one_change_of_an_object_at_a_time(folder: Path) -> None:
    engine = await begun(folder)
    entry = engine.pools.entries.get(await engine.define(render(ONE)))
    async with entry.turn(UndefinePool(uuid=entry.uuid), Deadline.after(PATIENCE)):
        assert isinstance(engine.pools.entries.get(entry.uuid).order, UndefinePool)
        assert entry.cause is not None
        assert entry.cause.startswith("order-")
        with pytest.raises(OrderTimeout, match="another order on one has not ended"):
            await engine.definitions.define(DefinePool(xml=render(ONE)), Deadline.after(0.01))
        await engine.define(render(Pool(name="two", target="/")))
    assert entry.order is None
    await engine.define(render(ONE))


async def test_what_others_edit_is_taken_in(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = await begun(folder)
    file = folder / "one.xml"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow_edits, engine.definitions, engine.store)
        uuid = await engine.define(XML)
        assert await engine.pools.next() == ("added", "one")
        file.write_text(XML.replace("/srv/one", "/srv/edited"))
        assert await engine.pools.next() == ("updated", "one")
        assert engine.known() == {"one": Pool(name="one", target="/srv/edited", uuid=uuid)}
        file.write_text("<pool>")
        (folder / "two.xml").write_text(render(Pool(name="two", target="/srv/two")))
        assert await engine.pools.next() == ("added", "two")
        assert "a definition is left alone" in caplog.text
        assert engine.known()["one"] == Pool(name="one", target="/srv/edited", uuid=uuid)
        with pytest.raises(OperationFailed, match="cannot be read"):
            await engine.define(render(Pool(name="one", target="/", uuid=uuid)))
        file.unlink()
        assert await engine.pools.next() == ("removed", "one")
        tasks.cancel_scope.cancel()
    assert set(engine.known()) == set((await begun(folder)).known()) == {"two"}
