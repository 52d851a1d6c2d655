"""The definitions of one kind of object on disk, as XML that people can read; links beside them say what is started with the host.

A file that cannot be understood is reported and left alone, and its name is not used for anything else. Changes are written one after
another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar
from uuid import UUID

import anyio
from msgspec import Struct

from aiovirt.engine.disk import on_disk, raise_passing
from aiovirt.engine.filled import Definition, Named, digest_of, drop_filled, read_definition, text_to_keep, write_filled
from aiovirt.engine.kind import ObjectKind, Spec
from aiovirt.engine.paths import AUTOSTART
from aiovirt.errors import Error, SystemFailure
from aiovirt.system import files, to_thread
from aiovirt.system.again import refused_by_system
from aiovirt.system.log import get_logger

__all__ = ["Loaded", "Store"]

S = TypeVar("S", bound=Spec)
log = get_logger("engine")


class Loaded(Struct, Generic[S], frozen=True):
    """What was on disk: each definition, and the names of those that are not to be touched, and of those that are to be started."""

    definitions: tuple[S, ...]
    unreadable: frozenset[str]
    autostart: frozenset[str] = frozenset()


class Store(Generic[S]):
    """Those of ``kind`` in ``folder``, each in a file of its name: see :func:`aiovirt.engine.paths.definition_folders`."""

    def __init__(self, kind: ObjectKind[S], folder: Path) -> None:
        self.folder = folder
        self._kind = kind
        self._lock = anyio.Lock()
        self._unreadable: frozenset[str] = frozenset()

    async def load(self) -> Loaded[S]:
        """Reads everything; reports what it cannot read. Raises SystemFailure where a shortage keeps it from that."""
        with refused_by_system("the host's files cannot be read"):
            loaded = await to_thread.run_sync(self._load)
        self._unreadable = loaded.unreadable
        return loaded

    async def put_definition(self, spec: S, xml: str) -> None:
        """Keeps a definition as ``xml`` says it, and as ``spec``: all that it is.

        Raises the kind's ``exists`` where a file of that name could not be read, SystemFailure.
        """
        if spec.name in self._unreadable:
            raise self._kind.exists(f"{self._definition(spec.name)} is there and cannot be read; mend it or move it away first")
        async with self._lock:
            await on_disk(_put, self._kind, self._definition(spec.name), spec, xml)

    async def put_filled(self, definition: Definition[S]) -> None:
        """Keeps what a definition is whose text is there; raises SystemFailure where nothing else says which object it is."""
        async with self._lock:
            await on_disk(_fill, self._kind, self._definition(definition.spec.name), definition)

    async def drop_definition(self, name: str) -> None:
        """Forgets a definition, and that it was to be started; raises SystemFailure, also where its file was edited badly."""
        if name in self._unreadable:
            raise SystemFailure(f"{self._definition(name)} cannot be read; mend it or move it away first")
        async with self._lock:
            await on_disk(files.remove, self._autostart(name))
            await on_disk(files.remove, self._definition(name))
            await on_disk(drop_filled, self._definition(name))

    async def read_definition(self, name: str, others: Container[UUID]) -> Definition[S] | None:
        """The definition of this name as its file has it now; None where there is none. Raises Error for one that cannot be used.

        A uuid of ``others`` it has only where it says so itself.
        """
        definition = await to_thread.run_sync(read_definition, self._kind, self._definition(name), others)
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
            await on_disk(_link if enabled else files.remove, self._autostart(name))

    # -- reading back ----------------------------------------------------------------------

    def _load(self) -> Loaded[S]:
        unreadable: set[str] = set()
        definitions = tuple(self._load_definitions(unreadable))
        autostart = frozenset(path.stem for path in files.ending_in(".xml", self.folder / AUTOSTART))
        return Loaded(definitions, frozenset(unreadable), autostart)

    def _load_definitions(self, unreadable: set[str]) -> Iterator[S]:
        found = dict(self._found_definitions(unreadable))
        taken: dict[UUID, str] = {}
        for path in sorted(found, key=lambda path: (found[path].rank, path)):
            try:
                definition = self._settled(path, found[path], taken)
                spec = definition.spec
                assert spec.uuid is not None
                if definition.is_new:
                    _fill(self._kind, path, definition)
            except (Error, OSError) as error:
                raise_passing(error)
                unreadable.add(path.stem)
                log.error("a definition is left alone", file=str(path), error=str(error))
            else:
                taken[spec.uuid] = spec.name
                yield spec

    def _found_definitions(self, unreadable: set[str]) -> Iterator[tuple[Path, Definition[S]]]:
        for path in files.ending_in(".xml", self.folder):
            try:
                if (definition := read_definition(self._kind, path)) is not None:
                    yield path, definition
            except (Error, OSError) as error:
                raise_passing(error)
                unreadable.add(path.stem)
                log.error("a definition is left alone", file=str(path), error=str(error))

    def _settled(self, path: Path, definition: Definition[S], taken: Mapping[UUID, str]) -> Definition[S]:
        """With a uuid that is nobody else's; raises SystemFailure where its text has another one's."""
        assert definition.spec.uuid is not None
        other = taken.get(definition.spec.uuid)
        if other is None:
            return definition
        again = read_definition(self._kind, path, taken) if definition.is_new and definition.named is Named.BEFORE else None
        if again is None:
            raise SystemFailure(f"its uuid is that of {other!r}")
        return again

    def _definition(self, name: str) -> Path:
        return self.folder / f"{name}.xml"

    def _autostart(self, name: str) -> Path:
        return self.folder / AUTOSTART / f"{name}.xml"


def _put(kind: ObjectKind[S], path: Path, spec: S, xml: str) -> None:
    """The text comes last: up to then the definition is the one before, or none."""
    text = text_to_keep(kind, xml, spec)
    write_filled(kind, path, Definition(spec, digest_of(text)))
    files.write_whole(path, text)


def _fill(kind: ObjectKind[S], path: Path, definition: Definition[S]) -> None:
    """Where the disk takes nothing it can be used all the same, if it is known otherwise which object it is."""
    try:
        write_filled(kind, path, definition)
    except OSError as error:
        if definition.named is Named.NOW:
            raise
        log.warning("what a definition was filled in with is not kept", file=str(path), error=str(error))


def _link(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.symlink_to(f"../{path.name}")
    files.sync_folder(path.parent)
