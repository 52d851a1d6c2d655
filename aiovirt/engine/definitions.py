"""The definitions of a host: as files, as what is known of them, and as others edit them. The two change together."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import anyio
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from aiovirt.engine.domains import DOMAIN
from aiovirt.engine.entries import Entry
from aiovirt.engine.filled import Definition
from aiovirt.engine.records import Records
from aiovirt.engine.store import Store
from aiovirt.errors import Error, OperationInvalid
from aiovirt.model import orders
from aiovirt.model.lifecycle import Step
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason
from aiovirt.system import to_thread
from aiovirt.system.again import is_passing
from aiovirt.system.background import shielded
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["Definitions"]

log = get_logger("engine")


class Definitions:
    """Those of the domains in ``records``, as the driver's ``check`` lets them be; ``store`` is None where nothing is kept."""

    def __init__(self, records: Records, check: Callable[[DomainSpec], DomainSpec], store: Store[DomainSpec] | None) -> None:
        self._records = records
        self._check = check
        self._store = store
        self._changing = anyio.Lock()

    async def define(self, request: orders.Define, by: Deadline) -> UUID:
        """Keeps a definition, once the domain's turn has come; raises XMLInvalid, ConfigUnsupported, DomainExists, SystemFailure."""
        spec = await self.read(request.xml, validate=request.validate)
        while True:
            entry = self._records.entries.claim(spec)
            try:
                async with entry.turn(request, by):
                    if self._records.entries.find(entry.uuid) is entry:
                        await shielded(self._keep(entry, spec, request.xml))
                        return entry.uuid
            finally:
                self._records.forget_unless_wanted(entry)

    async def _keep(self, entry: Entry, spec: DomainSpec, xml: str) -> None:
        """The files and the state, one with the other."""
        async with self._changing:
            if self._store:
                await self._store.put_definition(spec, xml)
            self._defined(entry, spec)

    def _defined(self, entry: Entry, spec: DomainSpec) -> None:
        detail = Detail.UPDATED if entry.is_persistent else Detail.ADDED
        entry.config, entry.is_unread = spec, False
        view = self._records.bus.folded.domains.get(entry.uuid)
        state, reason = (view.state, view.reason) if view else (DomainState.SHUTOFF, Reason.UNKNOWN)
        self._records.publish_step(entry, Step(Lifecycle.DEFINED, detail, state, reason), cause=entry.cause)
        self._records.note_run(entry)

    async def edited(self, name: str) -> None:
        """The file of this definition may have been written or taken away by somebody else; what cannot be used is left alone."""
        assert self._store is not None
        async with self._changing:
            try:
                others = {entry.uuid for entry in self._records.entries if entry.name != name}
                definition = await self._store.read_definition(name, others)
                entry = self._records.entries.named(name)
                if definition is not None:
                    await self._take_in(definition, self._store)
                elif entry is not None and entry.is_persistent and await self._store.is_taken_away(name):
                    self._undefined(entry)
            except Error as error:
                if is_passing(error):
                    raise  # it may well be usable, and is looked at again
                self._store.leave_alone(name)
                log.error("a definition is left alone", name=name, error=str(error))

    async def _take_in(self, definition: Definition[DomainSpec], store: Store[DomainSpec]) -> None:
        spec = definition.spec
        self._check(spec)
        entry = self._records.entries.claim(spec)  # what is refused is not filled in: its text may yet be mended
        try:
            if definition.is_new:
                await store.put_filled(definition)
            if entry.config != spec:
                entry.autostart = await store.is_autostarted(spec.name)
                self._defined(entry, spec)
        finally:
            self._records.forget_unless_wanted(entry)

    async def set_autostart(self, request: orders.SetAutostart, _: Deadline) -> None:
        """Marks a definition, or no longer; raises OperationInvalid where there is none, SystemFailure."""
        await shielded(self._mark(self._records.entries.get(request.uuid), enabled=request.enabled))

    async def _mark(self, entry: Entry, *, enabled: bool) -> None:
        async with self._changing:
            if entry.config is None:
                raise OperationInvalid("a transient domain cannot be started with the host", subject=entry.subject)
            if self._store:
                await self._store.set_autostart(entry.name, enabled=enabled)
            entry.autostart = enabled

    async def ask_autostart(self, request: orders.AskAutostart, _: Deadline) -> bool:
        """Whether it is marked."""
        await checkpoint()
        return self._records.entries.get(request.uuid).autostart

    async def undefine(self, request: orders.Undefine, by: Deadline) -> None:
        """Forgets a definition; raises OperationInvalid where there is none, SystemFailure."""
        entry = self._records.entries.get(request.uuid)
        async with entry.turn(request, by):
            self._records.entries.check(entry)
            if not entry.is_persistent:
                raise OperationInvalid("a transient domain has no definition to forget", subject=entry.subject)
            await shielded(self._forget(entry))

    async def _forget(self, entry: Entry) -> None:
        async with self._changing:
            if self._store:
                await self._store.drop_definition(entry.name)
            self._undefined(entry)

    def _undefined(self, entry: Entry) -> None:
        entry.config, entry.is_unread, entry.autostart = None, False, False
        view = self._records.bus.folded.domains[entry.uuid]
        self._records.publish_step(entry, Step(Lifecycle.UNDEFINED, Detail.REMOVED, view.state, view.reason), cause=entry.cause)
        self._records.note_run(entry)
        self._records.forget_unless_wanted(entry)

    async def read(self, xml: str, *, validate: bool = False) -> DomainSpec:
        """The spec, with its uuid; raises XMLInvalid, and ConfigUnsupported with all that is not to be had."""
        spec = await to_thread.run_sync(DOMAIN.parse, xml, self._check, validate)
        return spec if spec.uuid else replace(spec, uuid=uuid4())
