"""A second kind of object that people define, made up for tests: pools, each a name for a folder. There is nothing of a domain in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar
from uuid import UUID
from xml.sax.saxutils import escape

import anyio
from msgspec import Struct

from aiovirt.engine.definitions import Definitions
from aiovirt.engine.kind import ObjectKind
from aiovirt.engine.objects import Entries, ObjectEntry
from aiovirt.engine.paths import definition_folders
from aiovirt.engine.store import Store
from aiovirt.errors import ConfigUnsupported, NoSuchDevice, OperationFailed, XMLInvalid
from aiovirt.libvirtxml.document import read
from aiovirt.model.orders.rule import DefineObject, ObjectOrder, Rule, Turn
from aiovirt.system.deadlines import Deadline

PATIENCE = 30

PoolEntry = ObjectEntry["Pool"]


class Pool(Struct, frozen=True, kw_only=True):
    """``target`` is the folder."""

    name: str
    target: str
    uuid: UUID | None = None


class DefinePool(DefineObject, frozen=True, kw_only=True, tag=True):
    rule: ClassVar[Rule] = Rule(verb="pool-define", turn=Turn.CHANGE, permissions=())


class UndefinePool(ObjectOrder, frozen=True, kw_only=True, tag=True):
    rule: ClassVar[Rule] = Rule(verb="pool-undefine", turn=Turn.CHANGE, permissions=())


class MarkPool(ObjectOrder, frozen=True, kw_only=True, tag=True):
    enabled: bool


def parse(xml: str | bytes, check: Callable[[Pool], object] | None = None, validate: bool = False, /) -> Pool:  # noqa: FBT001, FBT002
    root = read(xml)
    name, target, uuid = (root.findtext(tag) for tag in ("name", "target", "uuid"))
    if name is None or target is None:
        raise XMLInvalid("a pool has a name and a target")
    if validate and len(root) > 3:
        raise XMLInvalid("a pool has nothing else")
    pool = Pool(name=name, target=target, uuid=UUID(uuid) if uuid else None)
    if check is not None:
        check(pool)
    return pool


def render(pool: Pool) -> str:
    uuid = f"<uuid>{pool.uuid}</uuid>" if pool.uuid else ""
    return f"<pool><name>{escape(pool.name)}</name>{uuid}<target>{escape(pool.target)}</target></pool>"


POOL = ObjectKind(name="pool", parse=parse, render=render, exists=OperationFailed, missing=NoSuchDevice)


def local_only(pool: Pool) -> None:
    """What a driver has to say of it."""
    if not pool.target.startswith("/"):
        raise ConfigUnsupported(f"{pool.target} is no folder of this host")


class Pools:
    """What an engine knows of pools; ``published`` is what it would publish."""

    def __init__(self) -> None:
        self.entries: Entries[Pool, PoolEntry] = Entries(POOL, partial(ObjectEntry, POOL))
        self.published: list[tuple[str, str]] = []
        self._more = anyio.Event()

    def _publish(self, what: str, name: str) -> None:
        self.published.append((what, name))
        self._more.set()

    def defined(self, entry: PoolEntry, *, anew: bool) -> None:
        self._publish("updated" if anew else "added", entry.name)

    def undefined(self, entry: PoolEntry) -> None:
        self._publish("removed", entry.name)

    def forget_unless_wanted(self, entry: PoolEntry) -> None:
        if not entry.is_persistent and not isinstance(entry.order, DefinePool):
            self.entries.drop(entry)

    async def next(self) -> tuple[str, str]:
        """What is published next, taken from what was."""
        with anyio.fail_after(PATIENCE):
            while not self.published:
                self._more = anyio.Event()
                await self._more.wait()
        return self.published.pop(0)


class PoolEngine:
    """An engine that has pools, from what is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        for each in definition_folders(folder):
            each.mkdir(exist_ok=True)
        self.store = Store(POOL, folder)
        self.pools = Pools()
        self.definitions = Definitions(POOL, self.pools, local_only, self.store)

    async def begin(self) -> None:
        loaded = await self.store.load()
        for pool in loaded.definitions:
            self.pools.entries.restore(pool, autostart=pool.name in loaded.autostart)

    async def define(self, xml: str) -> UUID:
        return await self.definitions.define(DefinePool(xml=xml), Deadline.after(PATIENCE))

    async def undefine(self, uuid: UUID) -> None:
        await self.definitions.undefine(UndefinePool(uuid=uuid), Deadline.after(PATIENCE))

    async def mark(self, uuid: UUID, *, enabled: bool = True) -> None:
        await self.definitions.set_autostart(MarkPool(uuid=uuid, enabled=enabled), Deadline.after(PATIENCE))

    def known(self) -> dict[str, Pool | None]:
        return {entry.name: entry.config for entry in self.pools.entries}


async def begun(folder: Path) -> PoolEngine:
    """One that has read what the one before left."""
    engine = PoolEngine(folder)
    await engine.begin()
    return engine
