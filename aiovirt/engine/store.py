"""What a host keeps on disk: definitions as XML that people can read, and a record of each run.

A file that cannot be understood is reported and left alone, and its name is not used for anything
else. Changes of one kind are written one after another, the newest of each domain only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVarTuple
from uuid import UUID

import anyio
import msgspec

from aiovirt.engine.filled import Definition, Named, digest_of, drop_filled, read_definition, text_to_keep, write_filled
from aiovirt.engine.paths import Folders
from aiovirt.errors import DomainExists, Error, SystemFailure
from aiovirt.model.record import RECORD_VERSION, RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.system import files, to_thread
from aiovirt.system.again import is_passing, keep_on, refused_by_system
from aiovirt.system.background import shielded
from aiovirt.system.log import get_logger
from aiovirt.system.reserve import RESERVE

__all__ = ["Loaded", "LoadedRun", "Store"]

LIMIT: Final = 4 * 1024 * 1024
WRITE_EVERY: Final = 0.05
"""Seconds for which the states of runs are gathered before they are written."""
Ts = TypeVarTuple("Ts")
log = get_logger("engine")


class LoadedRun(msgspec.Struct, frozen=True):
    """A record and what its XML says; ``is_partial`` where a newer version wrote it and only a part of that can be read."""

    run: RunRecord
    spec: DomainSpec
    is_partial: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """What was on disk: each definition, each run, what is not to be touched, and what is to be started."""

    definitions: tuple[DomainSpec, ...]
    runs: tuple[LoadedRun, ...]
    unreadable: frozenset[str]
    unread_runs: frozenset[str]
    autostart: frozenset[str] = frozenset()


class Store:
    """The files of one host."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock = anyio.Lock()
        self._dirty: dict[UUID, RunRecord | None] = {}
        self._newer: dict[tuple[UUID, int], dict[str, object]] = {}  # by uuid and run: what a newer version wrote in its record
        self._news = anyio.Event()
        self._unreadable: frozenset[str] = frozenset()
        self._unread_runs: frozenset[str] = frozenset()

    async def load(self) -> Loaded:
        """Reads everything; reports what it cannot read. Raises SystemFailure where a shortage keeps it from that."""
        with refused_by_system("the host's files cannot be read"):
            loaded = await to_thread.run_sync(self._load)
        self._unreadable, self._unread_runs = loaded.unreadable, loaded.unread_runs
        return loaded

    # -- definitions -----------------------------------------------------------------------

    async def put_definition(self, spec: DomainSpec, xml: str) -> None:
        """Keeps a definition as ``xml`` says it, and as ``spec``: all that it is.

        Raises DomainExists where a file of that name could not be read, SystemFailure.
        """
        if spec.name in self._unreadable:
            raise DomainExists(f"{self._definition(spec.name)} is there and cannot be read; mend it or move it away first")
        async with self._lock:
            await _on_disk(_put, self._definition(spec.name), spec, xml)

    async def put_filled(self, definition: Definition) -> None:
        """Keeps what a definition is whose text is there; raises SystemFailure where nothing else says which domain it is."""
        async with self._lock:
            await _on_disk(_fill, self._definition(definition.spec.name), definition)

    async def drop_definition(self, name: str) -> None:
        """Forgets a definition, and that it was to be started; raises SystemFailure, also where its file was edited badly."""
        if name in self._unreadable:
            raise SystemFailure(f"{self._definition(name)} cannot be read; mend it or move it away first")
        async with self._lock:
            await _on_disk(files.remove, self._autostart(name))
            await _on_disk(files.remove, self._definition(name))
            await _on_disk(drop_filled, self._definition(name))

    async def read_definition(self, name: str, others: Container[UUID]) -> Definition | None:
        """The definition of this name as its file has it now; None where there is none. Raises Error for one that cannot be used.

        A uuid of ``others`` it has only where it says so itself.
        """
        definition = await to_thread.run_sync(read_definition, self._definition(name), others)
        self._unreadable -= {name}
        return definition

    async def is_taken_away(self, name: str) -> bool:
        """Whether the definition of this name is no file in the folder; one that is gone itself, or comes back, has taken none away."""
        return await to_thread.run_sync(files.is_taken_away, self._definition(name))

    def leave_alone(self, name: str) -> None:
        """What is in the file of this name cannot be used, and is nobody's to write over but who has written it."""
        self._unreadable |= {name}

    @property
    def left_alone(self) -> frozenset[str]:
        """The names of those that could not be used."""
        return self._unreadable

    async def names(self) -> set[str]:
        """The names of all that are files now."""
        return await to_thread.run_sync(lambda: {path.stem for path in files.ending_in(".xml", self.folder)})

    async def is_autostarted(self, name: str) -> bool:
        """Whether the definition of this name is marked to be started with the host."""
        return await to_thread.run_sync(self._autostart(name).is_symlink)

    async def set_autostart(self, name: str, *, enabled: bool) -> None:
        """Whether a definition is to be started with the host; raises SystemFailure."""
        async with self._lock:
            await _on_disk(_link if enabled else files.remove, self._autostart(name))

    @property
    def folder(self) -> Path:
        """Where the definitions are, each in a file of its name."""
        return self._folders.definitions

    async def first_in_this_boot(self, boot_id: str) -> bool:
        """Whether no engine of this host has asked that before, since it was booted; raises SystemFailure."""
        mark = self._folders.autostart_mark
        try:
            if await to_thread.run_sync(files.read_bounded, mark, LIMIT) == boot_id.encode():
                return False
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SystemFailure(f"{mark}: {error.strerror}") from error
        await _on_disk(files.write_whole, mark, boot_id.encode())
        return True

    # -- runs ------------------------------------------------------------------------------

    def note_run(self, uuid: UUID, run: RunRecord | None) -> None:
        """``run`` is how it stands now (None: it has ended); :meth:`write_runs` puts it on disk soon."""
        if not self._unread_runs or str(uuid) not in self._unread_runs:
            self._dirty[uuid] = run
            self._news.set()

    async def save_run(self, run: RunRecord) -> None:
        """Puts ``run`` on disk now; raises SystemFailure, also where a record that cannot be read is in its place."""
        path = self._run(run.uuid)
        if path.stem in self._unread_runs:
            raise SystemFailure(f"{path} is there and cannot be read: its guest may be running; mend it or move it away first")
        self.note_run(run.uuid, run)
        if (failure := (await self.flush()).get(run.uuid)) is not None:
            raise failure

    async def flush(self) -> dict[UUID, SystemFailure]:
        """Puts all that was noted on disk; returns what could not be written, which stays noted."""
        failures: dict[UUID, SystemFailure] = {}
        async with self._lock:
            while waiting := [uuid for uuid in self._dirty if uuid not in failures]:
                uuid = waiting[0]
                run = self._dirty[uuid]
                try:
                    await self._write_run(uuid, run)
                except SystemFailure as failure:
                    failures[uuid] = failure
                else:
                    if self._dirty.get(uuid) is run:
                        del self._dirty[uuid]
        return failures

    async def _write_run(self, uuid: UUID, run: RunRecord | None) -> None:
        if run is None:
            await _on_disk(files.remove, self._run(uuid))
        else:
            members = msgspec.to_builtins(run) | self._newer.get((uuid, run.id), {})
            await _on_disk(files.write_whole, self._run(uuid), msgspec.json.format(msgspec.json.encode(members)))

    async def write_runs(self) -> None:
        """Writes what is noted, whenever something is, until cancelled."""
        await keep_on(self._write_runs, log, lost="run records are not written for now", back="run records are written again")

    async def _write_runs(self, works: Callable[[], None]) -> None:
        while True:
            self._news = anyio.Event()
            for failure in (await self.flush()).values():
                raise failure
            works()
            await self._news.wait()
            with anyio.move_on_after(WRITE_EVERY):  # what a guest is in between is nobody's record
                await anyio.sleep_forever()

    async def try_flush(self) -> None:
        """Writes what is noted; where that fails it is logged, and kept for the next time."""
        for uuid, failure in (await self.flush()).items():
            log.error("a run record is not written", domain=str(uuid), error=str(failure))

    # -- reading back ----------------------------------------------------------------------

    def _load(self) -> Loaded:
        unreadable: set[str] = set()
        definitions = tuple(self._load_definitions(unreadable))
        unread: set[str] = set()
        runs = tuple(self._load_runs(unread))
        autostart = frozenset(path.stem for path in files.ending_in(".xml", self._folders.autostarts))
        return Loaded(definitions, runs, frozenset(unreadable), frozenset(unread), autostart)

    def _load_definitions(self, unreadable: set[str]) -> Iterator[DomainSpec]:
        found = dict(self._found_definitions(unreadable))
        taken: dict[UUID, str] = {}
        for path in sorted(found, key=lambda path: (found[path].rank, path)):
            try:
                definition = self._settled(path, found[path], taken)
                spec = definition.spec
                assert spec.uuid is not None
                if definition.is_new:
                    _fill(path, definition)
            except (Error, OSError) as error:
                _raise_passing(error)
                unreadable.add(path.stem)
                log.error("a definition is left alone", file=str(path), error=str(error))
            else:
                taken[spec.uuid] = spec.name
                yield spec

    def _found_definitions(self, unreadable: set[str]) -> Iterator[tuple[Path, Definition]]:
        for path in files.ending_in(".xml", self._folders.definitions):
            try:
                if (definition := read_definition(path)) is not None:
                    yield path, definition
            except (Error, OSError) as error:
                _raise_passing(error)
                unreadable.add(path.stem)
                log.error("a definition is left alone", file=str(path), error=str(error))

    @staticmethod
    def _settled(path: Path, definition: Definition, taken: Mapping[UUID, str]) -> Definition:
        """With a uuid that is nobody else's; raises SystemFailure where its text has another one's."""
        assert definition.spec.uuid is not None
        other = taken.get(definition.spec.uuid)
        if other is None:
            return definition
        again = read_definition(path, taken) if definition.is_new and definition.named is Named.BEFORE else None
        if again is None:
            raise SystemFailure(f"its uuid is that of {other!r}")
        return again

    def _load_runs(self, unread: set[str]) -> Iterator[LoadedRun]:
        for path in files.ending_in(".json", self._folders.runs):
            try:
                data = files.read_bounded(path, LIMIT)
                run = msgspec.json.decode(data, type=RunRecord)
                if run.version > RECORD_VERSION:
                    raise SystemFailure(f"its version {run.version} is newer than {RECORD_VERSION}")
                if str(run.uuid) != path.stem:
                    raise SystemFailure(f"it is the record of {run.uuid}")
                if newer := _unknown_members(data):
                    self._newer[run.uuid, run.id] = newer
                yield _loaded_run(run)
            except (Error, OSError, msgspec.MsgspecError) as error:
                _raise_passing(error)
                unread.add(path.stem)
                log.error("a run record is left alone", file=str(path), error=str(error))

    def _run(self, uuid: UUID) -> Path:
        return self._folders.runs / f"{uuid}.json"

    def _definition(self, name: str) -> Path:
        return self._folders.definitions / f"{name}.xml"

    def _autostart(self, name: str) -> Path:
        return self._folders.autostarts / f"{name}.xml"


def _raise_passing(error: Exception) -> None:
    """What cannot be read just now is not unreadable: whoever begins has to begin again."""
    if is_passing(error):
        raise error


def _loaded_run(run: RunRecord) -> LoadedRun:
    """Raises XMLInvalid where nothing says which guest it is."""
    from aiovirt.libvirtxml import parse, parse_partly

    try:
        return LoadedRun(run, parse(run.xml))
    except Error as error:
        spec = parse_partly(run.xml)
        log.warning("a guest runs with more than this version knows", domain=run.name, why=str(error))
        return LoadedRun(run, spec, is_partial=True)


def _unknown_members(data: bytes) -> dict[str, object]:
    members = msgspec.json.decode(data, type=dict[str, object])
    return {name: value for name, value in members.items() if name not in RunRecord.__struct_fields__}


def _put(path: Path, spec: DomainSpec, xml: str) -> None:
    """The text comes last: up to then the definition is the one before, or none."""
    text = text_to_keep(xml, spec)
    write_filled(path, Definition(spec, digest_of(text)))
    files.write_whole(path, text)


def _fill(path: Path, definition: Definition) -> None:
    """Where the disk takes nothing it can be used all the same, if it is known otherwise which domain it is."""
    try:
        write_filled(path, definition)
    except OSError as error:
        if definition.named is Named.NOW:
            raise
        log.warning("what a definition was filled in with is not kept", file=str(path), error=str(error))


def _link(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.symlink_to(f"../{path.name}")
    files.sync_folder(path.parent)


async def _on_disk(work: Callable[[*Ts], None], *arguments: *Ts) -> None:
    """Runs blocking file ``work`` in a thread, to its end; an OSError becomes a SystemFailure."""
    try:
        await shielded(to_thread.run_sync(RESERVE.run, work, *arguments))
    except OSError as error:
        raise SystemFailure(f"{error.filename or 'a file'}: {error.strerror}") from error
