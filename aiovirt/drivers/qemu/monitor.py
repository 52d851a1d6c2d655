"""A QMP session with one QEMU: commands out, replies matched, events handed on.

One task pumps, one flushes; any number of tasks await their replies. What was sent before its
caller gave up is still answered by QEMU one day; that late reply is dropped by its unknown id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
from msgspec import Raw

from aiovirt.drivers.qemu.errors import command_failed
from aiovirt.errors import ConnectionLost, OrderTimeout, ProtocolError
from aiovirt.system.carrier import ByteCarrier
from aiovirt.wire.qmp import Failure, Message, Phase, QMPEvent, QMPProtocol, Reply
from aiovirt.wire.qmp.messages import decode_body

__all__ = ["Monitor"]

T = TypeVar("T")


class Monitor:
    """The session.

    ``on_event`` gets each event in order; ``on_heard`` is told False when a deadline passed in complete
    silence, and True when something is heard again.
    """

    def __init__(self, carrier: ByteCarrier, *, on_event: Callable[[QMPEvent], None], on_heard: Callable[[bool], None]) -> None:
        self._carrier = carrier
        self._protocol = QMPProtocol()
        self._on_event = on_event
        self._on_heard = on_heard
        self._waiting: dict[int, _Answer] = {}
        self._ready = anyio.Event()
        self._ended: str | None = None
        self._received = 0
        self._silent = False

    async def run(self) -> str:
        """Reads until the session ends; returns why it did. Every waiter gets ConnectionLost."""
        why = "the session was closed"
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._flush)
                why = await self._read()
                tasks.cancel_scope.cancel()
        finally:
            self._end(why)
        return why

    async def ready(self, timeout: float) -> None:
        """Returns when QEMU has greeted and capabilities are negotiated.

        Raises OrderTimeout when QEMU does not greet in time (it serves one client at a time),
        ConnectionLost when the session ends first.
        """
        with anyio.move_on_after(timeout):
            await self._ready.wait()
        if self._ended is not None:
            raise ConnectionLost(f"the monitor: {self._ended}")
        if self._protocol.phase is not Phase.READY:
            raise OrderTimeout("QEMU's monitor does not greet: it is stuck, or held by another client", sent=True)

    async def execute(self, command: str, arguments: object = None, *, returns: type[T], timeout: float) -> T:
        """The reply to ``command`` as ``returns``.

        Raises CommandFailed (also qemu.qmp's ExecuteError) when QEMU refuses, OrderTimeout after
        ``timeout`` seconds, ConnectionLost when the session ends first.
        """
        if self._ended is not None:
            raise ConnectionLost(f"the monitor: {self._ended}")
        number, line = self._protocol.command(command, arguments)
        answer = self._waiting[number] = _Answer()
        try:
            self._send(line)
            received = self._received
            with anyio.move_on_after(timeout):
                await answer.come.wait()
        finally:
            del self._waiting[number]
        if answer.message is None:
            self._give_up(command, timeout, silent=self._received == received)
        return _body(command, answer.message, returns)

    # -- inside ----------------------------------------------------------------------------

    async def _read(self) -> str:
        try:
            while data := await self._carrier.receive():
                self._received += len(data)
                if self._silent:
                    self._silent = False
                    self._on_heard(True)
                messages = self._protocol.receive(data)
                for message in messages:
                    self._dispatch(message)
                if any(isinstance(message, QMPEvent) for message in messages):
                    await anyio.lowlevel.checkpoint()  # a guest may cause events without end; replies end with our commands
        except (OSError, ProtocolError) as error:
            return str(error)
        except anyio.ClosedResourceError:
            return "closed"
        return "QEMU closed its monitor"

    async def _flush(self) -> None:
        try:
            await self._carrier.flush()
        except (OSError, anyio.ClosedResourceError):
            return  # the reader meets the same end, and tells why

    def _dispatch(self, message: Message) -> None:
        if isinstance(message, QMPEvent):
            self._on_event(message)
        elif isinstance(message, Reply | Failure):
            if not self._ready.is_set():
                self._ready.set()
            elif message.id is not None and (answer := self._waiting.get(message.id)):
                answer.give(message)
        else:
            self._send(self._protocol.negotiate())

    def _send(self, line: bytes) -> None:
        try:
            self._carrier.write(line)
        except (OSError, BufferError) as error:
            raise ConnectionLost(f"the monitor: {error}") from error

    def _give_up(self, command: str, timeout: float, *, silent: bool) -> None:
        if self._ended is not None:
            raise ConnectionLost(f"the monitor: {self._ended}")
        if silent and not self._silent:
            self._silent = True
            self._on_heard(False)
        raise OrderTimeout(f"QEMU did not answer {command!r} within {timeout:g} s", sent=True)

    def _end(self, why: str) -> None:
        self._ended = why
        self._ready.set()
        for answer in self._waiting.values():
            answer.come.set()


class _Answer:
    """A place for one reply."""

    def __init__(self) -> None:
        self.come = anyio.Event()
        self.message: Reply | Failure | None = None

    def give(self, message: Reply | Failure) -> None:
        self.message = message
        self.come.set()


def _body(command: str, message: Reply | Failure | None, returns: type[T]) -> T:
    if isinstance(message, Failure):
        raise command_failed(command, message.error_class, message.description)
    return decode_body(message.body if message else Raw(), returns)
