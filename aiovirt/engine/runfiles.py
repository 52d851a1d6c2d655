"""The records of what runs: for each object that is active, a file of JSON by which it can be found again.

A file that cannot be understood is reported and left alone, and its object is not started. Records are written one after another, the
newest of each object only. What a newer version wrote in a record, and this one does not know, is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final, Generic, Protocol, TypeVar
from uuid import UUID

import anyio
import msgspec

from aiovirt.engine.disk import on_disk, raise_passing
from aiovirt.errors import Error, SystemFailure
from aiovirt.system import files, to_thread
from aiovirt.system.again import keep_on, refused_by_system
from aiovirt.system.log import get_logger

__all__ = ["LoadedRecords", "Record", "RunFiles"]

LIMIT: Final = 4 * 1024 * 1024
WRITE_EVERY: Final = 0.05
"""Seconds for which the states of runs are gathered before they are written.

Written at once, while more orders come, they hold those up: from ``suspend`` to its event it takes 0.74 ms instead of 0.63, and 200 guests
that are started and destroyed four at a time have 649 records written instead of 476. (Medians on two cores that were not idle, asyncio:
17 runs each of the case "an order to its event" of ``benchmarks/bench_engine.py``, and ten of the guests.)
"""
log = get_logger("engine")


class Record(Protocol):
    """A Struct; ``id`` tells one run of an object from the next."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def version(self) -> int: ...

    @property
    def uuid(self) -> UUID: ...

    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=Record)
L = TypeVar("L")


class LoadedRecords(msgspec.Struct, Generic[L], frozen=True):
    """What was on disk; ``unread`` are the names, without ``.json``, of those that could not be read."""

    runs: tuple[L, ...]
    unread: frozenset[str]


class RunFiles(Generic[R]):
    """Those in ``folder``: of objects that messages call ``what``, in records of ``kind``, the newest version of which is ``version``."""

    def __init__(self, folder: Path, kind: type[R], *, version: int, what: str) -> None:
        self._folder = folder
        self._kind = kind
        self._version = version
        self._what = what
        self._lock = anyio.Lock()
        self._dirty: dict[UUID, R | None] = {}
        self._newer: dict[tuple[UUID, int], dict[str, object]] = {}  # by uuid and run: what a newer version wrote in its record
        self._news = anyio.Event()
        self._unread: frozenset[str] = frozenset()

    async def load(self, read: Callable[[R], L]) -> LoadedRecords[L]:
        """What ``read``, in a thread, makes of each record; reports those that it raises an Error for, and those that cannot be read.

        Raises SystemFailure where a shortage keeps it from that.
        """
        with refused_by_system("the host's files cannot be read"):
            loaded = await to_thread.run_sync(self._load, read)
        self._unread = loaded.unread
        return loaded

    # -- writing ---------------------------------------------------------------------------

    def note(self, uuid: UUID, run: R | None) -> None:
        """``run`` is how it stands now (None: it has ended); :meth:`write` puts it on disk soon."""
        if not self._unread or str(uuid) not in self._unread:
            self._dirty[uuid] = run
            self._news.set()

    async def save(self, run: R) -> None:
        """Puts ``run`` on disk now; raises SystemFailure, also where a record that cannot be read is in its place."""
        path = self._run(run.uuid)
        if path.stem in self._unread:
            raise SystemFailure(f"{path} is there and cannot be read: its {self._what} may be running; mend it or move it away first")
        self.note(run.uuid, run)
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
                    await self._write_one(uuid, run)
                except SystemFailure as failure:
                    failures[uuid] = failure
                else:
                    if self._dirty.get(uuid) is run:
                        del self._dirty[uuid]
        return failures

    async def _write_one(self, uuid: UUID, run: R | None) -> None:
        if run is None:
            await on_disk(files.remove, self._run(uuid))
        else:
            members = msgspec.to_builtins(run) | self._newer.get((uuid, run.id), {})
            await on_disk(files.write_whole, self._run(uuid), msgspec.json.format(msgspec.json.encode(members)))

    async def write(self) -> None:
        """Writes what is noted, whenever something is, until cancelled."""
        await keep_on(self._write, log, lost="run records are not written for now", back="run records are written again")

    async def _write(self, works: Callable[[], None]) -> None:
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
            log.error("a run record is not written", **{self._what: str(uuid)}, error=str(failure))

    # -- reading back ----------------------------------------------------------------------

    def _load(self, read: Callable[[R], L]) -> LoadedRecords[L]:
        unread: set[str] = set()
        runs = tuple(self._read_all(read, unread))
        return LoadedRecords(runs, frozenset(unread))

    def _read_all(self, read: Callable[[R], L], unread: set[str]) -> Iterator[L]:
        for path in files.ending_in(".json", self._folder):
            try:
                data = files.read_bounded(path, LIMIT)
                run = msgspec.json.decode(data, type=self._kind)
                if run.version > self._version:
                    raise SystemFailure(f"its version {run.version} is newer than {self._version}")
                if str(run.uuid) != path.stem:
                    raise SystemFailure(f"it is the record of {run.uuid}")
                if newer := self._unknown_members(data):
                    self._newer[run.uuid, run.id] = newer
                yield read(run)
            except (Error, OSError, msgspec.MsgspecError) as error:
                raise_passing(error)
                unread.add(path.stem)
                log.error("a run record is left alone", file=str(path), error=str(error))

    def _run(self, uuid: UUID) -> Path:
        return self._folder / f"{uuid}.json"

    def _unknown_members(self, data: bytes) -> dict[str, object]:
        members = msgspec.json.decode(data, type=dict[str, object])
        return {name: value for name, value in members.items() if name not in self._kind.__struct_fields__}
