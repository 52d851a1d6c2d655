"""What an engine does by itself: domains that are started with the host, and definitions that others edit."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from uuid import UUID

import anyio
import pytest

import aiovirt
from aiovirt import DomainState, Host
from aiovirt.events import Detail, DomainLifecycle, Lifecycle
from aiovirt.libvirtxml import parse, render
from aiovirt.model.units import MiB
from tests.real.conftest import EMULATOR, PATIENCE, Place

pytestmark = pytest.mark.anyio


def definition(place: Place, name: str) -> Path:
    return place.folder / f"engine/config/qemu/{name}.xml"


async def next_of(host: Host, kind: Lifecycle, name: str, after: str) -> DomainLifecycle:
    with anyio.fail_after(PATIENCE):
        async with host.events.subscribe(DomainLifecycle, after=after) as events:
            while not ((event := await events.receive()).kind is kind and event.name == name):
                pass
            return event


async def booted(place: Place) -> None:
    """The mark of another boot may be there, where the runtime folder outlives one."""
    await anyio.Path(place.folder / "engine/runtime/autostarted").write_text("another boot")


async def test_what_is_marked_is_started_once_in_each_boot(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with aiovirt.connect(place.uri) as host:
        for name in ("one", "two", "bad", "not"):
            domain = await host.define(place.spec(name, emulator="/no/such" if name == "bad" else EMULATOR))
            if name != "not":
                await domain.set_autostart()
            assert await domain.get_autostart() is (name != "not")
        await host.domain("two").set_autostart(enabled=False)
        await host.domain("two").set_autostart(enabled=True)
    await booted(place)
    for starts in (True, False):
        async with aiovirt.connect(place.uri) as host:
            if starts:
                for name in ("one", "two"):
                    await host.domain(name).wait_for_state(DomainState.RUNNING)
                with anyio.fail_after(PATIENCE):
                    while "bad" not in caplog.text:
                        await anyio.lowlevel.checkpoint()
                assert "could not be started with the host" in caplog.text
            assert [domain.name for domain in host.domains(active=True)] == (["one", "two"] if starts else [])
            for domain in host.domains(active=True):
                await domain.destroy()
            await anyio.wait_all_tasks_blocked()


async def test_who_is_forgotten_is_not_started(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.set_autostart()
        link = place.folder / "engine/config/qemu/autostart/tiny.xml"
        assert link.resolve() == definition(place, "tiny")
        await domain.undefine()
        assert not link.is_symlink()
        transient = await host.create(place.spec("t"), paused=True)
        with pytest.raises(aiovirt.OperationInvalid, match="transient"):
            await transient.set_autostart()
        await transient.destroy()


async def test_our_own_writing_is_nobodys_edit(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host, host.events.subscribe(DomainLifecycle) as events:
        domain = await host.define(place.spec())
        await host.define(render(await domain.spec()))
        await domain.undefine()
        marker = await host.define(place.spec("marker"))
        heard = [await events.receive() for _ in range(4)]
        assert [(event.name, event.kind) for event in heard] == [
            ("tiny", Lifecycle.DEFINED),
            ("tiny", Lifecycle.DEFINED),
            ("tiny", Lifecycle.UNDEFINED),
            ("marker", Lifecycle.DEFINED),
        ]
        assert host.domains() == [marker]


async def test_a_definition_that_somebody_writes_is_there(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        before = host.events.cursor
        path = definition(place, "tiny")
        path.write_text(path.read_text().replace("1</vcpu>", "2</vcpu>"))
        event = await next_of(host, Lifecycle.DEFINED, "tiny", before)
        assert (event.detail, event.cause) == (Detail.UPDATED, None)
        assert (await domain.spec()).vcpus == 2
        new = (await domain.xml()).replace("<name>tiny</name>", "<name>new</name>").replace(str(domain.uuid), str(UUID(int=77)))
        definition(place, "new").write_text(new)
        event = await next_of(host, Lifecycle.DEFINED, "new", before)
        assert event.detail is Detail.ADDED
        definition(place, "new").unlink()
        await next_of(host, Lifecycle.UNDEFINED, "new", before)
        assert [domain.name for domain in host.domains()] == ["tiny"]
        await domain.start(paused=True)
        path.unlink()
        await next_of(host, Lifecycle.UNDEFINED, "tiny", before)
        assert (domain.is_active, domain.is_persistent) == (True, False)
        await domain.destroy()


async def test_a_definition_that_is_edited_badly_is_reported_with_its_line_and_left_alone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        other = await host.define(place.spec("other"))
        path, good = definition(place, "tiny"), definition(place, "tiny").read_text()
        bad = good.replace("</memory>", "</memry>")
        path.write_text(bad)
        with anyio.fail_after(PATIENCE):
            while "left alone" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        assert "line" in caplog.text
        assert (await domain.spec()).vcpus == 1
        with pytest.raises(aiovirt.DomainExists, match="cannot be read"):
            await host.define(render(await domain.spec()))
        assert path.read_text() == bad
        await other.undefine()
        before = host.events.cursor
        path.write_text(good.replace("1</vcpu>", "3</vcpu>"))
        await next_of(host, Lifecycle.DEFINED, "tiny", before)
        assert (await domain.spec()).vcpus == 3


async def test_a_definition_that_is_taken_away_while_its_guest_starts_takes_no_guest_away(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        before = host.events.cursor
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(domain.start)
            await anyio.wait_all_tasks_blocked()
            definition(place, "tiny").unlink()
        await next_of(host, Lifecycle.UNDEFINED, "tiny", before)
        assert (domain.is_active, domain.is_persistent) == (True, False)
        await domain.destroy()
        assert host.domains() == []


async def test_a_definition_that_is_renamed_is_the_same_domain(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec("zulu", uuid=UUID(int=7)))
        before = host.events.cursor
        old, new = definition(place, "zulu"), definition(place, "alpha")
        text = old.read_text().replace("<name>zulu</name>", "<name>alpha</name>")
        old.unlink()
        new.write_text(text)
        await next_of(host, Lifecycle.DEFINED, "alpha", before)
        assert [(other.name, other.uuid) for other in host.domains()] == [("alpha", domain.uuid)]


async def test_who_was_marked_and_is_written_anew_is_still_marked(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.set_autostart()
        path, before = definition(place, "tiny"), host.events.cursor
        text = path.read_text()
        path.rename(path.with_name("tiny.xml~"))  # as some editors do
        await next_of(host, Lifecycle.UNDEFINED, "tiny", before)
        before = host.events.cursor
        path.write_text(text)
        await next_of(host, Lifecycle.DEFINED, "tiny", before)
        assert await host.domain("tiny").get_autostart()


# -- as written, and as filled in ---------------------------------------------------------------

TEXT = """<?xml version='1.0' encoding='UTF-8'?>
<!-- the shop's own -->
<domain type='qemu'>
  <name>shop</name>   <memory unit='MiB'>32</memory>
  <os><type>hvm</type></os>
</domain>
"""


def filled(place: Place, name: str) -> Path:
    return definition(place, name).parent / f"filled/{name}.xml"


async def test_a_definition_is_kept_as_it_was_written_and_as_it_was_filled_in(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(TEXT)
        assert definition(place, "shop").read_text() == TEXT
        assert parse(filled(place, "shop").read_bytes()) == await domain.spec()
        assert {path.stat().st_mode & 0o777 for path in (definition(place, "shop"), filled(place, "shop"))} == {0o600}
    async with aiovirt.connect(place.uri) as host:
        assert [(other.name, other.uuid) for other in host.domains()] == [("shop", domain.uuid)]
        assert definition(place, "shop").read_text() == TEXT
        await host.domain("shop").undefine()
        assert not definition(place, "shop").exists()
        assert not filled(place, "shop").exists()


async def test_what_is_edited_stays_the_same_domain(place: Place) -> None:
    """While an engine is there, and while there is none."""
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(TEXT)
        before = host.events.cursor
        definition(place, "shop").write_text(TEXT.replace("32<", "48<"))
        await next_of(host, Lifecycle.DEFINED, "shop", before)
        assert ((await domain.spec()).uuid, (await domain.spec()).memory) == (domain.uuid, 48 * MiB)
    definition(place, "shop").write_text(TEXT.replace("32<", "64<"))
    async with aiovirt.connect(place.uri) as host:
        spec = await host.domain("shop").spec()
        assert (spec.uuid, spec.memory) == (domain.uuid, 64 * MiB)
        assert parse(filled(place, "shop").read_bytes()) == spec


async def test_a_text_that_is_put_there_without_a_uuid_is_given_one_for_good(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        before = host.events.cursor
        definition(place, "shop").write_text(TEXT)
        uuid = (await next_of(host, Lifecycle.DEFINED, "shop", before)).uuid
    for _ in range(2):
        async with aiovirt.connect(place.uri) as host:
            assert host.domain("shop").uuid == uuid
        filled(place, "shop").write_text("<domain>")  # it can be made again, but for what only it knew
        definition(place, "shop").write_text(TEXT.replace("<name>", f"<uuid>{uuid}</uuid><name>"))


async def test_what_version_1_has_left_is_filled_in_and_is_not_touched(place: Place) -> None:
    """It had the first form only, with the uuid in it."""
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        old = await domain.xml()
    definition(place, "tiny").write_text(old)
    shutil.rmtree(filled(place, "tiny").parent)
    async with aiovirt.connect(place.uri) as host:
        assert await host.domain("tiny").xml() == old
        assert host.domain("tiny").uuid == domain.uuid
        assert definition(place, "tiny").read_text() == old
        assert parse(filled(place, "tiny").read_bytes()) == await host.domain("tiny").spec()


async def test_what_a_later_version_has_filled_in_is_left_alone(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with aiovirt.connect(place.uri) as host:
        await host.define(TEXT)
        await host.define(place.spec("other"))
    later = filled(place, "shop").read_text().replace("definition 2", "definition 3")
    filled(place, "shop").write_text(later)
    async with aiovirt.connect(place.uri) as host:
        assert [domain.name for domain in host.domains()] == ["other"]
        assert "version 3 is newer than 2" in caplog.text
        with pytest.raises(aiovirt.DomainExists, match="cannot be read"):
            await host.define(TEXT)
    assert filled(place, "shop").read_text() == later


async def test_a_text_in_an_encoding_of_its_own_is_kept_in_ours(place: Place) -> None:
    text = TEXT.replace("UTF-8", "ISO-8859-1").replace("<memory", "<title>L\xe4den</title><memory")
    async with aiovirt.connect(place.uri) as host:
        await host.define(text)
    assert parse(definition(place, "shop").read_bytes()).title == "L\xe4den"
    async with aiovirt.connect(place.uri) as host:
        assert (await host.domain("shop").spec()).title == "L\xe4den"


def with_uuid(number: int, *, text: str = TEXT) -> str:
    return text.replace("<name>", f"<uuid>{UUID(int=number)}</uuid><name>")


async def left_alone(place: Place, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once more than it is by now."""
    before = caplog.text.count("left alone")
    with anyio.fail_after(PATIENCE):
        while caplog.text.count("left alone") == before:
            await anyio.lowlevel.checkpoint()
    assert definition(place, name).exists()


async def test_a_text_that_is_refused_and_mended_is_the_same_domain(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with aiovirt.connect(place.uri) as host:
        uuid = (await host.define(TEXT)).uuid
        definition(place, "shop").write_text(with_uuid(7))
        await left_alone(place, "shop", caplog)
        before = host.events.cursor
        definition(place, "shop").write_text(TEXT.replace("32<", "48<"))
        assert (await next_of(host, Lifecycle.DEFINED, "shop", before)).uuid == uuid
    async with aiovirt.connect(place.uri) as host:
        assert host.domain("shop").uuid == uuid


async def test_a_copy_whose_uuid_is_taken_out_is_another_domain(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with aiovirt.connect(place.uri) as host:
        shop = (await host.define(with_uuid(7))).uuid
        copied = TEXT.replace(">shop<", ">copy<")
        definition(place, "copy").write_text(with_uuid(7, text=copied))
        await left_alone(place, "copy", caplog)
        before = host.events.cursor
        definition(place, "copy").write_text(copied)
        copy = (await next_of(host, Lifecycle.DEFINED, "copy", before)).uuid
        assert copy != shop
    async with aiovirt.connect(place.uri) as host:
        assert {domain.name: domain.uuid for domain in host.domains()} == {"shop": shop, "copy": copy}


@pytest.mark.parametrize("runs", [True, False])
async def test_a_new_text_takes_no_uuid_from_one_that_was_renamed(place: Place, *, runs: bool) -> None:
    """What was filled in of the old name is still there."""
    renamed = with_uuid(7, text=TEXT.replace(">shop<", ">zhop<"))
    async with aiovirt.connect(place.uri) as host:
        await host.define(with_uuid(7))
        before = host.events.cursor
        definition(place, "shop").unlink()
        definition(place, "zhop").write_text(renamed)
        assert (await next_of(host, Lifecycle.DEFINED, "zhop", before)).uuid == UUID(int=7)
        if runs:
            definition(place, "shop").write_text(TEXT)
            await next_of(host, Lifecycle.DEFINED, "shop", before)
    if not runs:
        definition(place, "shop").write_text(TEXT)
    for _ in range(2):
        async with aiovirt.connect(place.uri) as host:
            assert host.domain("zhop").uuid == UUID(int=7)
            assert host.domain("shop").uuid != UUID(int=7)
            assert len(host.domains()) == 2
