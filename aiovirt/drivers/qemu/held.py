"""The processes of one guest, held as one.

Mostly there is one, QEMU. Where the emulator is a script that runs QEMU and waits there are more: the one that was started, and QEMU,
which is known by what the kernel says of who speaks at the monitor. All have the lock of the guest's uuid from the one that was
started, so who is left is found by it, also when none ever spoke.
"""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from aiovirt.drivers.qemu.uuidlock import found_at_monitor, others_of
from aiovirt.errors import ConnectionLost, SystemFailure
from aiovirt.model.record import ProcessId
from aiovirt.system.log import get_logger
from aiovirt.system.process import ExitStatus, Process, session_of

__all__ = ["Held"]

AFTER_QEMU: Final = 3.0
"""Seconds for which those that ran QEMU may put things in order once it has ended."""
PAUSE: Final = 1.0
"""Seconds after which it is looked again for who is left, where that could not be done."""
logger = get_logger("qemu")


class Held:
    """``first`` is the process that was started, or found; ``lock`` the file of the uuid's lock. Closing it lets all run on."""

    def __init__(self, first: Process, lock: Path) -> None:
        self._first = first
        self._session = session_of(first.pid)
        self._lock = lock
        self._qemu: Process | None = None  # known by its own words at the monitor
        self._left: list[Process] = []
        self._last_signal: signal.Signals | None = None
        self._is_over = False  # QEMU has ended
        self.tasks: TaskGroup | None = None
        """Where its tasks live, once it is waited for; they end with who waits."""

    @property
    def identity(self) -> ProcessId:
        """QEMU's, as far as that is known."""
        return (self._qemu or self._first).identity

    @property
    def pid(self) -> int:
        """QEMU's process id, as far as that is known."""
        return self.identity.pid

    async def wait(self) -> ExitStatus:
        """Returns when the guest is over: QEMU has ended, and so has who ran it. One task at a time."""
        status = await self._first.wait()
        self._is_over = self._is_over or self._qemu is self._first
        while await self._look_who_is_left():
            await self._outlast()
        return status

    async def spoken_by(self, speaker: tuple[int, int] | None) -> None:
        """``speaker`` is the (pid, uid) at the monitor, None where the kernel does not tell: that is QEMU.

        Raises ConnectionLost when it is another user's or another guest's, or has ended; SystemFailure when it cannot be held.
        """
        pid, uid = speaker or (self.pid, os.geteuid())
        if uid != os.geteuid():
            raise ConnectionLost(f"process {pid} of another user answers at the monitor")
        if pid in {0, self.pid}:  # 0: in a pid namespace that we do not see
            self._qemu = self._qemu or self._first
            return
        try:
            qemu = await to_thread.run_sync(found_at_monitor, self._lock, self._session, pid)
        except OSError as error:
            raise SystemFailure(f"process {pid} at the monitor cannot be held: {error.strerror}") from error
        if qemu is None:
            raise ConnectionLost(f"process {pid} answered at the monitor, and has ended or is none of this guest's")
        self._qemu = qemu
        if self.tasks is not None:
            self.tasks.start_soon(self._end_after, qemu)

    def send_signal(self, number: signal.Signals) -> None:
        """To QEMU; where that is not known, and SIGKILL always, to all. Who is found later gets it, too."""
        self._last_signal = number
        asked = [self._qemu] if self._qemu and number is not signal.SIGKILL else [self._first, self._qemu, *self._left]
        for process in asked:
            if process is not None:
                process.send_signal(number)

    def close(self) -> None:
        """Lets go of them."""
        for process in (self._first, self._qemu, *self._left):
            if process is not None:
                process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _end_after(self, qemu: Process) -> None:
        """Who ran it ends after it, in time."""
        await qemu.wait()
        self._is_over = True
        with anyio.move_on_after(AFTER_QEMU):  # when the first has ended, so does this
            await anyio.sleep_forever()
        self._first.send_signal(signal.SIGKILL)

    async def _look_who_is_left(self) -> bool:
        """Whether there is anybody; one that cannot be looked for may be."""
        while True:
            try:
                self._left = await to_thread.run_sync(others_of, self._lock, self._session)
            except OSError as error:
                logger.warning("it is not known who is left of a guest", lock=str(self._lock), error=str(error))
                with anyio.move_on_after(PAUSE):  # nothing tells when it can be
                    await anyio.sleep_forever()
                continue
            return bool(self._left)

    async def _outlast(self) -> None:
        """Those that are left: they end by themselves, or soon after QEMU."""
        if self._last_signal is not None and not self._is_over:
            for process in self._left:
                process.send_signal(self._last_signal)
        with anyio.move_on_after(AFTER_QEMU if self._is_over else math.inf) as patience:
            for process in self._left:
                await process.wait()
        for process in self._left:
            if patience.cancelled_caught:
                process.send_signal(signal.SIGKILL)
            process.close()
        self._left = []
