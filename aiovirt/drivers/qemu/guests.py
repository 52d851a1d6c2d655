"""The guests of QEMU: how they are started and found again, and how each one's own monitor is spoken to.

A guest that is stuck costs its own callers their deadline and nobody else anything: nothing here
is shared between guests but the table that finds them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from aiovirt.drivers.door import Save, Sink, Target
from aiovirt.drivers.qemu import clock, command_line, commands, defaults, logs
from aiovirt.drivers.qemu.defaults import Capabilities
from aiovirt.drivers.qemu.emulator import Emulator, find_emulator
from aiovirt.drivers.qemu.guest import LAST_WORDS, Guest
from aiovirt.drivers.qemu.held import Held
from aiovirt.drivers.qemu.logs import LOG_LIMIT
from aiovirt.drivers.qemu.uuidlock import find_guest, lock_uuid
from aiovirt.errors import (
    ConfigUnsupported,
    ConnectionLost,
    Error,
    GuestFailed,
    OperationInvalid,
    OrderTimeout,
    ProtocolError,
    SystemFailure,
)
from aiovirt.model.lifecycle import Fact
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec, VirtType
from aiovirt.system import files, process, to_thread
from aiovirt.system.again import is_passing, log_failure
from aiovirt.system.background import shielded
from aiovirt.system.bytestream import connect_unix
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.system.log import get_logger
from aiovirt.system.sockets import listen_unix
from aiovirt.wire.qmp.protocol import DEFAULT_LIMIT

__all__ = ["Guests"]

LOG_TAIL: Final = 2000
LOG_SHOWN: Final = 256 * 1024
"""Bytes of a log that are shown when it is asked for."""
ADOPT_TIMEOUT: Final = 5.0
logger = get_logger("qemu")


class Guests:
    """Guests as QEMU processes.

    ``run_dir`` has their monitors' sockets, ``log_dir`` their logs, and ``lock_dir`` a lock for each uuid, which all engines of
    this user share; all exist. The guests' watching
    tasks live in ``tasks``. ``reply_limit`` is the largest QMP message that is read, in bytes.
    """

    def __init__(  # noqa: PLR0913 - a folder for each kind of file
        self, sink: Sink, tasks: TaskGroup, *, run_dir: Path, log_dir: Path, lock_dir: Path, reply_limit: int = DEFAULT_LIMIT
    ) -> None:
        self._sink = sink
        self._tasks = tasks
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._lock_dir = lock_dir
        self._guests: dict[int, Guest] = {}  # by the number of their uuid: a UUID takes long to hash
        self._unheld: dict[UUID, SystemFailure] = {}
        self._capabilities = Capabilities()
        self._deadlines = Deadlines()
        self._reply_limit = reply_limit

    async def open(self) -> None:
        """Looks at what this host can do, and begins to keep deadlines. Raises OSError where that cannot be told just now."""
        self._tasks.start_soon(self._deadlines.run)
        self._capabilities = Capabilities(has_kvm=await to_thread.run_sync(_has_kvm))

    async def bound_logs(self) -> None:
        """See :func:`aiovirt.drivers.qemu.logs.bound_logs`."""
        await logs.bound_logs(self._log_dir)

    def check(self, spec: DomainSpec) -> DomainSpec:
        """``spec`` with all that it leaves open; raises ConfigUnsupported."""
        filled = defaults.fill(spec, self._capabilities)
        command_line.check(filled)
        if filled.type is VirtType.KVM and not self._capabilities.has_kvm:
            raise ConfigUnsupported("a domain of type 'kvm' needs /dev/kvm, which cannot be opened here; type 'qemu' runs without")
        return filled

    # -- starting --------------------------------------------------------------------------

    async def start(self, domain: Target, *, paused: bool, by: Deadline) -> None:
        """Raises GuestFailed with its log's last lines when QEMU ends first, OrderTimeout when it does not get ready."""
        run, spec, save = domain.run, domain.live, domain.save
        assert run is not None
        assert spec is not None
        emulator = await to_thread.run_sync(find_emulator, spec)
        await to_thread.run_sync(clock.check_zone, spec)
        async with self._locked(run) as lock:
            log = self.log_path(run.name)
            run = replace(run, monitor=str(self._run_dir / f"{run.uuid}.monitor"))
            await save(run)
            try:
                begin = await to_thread.run_sync(files.rotate, log, LOG_LIMIT)
            except OSError as error:
                raise SystemFailure(f"cannot use the log {log}: {error.strerror}") from error
            guest: Guest | None = None
            try:
                guest = await shielded(self._launch(run, spec, emulator, log, lock))
                await save(guest.run)
                await self._bring_up(guest, paused=paused, save=save, by=by)
            except BaseException as error:
                # A launch that was held off from being cancelled has left its guest here all the same.
                guest = guest or self._guests.get(run.uuid.int)
                if guest is not None:
                    await shielded(self._abandon(guest))
                explained = await shielded(self._explained(error, guest, log, begin))
                if explained is error:
                    raise
                raise explained from error

    @asynccontextmanager
    async def _locked(self, run: RunRecord) -> AsyncIterator[BinaryIO]:
        """The lock of its uuid: its process takes it over, and has it as long as it lives. Raises OperationFailed."""
        taken: list[BinaryIO] = []
        path = self._lock_path(run)
        try:
            await shielded(to_thread.run_sync(lambda: taken.append(lock_uuid(path, run))))
            yield taken[0]
        except BaseException:
            for lock in taken:
                lock.close()
                await shielded(to_thread.run_sync(files.drop_lock, path))
            raise

    async def _launch(self, run: RunRecord, spec: DomainSpec, emulator: Emulator, log: Path, lock: BinaryIO) -> Guest:
        """The process and the task that watches over it."""
        started = await self._spawn(run, spec, emulator, log, lock)
        return await self._hold(replace(run, process=started.identity), spec, started)

    async def _spawn(self, run: RunRecord, spec: DomainSpec, emulator: Emulator, log: Path, lock: BinaryIO) -> process.Process:
        """The process, with the listening end of its monitor in its hands only."""
        try:
            listener = await to_thread.run_sync(listen_unix, run.monitor)
        except OSError as error:
            raise SystemFailure(f"cannot make the monitor's socket {run.monitor}: {error.strerror or error}") from error
        try:
            argv = command_line.command_line(spec, run.uuid, emulator=emulator, monitor_fd=listener.fileno(), now=time.time())
            return await process.spawn(argv, log=log, keep=[listener, lock], more=clock.environment(spec))
        except OSError as error:
            raise GuestFailed(f"cannot start {emulator.path}: {error.strerror}") from error
        finally:
            listener.close()
            lock.close()  # where its process began, that has it now

    async def _hold(self, run: RunRecord, spec: DomainSpec, held: process.Process) -> Guest:
        together = Held(held, self._lock_path(run))
        guest = Guest(run, spec, together, self._sink, self._on_ended, deadlines=self._deadlines, reply_limit=self._reply_limit)
        guest.reconnect = self.reconnect
        self._guests[run.uuid.int] = guest
        await self._tasks.start(guest.watch, name="guest")
        return guest

    async def _bring_up(self, guest: Guest, *, paused: bool, save: Save, by: Deadline) -> None:
        with by.scope() as scope:
            await guest.begin(await connect_unix(guest.run.monitor, signed=True), by)
            if guest.process.identity != guest.run.process:  # the emulator is a script, which has started QEMU
                guest.run = replace(guest.run, process=guest.process.identity)
                await save(guest.run)
            if paused:
                self._sink.fact(guest.run.uuid, Fact.LAUNCHED)
            else:
                await guest.execute(commands.cont, by)
            guest.look_again()
        if scope.cancelled_caught:
            raise OrderTimeout(f"QEMU was not ready within {by.timeout:g} s", sent=True)

    async def _abandon(self, guest: Guest) -> None:
        """Ends a guest that did not get ready, unless it is just ending by itself."""
        if guest.monitor_ended:
            with anyio.move_on_after(LAST_WORDS):
                await guest.exited.wait()
        guest.ended_by_itself = guest.exited.is_set
        try:
            await guest.kill(Deadline.after(ADOPT_TIMEOUT))
        except OrderTimeout:
            return  # it is watched on: EXITED follows when it does end
        await self._sweep(guest.run)

    async def _explained(self, error: BaseException, guest: Guest | None, log: Path, begin: int) -> BaseException:
        """The error to raise: of a QEMU that ended, how it did and what it said last; of one that talks garbage, that."""
        if guest is None or isinstance(error, TimeoutError) or not isinstance(error, OSError | ProtocolError):
            return error
        try:
            words = await to_thread.run_sync(_tail, log, begin)
        except OSError as failure:
            words = f"its log cannot be read: {failure.strerror}"
        how = f"{guest.status}: {_complaint(words)}" if guest.ended_by_itself else f"could not be spoken to: {error}"
        return GuestFailed(f"QEMU {how}", log=words, subject=f"domain/{guest.run.uuid}")

    async def _sweep(self, run: RunRecord) -> None:
        """The socket that nobody listens at any more."""
        try:
            await to_thread.run_sync(files.remove, Path(run.monitor))
        except OSError as error:
            logger.warning("a socket is left", file=run.monitor, error=str(error))

    def _on_ended(self, guest: Guest) -> None:
        if self._guests.get(guest.run.uuid.int) is guest:
            del self._guests[guest.run.uuid.int]

    def _lock_path(self, run: RunRecord) -> Path:
        return self._lock_dir / str(run.uuid)

    def log_path(self, name: str) -> Path:
        """Where QEMU's own words of the domain ``name`` are."""
        return self._log_dir / f"{name}.log"

    # -- finding again ---------------------------------------------------------------------

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        """By boot id, pid and start time; where that one is not known or gone, by who has its uuid's lock and its monitor."""
        held: dict[UUID, RunRecord | Error] = {}
        looked = await shielded(to_thread.run_sync(_look_for_all, [(self._lock_path(run), run) for run, _ in runs]))
        for (run, spec), found in zip(runs, looked, strict=True):
            self._unheld.pop(run.uuid, None)
            if isinstance(found, process.Process):
                held[run.uuid] = (await self._hold(replace(run, process=found.identity), spec, found)).run
            elif found is not None:
                held[run.uuid] = self._unheld[run.uuid] = _not_held(run, found)
            else:
                await self._sweep(run)
                self._sink.fact(run.uuid, Fact.EXITED)
        return held

    async def reconnect(self, uuid: UUID) -> None:
        """Opens its monitor, asks who and how it is, and reports that."""
        guest = self._guests.get(uuid.int)
        if guest is None or guest.is_met:
            return
        with guest.trying():
            try:
                stream = await connect_unix(guest.run.monitor, signed=True)
                if guest.exited.is_set:
                    async with stream:
                        return
                await guest.reattach(stream, Deadline.after(ADOPT_TIMEOUT))
            except Exception as error:  # noqa: BLE001 - whatever it is: it is this guest's
                if isinstance(error, ConnectionLost) and await guest.ends():
                    return
                if not (guest.is_retried and is_passing(error)):  # else whoever tries it again has told
                    log_failure(logger, "a guest cannot be spoken to", error, domain=guest.run.name)
                guest.give_up(error)

    async def watch_monitors(self) -> None:
        """Tries guests again that could not be spoken to, when a socket comes to where theirs was, until cancelled."""
        await logs.watch_monitors(self._run_dir, self._try_again)

    def _try_again(self, names: Container[str]) -> None:
        for guest in self._guests.values():
            if guest.is_unreached and ("" in names or f"{guest.run.uuid}.monitor" in names):
                self._tasks.start_soon(self.reconnect, guest.run.uuid)

    async def reached(self, uuid: UUID, by: Deadline) -> Guest:
        """The guest, with which speaking was tried once more where it could not be done."""
        guest = self.guest(uuid)
        if guest.is_unreached:
            with by.scope():
                await self.reconnect(uuid)
        return guest

    # -- orders ----------------------------------------------------------------------------

    async def settle(self, uuid: UUID, by: Deadline) -> None:
        """Waits for the late answers to orders that were cancelled, and asks how the guest is then."""
        if (guest := self._guests.get(uuid.int)) is not None:
            await guest.settle(by)

    async def execute(self, uuid: UUID, order: commands.Order, by: Deadline) -> None:
        """A command whose answer says nothing, in the guest's own session."""
        monitor = self.guest(uuid).ready_monitor or await (await self.reached(uuid, by)).usable_monitor(by)
        await order(monitor, by=by)

    async def destroy(self, uuid: UUID, by: Deadline, *, graceful: bool) -> None:
        """Ends the process, politely first; it needs no monitor."""
        guest = self.guest(uuid)
        await guest.destroy(by, graceful=graceful)
        await self._sweep(guest.run)

    async def log(self, name: str) -> str:
        """The end of its log, and of the one before where that is short."""
        try:
            return await to_thread.run_sync(_last_words, self.log_path(name))
        except OSError as error:
            raise SystemFailure(f"cannot read the log of {name}: {error.strerror}") from error

    def guest(self, uuid: UUID) -> Guest:
        """The guest that runs; raises OperationInvalid where none does, SystemFailure where it cannot be held."""
        try:
            return self._guests[uuid.int]
        except KeyError:
            if uuid in self._unheld:
                raise self._unheld[uuid] from None
            raise OperationInvalid("the domain is not running", subject=f"domain/{uuid}") from None


def _has_kvm() -> bool:
    try:
        Path("/dev/kvm").open("rb+", buffering=0).close()
    except OSError as error:
        if is_passing(error):
            raise  # it says nothing of KVM, and the answer is kept
        return False
    return True


def _look_for_all(runs: Sequence[tuple[Path, RunRecord]]) -> list[process.Process | OSError | None]:
    """What is found of each, with its lock; None for one that has ended."""
    return [_look_for(lock, run) for lock, run in runs]


def _look_for(lock: Path, run: RunRecord) -> process.Process | OSError | None:
    try:
        return find_guest(lock, run)
    except OSError as error:
        return error


def _not_held(run: RunRecord, why: OSError) -> SystemFailure:
    failure = SystemFailure(f"its process cannot be held: {why.strerror or why}", subject=f"domain/{run.uuid}")
    failure.__cause__ = why  # by which it is seen whether it is worth to look again
    return failure


def _last_words(log: Path) -> str:
    said = b""
    for path in (log, log.with_name(log.name + ".1")):
        with contextlib.suppress(FileNotFoundError), files.open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (LOG_SHOWN - len(said))))
            said = file.read(LOG_SHOWN - len(said)) + said
        if len(said) >= LOG_SHOWN:
            break
    return said.decode(errors="backslashreplace")


def _tail(log: Path, begin: int) -> str:
    """The last words in ``log``, none of those before ``begin``."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - LOG_TAIL))
        return file.read().decode(errors="replace")


def _complaint(words: str) -> str:
    """The line to show of a log: QEMU's last under its own name, without that, else the last."""
    own = [line.partition(": ")[2] for line in words.splitlines() if "qemu-system" in line.partition(": ")[0]]
    lines = own or words.strip().splitlines() or ["it said nothing"]
    return lines[-1]
