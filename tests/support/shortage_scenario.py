"""A life of an engine with a shortage in one of its phases: what must be as if there had been none, and what must be told.

The engine (:mod:`tests.support.starved`) takes up a guest that runs, and goes through its phases: it starts, others attach and
give orders, things happen, its journal and its guest's log are rotated, and it stops. :func:`live` leads one through it, and gives
back all that is wrong.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import msgspec
from msgspec import Struct

import aiovirt
from aiovirt import DomainState, EventGap, Host
from aiovirt.drivers.qemu.logs import LOG_LIMIT
from aiovirt.errors import Error
from aiovirt.events import Event, HostEvent, HostStarted, JournalDegraded, MonitorEvent, MonitorHealth, NetdevAdded, Subscription
from tests.real.conftest import Place
from tests.support.shortage import TOLD_AS, Kind, Mode
from tests.support.starved import Do, Told

__all__ = ["BACKENDS", "PHASES", "Case", "Life", "Starved", "live"]

PHASES: Final = ("start", "attach", "order", "event", "rotate", "stop")
BACKENDS: Final = ("asyncio", "uvloop", "trio")
PATIENCE: Final = 20.0
"""Seconds for what has to happen before long."""
SETTLING: Final = 8.0
"""Seconds within which all is as before, once there is enough again: what is tried again is tried by then."""
QUIET: Final = 0.3
"""Seconds after which what follows from one phase is done, and on disk."""
LOOK: Final = 0.05


class Case(Struct, frozen=True):
    """``kind`` is None for a life without a shortage. ``place`` and ``nth`` say which call is the first to fail."""

    backend: str
    phase: str = "start"
    kind: Kind | None = None
    mode: Mode = Mode.THROUGHOUT
    place: str | None = None
    nth: int = 1

    def __str__(self) -> str:
        words = (self.kind or "none", self.phase, self.backend, self.mode, self.place)
        return "-".join(str(word) for word in words if word) + (f"#{self.nth}" if self.nth > 1 else "")


class Life(Struct):
    """How it went: what is wrong, what the engine has at its end, what was struck, and all that anybody was told."""

    complaints: list[str]
    told: Told
    failed: dict[str, int]
    words: str


class Gone(Exception):
    """The engine has ended."""


class Starved:
    """The engine's process."""

    def __init__(self, process: anyio.abc.Process, errors: Path) -> None:
        self._process = process
        self._rest = b""
        self._errors = errors
        self.last = Told("opening")

    @classmethod
    @asynccontextmanager
    async def begin(cls, place: Place, backend: str, first: Do, *words: str) -> AsyncIterator[Starved]:
        """Holding, or ended."""
        errors = place.folder / "stderr"
        with errors.open("ab") as stderr:
            command = [sys.executable, "-m", "tests.support.starved", str(place.folder), backend, *words]
            async with await anyio.open_process(command, stderr=stderr) as process:
                starved = cls(process, errors)
                try:
                    await starved._send(first)
                    with contextlib.suppress(Gone), anyio.fail_after(PATIENCE):
                        while starved.last.state == "opening":
                            await starved._hear()
                    yield starved
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def do(self, do: Do) -> Told:
        """What it has then. Raises Gone, TimeoutError when it does not answer."""
        with anyio.fail_after(PATIENCE):
            await self._send(do)
            await self._hear()
        return self.last

    async def stop(self, do: Do) -> Told:
        """How it ended."""
        with anyio.fail_after(2 * PATIENCE):
            with contextlib.suppress(Gone):
                await self._send(do)
            await self.drain()
            if await self._process.wait():
                self.last.state, self.last.typed = f"status {self._process.returncode} after {self.last.state}", False
        return self.last

    async def drain(self) -> None:
        """All that it said before it ended."""
        with contextlib.suppress(Gone):
            while True:
                await self._hear()

    async def _send(self, do: Do) -> None:
        assert self._process.stdin
        try:
            await self._process.stdin.send(msgspec.json.encode(do) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Gone from None

    async def _hear(self) -> None:
        assert self._process.stdout
        while b"\n" not in self._rest:
            try:
                self._rest += await self._process.stdout.receive()
            except anyio.EndOfStream:
                raise Gone from None
        line, _, self._rest = self._rest.partition(b"\n")
        self.last = msgspec.json.decode(line, type=Told)


class Scenario:
    """What is done in each phase, and what was seen."""

    def __init__(self, case: Case, place: Place, baseline: Told | None) -> None:
        self.case = case
        self.place = place
        self.baseline = baseline
        self.complaints: list[str] = []
        self.words: list[str] = []
        self.first_cursor = ""
        self.settled_by = 0.0

    def complain(self, what: str) -> None:
        self.complaints.append(what)

    async def attempt(self, what: str, work: Callable[[], Awaitable[object]], *, must: bool = False) -> bool:
        """Whether it could be done; with ``must`` nothing excuses it, else an error of the house does."""
        try:
            with anyio.fail_after(PATIENCE):
                await work()
        except Error as error:
            self.words.append(f"{type(error).__name__}: {error}")
            if must:
                self.complain(f"afterwards, {what}: {type(error).__name__}: {error}")
        except TimeoutError:
            self.complain(f"{what}: nothing within {PATIENCE:g} s")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is none of the house
            self.complain(f"{what}: {type(error).__name__}: {error}")
        else:
            return True
        return False

    # -- before ----------------------------------------------------------------------------

    async def set_up(self) -> None:
        """A guest that runs, and definitions to work with."""
        async with aiovirt.connect(self.place.uri) as host:
            self.first_cursor = host.events.cursor
            standing = await host.define(self.place.spec("standing"))
            await standing.start()
            for name in ("ordered", "after"):
                await host.define(self.place.spec(name))

    # -- the phases, each under a shortage -------------------------------------------------

    async def attach(self, host: Host) -> None:
        async def attach() -> None:
            async with self.place.attach() as another:
                assert another.domains()

        del host
        for _ in range(2):
            await self.attempt("attach", attach)

    async def order(self, host: Host) -> None:
        ordered = host.domain("ordered")
        await self.attempt("define", lambda: host.define(self.place.spec("defined")))
        await self.attempt("start", lambda: ordered.start(paused=True))
        if ordered.is_active:
            await self.attempt("resume", ordered.resume)
            await self.attempt("suspend", ordered.suspend)
            await self.attempt("qmp", lambda: ordered.qmp("query-qmp-schema"))
        await self.attempt("set_autostart", ordered.set_autostart)
        await self.attempt("autostart", ordered.get_autostart)
        await self.attempt("xml", ordered.xml)
        await self.attempt("log", ordered.log)
        if ordered.is_active:
            await self.attempt("destroy", ordered.destroy)
        await self.attempt("undefine", ordered.undefine)

    async def event(self, host: Host) -> None:
        standing = host.domain("standing")
        await self.attempt("qmp stop", lambda: standing.qmp("stop"))
        await self.attempt("qmp cont", lambda: standing.qmp("cont"))
        _ip("link add s0 type bridge", "link set s0 up", "link set s0 mtu 1400")
        self._edit("edited-meanwhile")
        await anyio.sleep(0.3)  # what follows from it happens in its own time: it need not

    async def rotate(self, host: Host) -> None:
        before = self._segments()
        for mtu in range(60):
            _ip(f"link set lo mtu {65000 + mtu}")
        self._grow_log()
        with anyio.move_on_after(2):
            while self._segments() == before:
                await anyio.sleep(LOOK)
        del host

    def _segments(self) -> int:
        return max(int(path.stem) for path in (self.place.folder / "engine/state/journal").glob("*.journal"))

    def _log(self) -> Path:
        (log,) = (self.place.folder / "engine/state").rglob("standing.log")
        return log

    def _grow_log(self) -> None:
        with self._log().open("ab") as file:
            file.write(b"x" * (LOG_LIMIT + 4096))

    def _edit(self, name: str) -> None:
        """What somebody else writes."""
        folder = self.place.folder / "engine/config/qemu"
        text = (folder / "after.xml").read_text()
        new = text.replace("<name>after</name>", f"<name>{name}</name>")
        lines = [line for line in new.splitlines(keepends=True) if "<uuid>" not in line]
        (folder / f"{name}.xml").write_text("".join(lines))

    def hear(self, news: Subscription[Event]) -> None:
        """What was told of the engine itself meanwhile."""
        with contextlib.suppress(anyio.WouldBlock):
            while True:
                event = news.receive_nowait()
                self.words.append(f"{type(event).__name__} {event}")

    # -- afterwards ------------------------------------------------------------------------

    async def afterwards(self) -> None:
        """All that an engine does is done."""
        self.settled_by = anyio.current_time() + SETTLING
        await self.attempt("attach", self._all_is_done, must=True)

    async def _all_is_done(self) -> None:
        async with self.place.attach() as host:
            after, standing = host.domain("after"), host.domain("standing")
            await self.attempt("start", lambda: after.start(paused=True), must=True)
            if after.is_active:
                await self.attempt("destroy", after.destroy, must=True)
            await self.until("the guest runs", lambda: standing.state is DomainState.RUNNING)
            await self.until("the guest's monitor is connected", lambda: standing.status.monitor is MonitorHealth.CONNECTED)
            _ip("link add s9 type bridge")
            await self.until("a link that comes is seen", lambda: "s9" in {nic.name for nic in host.devices.netdevs()})
            self._edit("edited-afterwards")
            await self.until("a definition that is edited is seen", lambda: "edited-afterwards" in {one.name for one in host.domains()})
            if self.case.phase == "event":
                await self.until("what was edited meanwhile is seen", lambda: "edited-meanwhile" in {one.name for one in host.domains()})
                await self.until("a link that came meanwhile is seen", lambda: "s0" in {nic.name for nic in host.devices.netdevs()})
            self._grow_log()
            await self.until("the guest's log is bounded", lambda: self._log().stat().st_size <= LOG_LIMIT)

    async def until(self, what: str, is_so: Callable[[], bool]) -> None:
        with anyio.move_on_after(max(self.settled_by - anyio.current_time(), 1)):
            while not is_so():
                await anyio.sleep(LOOK)
            return
        self.complain(f"afterwards, not so: {what}")

    async def compare(self, starved: Starved) -> None:
        """The engine has what it has without a shortage."""
        wrong: list[str] = []
        with anyio.move_on_after(max(self.settled_by - anyio.current_time(), 2) if self.baseline else 1):
            while True:
                told = await starved.do(Do())
                wrong = _differences(told, self.baseline) if self.baseline else ["first"]
                if not wrong:
                    break
                await anyio.sleep(LOOK * 4)
        if self.baseline:
            self.complaints += wrong

    async def next_engine(self) -> None:
        """It finds the guest, and nothing that was missed; a reader goes on from the very beginning."""
        async with aiovirt.connect(self.place.uri) as host:
            standing = host.domain("standing")
            await self.until("the next engine's guest is connected", lambda: standing.status.monitor is MonitorHealth.CONNECTED)
            events = await self._read_all(host)
            begun = max((place for place, event in enumerate(events) if isinstance(event, HostStarted)), default=0)
            if self.case.phase != "stop" and any(isinstance(event, NetdevAdded) for event in events[begun:]):
                self.complain("the engine did not know of a link that was there")
            for domain in host.domains(active=True):
                await domain.destroy()

    async def _read_all(self, host: Host) -> list[Event]:
        """From the very beginning; a gap is told as such, and its reason before or behind it."""
        after, last, events, gaps = self.first_cursor, host.events.cursor, list[Event](), list[EventGap]()
        with anyio.fail_after(PATIENCE):
            while after != last:
                try:
                    async with host.events.subscribe(after=after) as stream:
                        while after != last:
                            events.append(await stream.receive())
                            after = stream.cursor
                except EventGap as gap:
                    gaps.append(gap)
                    after = gap.resume
        self.words += [f"{type(gap).__name__}: {gap}" for gap in gaps]
        self.words += [f"{type(event).__name__} {event}" for event in events if isinstance(event, HostEvent | MonitorEvent)]
        if gaps and not any(JournalDegraded.__name__ in word for word in self.words):
            self.complain(f"a reader from the beginning: EventGap: {gaps[0]}")
        return events


async def live(case: Case, baseline: Told | None = None) -> Life:
    """Leads an engine through it, within a sandbox of network namespaces."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        place = Place(Path(folder))
        scenario = Scenario(case, place, baseline)
        _ip("link del s0", "link del s9", may_fail=True)
        try:
            return await _live(scenario)
        except Exception as error:  # noqa: BLE001 - one life of many
            scenario.complain(f"{type(error).__name__}: {error}")
            return Life(scenario.complaints, Told("opening"), {}, "".join(traceback.format_exception(error)))
        finally:
            _end_guests(place)


async def _live(scenario: Scenario) -> Life:
    case, place = scenario.case, scenario.place
    failed: dict[str, int] = {}
    await scenario.set_up()

    def begin(phase: str) -> Do:
        if phase != case.phase:
            return Do(phase=phase)
        return Do(phase=phase, kind=case.kind, mode=case.mode, place=case.place, nth=case.nth)

    async with contextlib.AsyncExitStack() as stack:
        starved = await stack.enter_async_context(Starved.begin(place, case.backend, begin("start")))
        if starved.last.state != "holding":
            await starved.drain()
            failed = starved.last.failed
            if case.phase != "start" or not starved.last.typed or starved.last.state == "opening":
                scenario.complain(f"the engine did not start: {starved.last.state}")
            scenario.words.append(starved.last.state)
            starved = await stack.enter_async_context(Starved.begin(place, case.backend, Do(phase="start")))
        told = starved.last
        try:
            await _phases(scenario, starved, begin)
            told = starved.last
            failed = failed or told.failed
            ended = await starved.stop(msgspec.structs.replace(begin("stop"), stop=True))
            failed = failed | ended.failed
            told.calls = ended.calls
            if ended.state != "ended" and not (case.phase == "stop" and ended.typed):
                scenario.complain(f"the engine ended otherwise: {ended.state}")
        except Gone:
            await starved.drain()
            failed = failed | starved.last.failed
            scenario.complain(f"the engine ended: {_last_line(place)}")
        except TimeoutError:
            failed = failed | starved.last.failed
            scenario.complain("the engine does not answer any more")
    await scenario.attempt("the next engine", scenario.next_engine, must=True)
    words = "\n".join([(place.folder / "stderr").read_text(errors="replace"), *scenario.words])
    if case.kind and failed and not any(word in words for word in TOLD_AS[case.kind]):
        scenario.complain(f"silent: nobody was told of {case.kind}")
    if "never retrieved" in words or "Exception ignored" in words:
        scenario.complain("an exception nobody looked at")
    return Life(scenario.complaints, told, failed, words)


async def _phases(scenario: Scenario, starved: Starved, begin: Callable[[str], Do]) -> None:
    await starved.do(Do(phase="between", over=True))
    for phase in PHASES[1:-1]:
        work: Callable[[Host], Awaitable[None]] = getattr(scenario, phase)
        await anyio.sleep(QUIET)
        try:
            async with scenario.place.attach() as host, host.events.subscribe(HostEvent, MonitorEvent) as news:
                await starved.do(begin(phase))
                await work(host)
                scenario.hear(news)
        except Error as error:
            scenario.words.append(f"{type(error).__name__}: {error}")
            if phase != scenario.case.phase:
                scenario.complain(f"{phase}: {type(error).__name__}: {error}")
        await starved.do(Do(phase="between", over=True))
    await scenario.afterwards()
    await scenario.compare(starved)


def _differences(told: Told, baseline: Told) -> list[str]:
    wrong = [
        f"afterwards, {what} {name}: {has.get(name, 0)} instead of {should.get(name, 0)}"
        for what, has, should in (("tasks", told.tasks, baseline.tasks), ("descriptors", told.descriptors, baseline.descriptors))
        for name in sorted({*has, *should})
        if has.get(name, 0) != should.get(name, 0)
    ]
    if told.durable != baseline.durable:
        wrong.append("afterwards, the journal is kept in memory only")
    if told.threads > baseline.threads + 10:
        wrong.append(f"afterwards, {told.threads} threads instead of {baseline.threads}")
    return wrong


def _last_line(place: Place) -> str:
    lines = (place.folder / "stderr").read_text(errors="replace").strip().splitlines()
    return lines[-1].strip(" |") if lines else "it said nothing"


def _ip(*lines: str, may_fail: bool = False) -> None:
    for line in lines:
        subprocess.run(["ip", *line.split()], check=not may_fail, stderr=subprocess.DEVNULL)


def _end_guests(place: Place) -> None:
    """Whatever became of the engines."""
    mark = os.fsencode(f"{place.folder}/")
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and mark in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
