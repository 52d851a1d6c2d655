"""The definitions of one kind of object: as files, as what is known of them, and as others edit them. The two change together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID, uuid4

import anyio
from anyio.lowlevel import checkpoint

from aiovirt.engine.filled import Definition
from aiovirt.engine.kind import ObjectKind, Spec, with_uuid
from aiovirt.engine.objects import Entries, ObjectEntry
from aiovirt.engine.store import Store
from aiovirt.errors import Error, OperationInvalid
from aiovirt.model.orders.rule import DefineObject, ObjectOrder
from aiovirt.system import to_thread
from aiovirt.system.again import is_passing
from aiovirt.system.background import shielded
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["Definitions", "Marking", "Objects", "WithUUID"]

S = TypeVar("S", bound=Spec)
E = TypeVar("E", bound=ObjectEntry[Any])
log = get_logger("engine")


class Objects(Protocol[S, E]):
    """What an engine knows of the objects of one kind, and publishes of them."""

    @property
    def entries(self) -> Entries[S, E]: ...

    def defined(self, entry: E, *, anew: bool) -> None:
        """Its definition is another one now, or with ``anew`` False its first: that is published."""

    def undefined(self, entry: E) -> None:
        """It has no definition any more: that is published."""

    def forget_unless_wanted(self, entry: E) -> None:
        """An entry is there for a definition, a run, or an order that is about to make it one."""


class WithUUID(Protocol):
    """A request about one object."""

    @property
    def uuid(self) -> UUID: ...


class Marking(WithUUID, Protocol):
    """A request that an object is started with the host, or no longer."""

    @property
    def enabled(self) -> bool: ...


class Definitions(Generic[S, E]):
    """Those of ``objects``, as ``check`` lets them be, which raises ConfigUnsupported; ``store`` is None where nothing is kept."""

    def __init__(self, kind: ObjectKind[S], objects: Objects[S, E], check: Callable[[S], object], store: Store[S] | None) -> None:
        self._kind = kind
        self._objects = objects
        self._check = check
        self._store = store
        self._changing = anyio.Lock()

    def names(self) -> set[str]:
        """Of all that are defined, also those in no file any more."""
        return {entry.name for entry in self._objects.entries if entry.config is not None}

    async def define(self, request: DefineObject, by: Deadline) -> UUID:
        """Keeps a definition, once the object's turn has come.

        Raises XMLInvalid, ConfigUnsupported, the kind's ``exists``, SystemFailure.
        """
        spec = await self.read(request.xml, validate=request.validate)
        while True:
            entry = self._objects.entries.claim(spec)
            try:
                async with entry.turn(request, by):
                    if self._objects.entries.find(entry.uuid) is entry:
                        await shielded(self._keep(entry, spec, request.xml))
                        return entry.uuid
            finally:
                self._objects.forget_unless_wanted(entry)

    async def _keep(self, entry: E, spec: S, xml: str) -> None:
        """The files and the state, one with the other."""
        async with self._changing:
            if self._store:
                await self._store.put_definition(spec, xml)
            self._defined(entry, spec)

    def _defined(self, entry: E, spec: S) -> None:
        was_defined = entry.is_persistent
        entry.config, entry.is_unread = spec, False
        self._objects.defined(entry, anew=was_defined)

    async def edited(self, name: str) -> None:
        """The file of this definition may have been written or taken away by somebody else; what cannot be used is left alone."""
        assert self._store is not None
        async with self._changing:
            try:
                others = {entry.uuid for entry in self._objects.entries if entry.name != name}
                definition = await self._store.read_definition(name, others)
                entry = self._objects.entries.named(name)
                if definition is not None:
                    await self._take_in(definition, self._store)
                elif entry is not None and entry.is_persistent and await self._store.is_taken_away(name):
                    self._undefined(entry)
            except Error as error:
                if is_passing(error):
                    raise  # it may well be usable, and is looked at again
                self._store.leave_alone(name)
                log.error("a definition is left alone", name=name, error=str(error))

    async def _take_in(self, definition: Definition[S], store: Store[S]) -> None:
        spec = definition.spec
        self._check(spec)
        entry = self._objects.entries.claim(spec)  # what is refused is not filled in: its text may yet be mended
        try:
            if definition.is_new:
                await store.put_filled(definition)
            if entry.config != spec:
                entry.autostart = await store.is_autostarted(spec.name)
                self._defined(entry, spec)
        finally:
            self._objects.forget_unless_wanted(entry)

    async def set_autostart(self, request: Marking, _: Deadline) -> None:
        """Marks a definition, or no longer; raises OperationInvalid where there is none, SystemFailure."""
        await shielded(self._mark(self._objects.entries.get(request.uuid), enabled=request.enabled))

    async def _mark(self, entry: E, *, enabled: bool) -> None:
        async with self._changing:
            if entry.config is None:
                raise OperationInvalid(f"a transient {self._kind.name} cannot be started with the host", subject=entry.subject)
            if self._store:
                await self._store.set_autostart(entry.name, enabled=enabled)
            entry.autostart = enabled

    async def ask_autostart(self, request: WithUUID, _: Deadline) -> bool:
        """Whether it is marked."""
        await checkpoint()
        return self._objects.entries.get(request.uuid).autostart

    async def undefine(self, request: ObjectOrder, by: Deadline) -> None:
        """Forgets a definition; raises OperationInvalid where there is none, SystemFailure."""
        entry = self._objects.entries.get(request.uuid)
        async with entry.turn(request, by):
            self._objects.entries.check(entry)
            if not entry.is_persistent:
                raise OperationInvalid(f"a transient {self._kind.name} has no definition to forget", subject=entry.subject)
            await shielded(self._forget(entry))

    async def _forget(self, entry: E) -> None:
        async with self._changing:
            if self._store:
                await self._store.drop_definition(entry.name)
            self._undefined(entry)

    def _undefined(self, entry: E) -> None:
        entry.config, entry.is_unread, entry.autostart = None, False, False
        self._objects.undefined(entry)
        self._objects.forget_unless_wanted(entry)

    async def read(self, xml: str, *, validate: bool = False) -> S:
        """The spec, with its uuid; raises XMLInvalid, and ConfigUnsupported with all that is not to be had."""
        spec = await to_thread.run_sync(self._kind.parse, xml, self._check, validate)
        return spec if spec.uuid else with_uuid(spec, uuid4())
