"""An engine in a process of its own that is short of something when it is told to be.

    python -m tests.support.starved FOLDER BACKEND [plain]

It is told what to do in lines (:class:`Do`), and answers each with one (:class:`Told`). It holds the host in FOLDER until it is
told to stop; what ended it before is its last line. With ``plain`` it is short of nothing, and as
any other engine but for its window in memory, which is so small that it is soon full.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import pkgutil
import sys
import threading
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from tests.support.shortage import Kind, Mode, Shortage

if TYPE_CHECKING:
    from aiovirt.events.bus import Bus

__all__ = ["Do", "Told"]

SEGMENT = 16 * 1024
"""Bytes of a journal's file: so little that some events fill it."""
WINDOW = 1024
"""Events in memory, with ``plain``."""


class Do(Struct, omit_defaults=True):
    """``phase`` is entered; a shortage begins, or is ``over``; with ``stop`` the host is let go of."""

    phase: str = ""
    kind: Kind | None = None
    mode: Mode = Mode.THROUGHOUT
    place: str | None = None
    nth: int = 1
    over: bool = False
    stop: bool = False


class Told(Struct):
    """What the engine has, what was made to fail, and where something could be.

    ``state`` is "opening", "holding", "ended", or the error that ended it, of which ``typed`` says whether it is one of the house.
    """

    state: str
    typed: bool = True
    failed: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, str, str, int]] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)
    descriptors: dict[str, int] = field(default_factory=dict)
    threads: int = 0
    durable: bool = False


class Engine:
    """The host, and who tells it what to do."""

    def __init__(self, shortage: Shortage, folder: str, first: Do) -> None:
        self._first = first
        self._shortage = shortage
        self._folder = folder
        self._bus: Bus | None = None
        self._state = "opening"
        self._typed = True

    async def run(self) -> None:
        """Until it is told to stop, or something ends it."""
        import anyio

        self._stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            self._do(self._first)
            await self._hold()
            gc.collect()
            self._say()
            tasks.cancel_scope.cancel()

    async def _hold(self) -> None:
        from aiovirt.engine.connect import Connection
        from aiovirt.engine.paths import Role
        from aiovirt.errors import Error

        try:
            async with Connection(f"qemu:///embed?root={self._folder}/engine", {}, Role.HOLDER) as host:
                self._bus = host.engine.bus
                self._state = "holding"
                self._say()
                await self._stop.wait()
            self._state = "ended"
        except BaseException as error:
            self._typed = isinstance(error, Error)
            self._state = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            if not isinstance(error, Exception):
                raise

    async def _listen(self) -> None:
        import anyio

        rest = b""
        while True:
            await anyio.wait_readable(0)
            said = os.read(0, 65536)
            if not said:
                self._stop.set()
                return
            *lines, rest = (rest + said).split(b"\n")
            for line in lines:
                self._do(msgspec.json.decode(line, type=Do))
                self._say()

    def _do(self, do: Do) -> None:
        if do.phase:
            self._shortage.phase = do.phase
        if do.over:
            self._shortage.end()
        if do.kind:
            self._shortage.begin(do.kind, do.mode, do.place, do.nth)
        if do.stop:
            self._stop.set()

    def _say(self) -> None:
        told = Told(
            state=self._state,
            typed=self._typed,
            failed={f"{kind} {place}": count for (kind, place), count in dict(self._shortage.failed).items()},
            calls=[(*key, count) for key, count in dict(self._shortage.calls).items()],  # threads count on meanwhile
            tasks=_tasks(),
            descriptors=_descriptors(self._folder),
            threads=threading.active_count(),
            durable=self._bus is not None and self._bus.is_durable,
        )
        os.write(1, msgspec.json.encode(told) + b"\n")


def _tasks() -> dict[str, int]:
    """Name -> how many run."""
    import anyio

    return dict(Counter(str(task.name) for task in anyio.get_running_tasks()))


def _descriptors(folder: str) -> dict[str, int]:
    """What it is -> how many are open; numbers differ from run to run."""
    found: Counter[str] = Counter()
    try:
        numbers = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return {}  # there is none left to look with
    for number in numbers:
        try:
            name = str(number.readlink()).removeprefix(folder)
            found["".join(letter for letter in name if not letter.isdigit())] += 1
        except OSError:
            continue  # that of the folder itself
    return dict(found)


def _first_line() -> bytes:
    """Not a byte more: what follows is for the loop."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    return line


def main(folder: str, backend: str, *words: str) -> None:
    """The command line described above. What there is none of at the start is a line of its own, before anything else."""
    shortage = Shortage()
    first = msgspec.json.decode(_first_line(), type=Do)
    if not words:
        shortage.install()
    import anyio

    import aiovirt.engine.connect
    import aiovirt.engine.opening as journals

    for room in ("system", "hostdev", "drivers.qemu", "engine"):
        package = importlib.import_module(f"aiovirt.{room}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)  # what Python loads is no part of how an engine begins

    if backend == "uvloop":
        import uvloop  # noqa: F401
    real: Any = vars(journals)["Limits"]
    modules: Any = (journals, aiovirt.engine.connect)
    if words:
        modules[1].Bus = partial(modules[1].Bus, capacity=WINDOW, budget=WINDOW * 1024)
    else:
        modules[0].Limits = lambda **given: real(**{"segment": SEGMENT, **given})
    logging.basicConfig(level=logging.WARNING if words else logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    engine = Engine(shortage, folder, first)
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(engine.run, backend="trio" if backend == "trio" else "asyncio", backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
