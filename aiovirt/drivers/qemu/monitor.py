"""A QMP session with one QEMU: commands out, replies matched, events handed on.

What comes is handled as it comes, on the loop's thread; any number of tasks await their replies. The
thinking is in ``window`` (what may be sent) and in ``wire.qmp`` (what was said); here bytes meet waiters.
"""

from __future__ import annotations

import math
from typing import Final, TypeVar

from msgspec import Struct

from aiovirt.drivers.qemu.errors import command_failed, session_lost, unexpected_reply
from aiovirt.drivers.qemu.window import Answer, Call, Priority, Stage, Window
from aiovirt.errors import OrderTimeout, ProtocolError, ReplyTooLong, SystemFailure, Unsupported
from aiovirt.system.again import is_passing, words_of
from aiovirt.system.bytestream import ByteStream
from aiovirt.system.deadlines import Deadline, Deadlines, Timer
from aiovirt.system.latch import Latch
from aiovirt.system.log import get_logger
from aiovirt.system.loop import current_loop
from aiovirt.wire.qmp import Breach, Failure, Greeting, Message, Phase, QMPEvent, QMPProtocol, Reply, TooLong
from aiovirt.wire.qmp.messages import decode_body
from aiovirt.wire.qmp.protocol import DEFAULT_LIMIT

__all__ = ["Late", "Listener", "Monitor", "Priority"]

T = TypeVar("T")

_DONE: Final = Stage.DONE
_OUT_OF_BAND: Final = Priority.OUT_OF_BAND
logger = get_logger("qemu")


class Late(Struct, frozen=True):
    """A command whose caller had cancelled it was answered after all."""

    command: str
    changes: bool
    done: bool


class Listener:
    """Who is told what a session hears, on the loop's thread; does nothing by itself."""

    def event(self, event: QMPEvent) -> None:
        """QEMU said something unasked."""

    def responsive(self, again: bool) -> None:  # noqa: FBT001 - a plain answer
        """False when a deadline passed in complete silence; True when something is heard again."""

    def late(self, answer: Late) -> None:
        """What had been cancelled has happened, or was refused."""

    def oversized(self, event: str | None, size: int) -> None:
        """A message over the limit was not read: which event it was, if it was one."""


class Monitor:
    """The session. Its commands' deadlines are kept by ``deadlines``; ``limit`` is the largest message that is read, in bytes."""

    def __init__(self, stream: ByteStream, listener: Listener, deadlines: Deadlines, *, limit: int = DEFAULT_LIMIT) -> None:
        self._stream = stream
        self._listener = listener
        self._deadlines = deadlines
        self._limit = limit
        self._protocol = QMPProtocol(limit=limit)
        self._window = Window()
        self._loop = current_loop()
        self._begun: Latch | None = Latch()  # until it has
        self.ended: str | None = None  # why, once it has
        self._failure: Exception | None = None
        self._received = 0
        self._silent = False
        self._check: Timer | None = None
        self._check_at = math.inf

    # -- life ------------------------------------------------------------------------------

    async def run(self) -> str:
        """Reads until the session ends; returns why it did. Every waiter gets ConnectionLost.

        Raises what is not QEMU's doing: a shortage, a mistake of ours.
        """
        why = "the session was closed"
        try:
            await self._stream.run(self._data_received, self._pump)
            self._raise_failure()
            why = "QEMU closed its monitor"
        except (OSError, ProtocolError) as error:
            why = str(error)
            if is_passing(error):
                raise
        except Exception as error:
            why = words_of(error)
            raise
        finally:
            self._end(why)
        return why

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def fail(self, error: Exception) -> None:
        """What QEMU said could not be made use of: the session ends with ``error``."""
        self._failure = error
        self._stream.close()

    async def ready(self, by: Deadline) -> None:
        """Returns when QEMU has greeted and capabilities are negotiated.

        Raises OrderTimeout when QEMU does not greet in time (it serves one client at a time),
        ConnectionLost when the session ends first.
        """
        if self._begun is not None:
            with by.scope():
                await self._begun.wait()
        if self.ended is not None:
            raise session_lost(self.ended)
        if self._protocol.phase is not Phase.READY:
            raise OrderTimeout("QEMU's monitor does not greet: it is stuck, or held by another client", sent=True)

    @property
    def greeting(self) -> Greeting | None:
        """What QEMU said first."""
        return self._protocol.greeting

    @property
    def is_settled(self) -> bool:
        """Whether the fate of all that was asked to change the guest is known, or still waited for."""
        return not self._window.unsettled or self.ended is not None

    @property
    def is_silent(self) -> bool:
        """Whether a deadline has passed in complete silence, and nothing was heard since."""
        return self._silent

    # -- asking ----------------------------------------------------------------------------

    async def execute(  # noqa: PLR0913 - all but the command and its time have a value that does
        self,
        command: str,
        arguments: object = None,
        *,
        returns: type[T],
        by: Deadline,
        priority: Priority = Priority.PLAIN,
        descriptor: int | None = None,
    ) -> T:
        """The reply to ``command`` as ``returns``, any type that msgspec decodes.

        ``by`` is its deadline; ``descriptor`` goes with the command, for ``getfd`` and ``add-fd``. At most
        seven commands are with QEMU at a time: those in the priority URGENT go first, OUT_OF_BAND ones (QAPI:
        ``allow-oob``) at once.

        Raises CommandFailed (also qemu.qmp's ExecuteError) when QEMU refuses; OrderTimeout in time: with
        ``sent`` False it never ran and never will, with ``sent`` True it may; ConnectionLost (also
        ExecInterruptedError) when the session ends first; ProtocolError (also BadReplyError) for a reply
        that is no ``returns``; ReplyTooLong for one over the limit; InvalidArgument for arguments larger
        or deeper than QEMU reads; Unsupported where QEMU has no out-of-band commands; SystemFailure for a descriptor that
        cannot be sent.
        """
        if self.ended is not None:
            raise session_lost(self.ended)
        if by.at == -math.inf:
            raise OrderTimeout(f"{command!r} was not sent: it was cancelled before", sent=False)
        oob = priority is _OUT_OF_BAND
        if oob and (self.greeting is None or "oob" not in self.greeting.capabilities):
            raise Unsupported("this QEMU has no out-of-band commands")
        number, line = self._protocol.command(command, arguments, out_of_band=oob)
        waiter = self._loop.new_answer()
        call = Call(number, command, line, by, priority, descriptor, self._received, waiter.wake, waiter.hand_over)
        by.when_cancelled(self._drop_cancelled)
        try:
            if not (self._window.is_free_for(call) and self._send(call)):
                self._window.add(call)
                self._pump()
            if by.at < self._check_at:
                self._check_before(by.at)
            if self.ended is None and call.answer is None:
                await waiter.wait()
        except BaseException:
            self._give_up(call)
            raise
        answer = call.answer
        if type(answer) is Reply:
            try:
                return decode_body(answer.body, returns)
            except ProtocolError as error:
                raise unexpected_reply(command, str(error)) from error
        raise self._trouble(call, by.timeout)

    def _give_up(self, call: Call) -> None:
        self._window.give_up(call)
        self._pump()  # what stood behind it may be free to go

    def _drop_cancelled(self) -> None:
        """Somebody's deadline is cancelled."""
        for call in [call for call in self._window.open() if call.by.is_cancelled]:
            self._give_up(call)
            call.wake()

    def _trouble(self, call: Call, timeout: float) -> Exception:
        """What to raise in place of a reply."""
        answer = call.answer
        if isinstance(answer, Failure):
            return command_failed(call.command, answer.error_class, answer.description)
        if isinstance(answer, OSError):
            return SystemFailure(f"{call.command!r} cannot be sent: {answer.strerror or answer}")
        if isinstance(answer, TooLong):
            return ReplyTooLong(f"the reply to {call.command!r} has {answer.size} bytes; at most {self._limit} are read")
        if self.ended is not None:
            return session_lost(self.ended)
        if call.stage is Stage.DROPPED:
            return OrderTimeout(f"{call.command!r} was not sent within {timeout:g} s: QEMU owes the answers to those before it", sent=False)
        return OrderTimeout(f"QEMU did not answer {call.command!r} within {timeout:g} s", sent=True)

    def _pump(self) -> None:
        """Sends what may be sent; a stream that breaks under it is told by its reader."""
        while (call := self._window.next()) is not None and self._send(call):
            pass

    def _send(self, call: Call) -> bool:
        """Whether it is on its way."""
        try:
            sent = self._stream.write(call.line, () if call.descriptor is None else (call.descriptor,))
        except ConnectionError:
            return False  # the far side is gone: what it said last is still to be heard, and then its end
        except OSError as error:
            self._window.refuse(call, error)
            call.wake()
            return True
        if sent:
            self._window.mark_sent(call)
        return sent

    # -- deadlines -------------------------------------------------------------------------

    def _check_before(self, when: float) -> None:
        """Deadlines are looked at when the first of them passes, and most commands are answered long before theirs."""
        if self._check is not None:
            self._check.cancel()
        self._check_at = when
        self._check = self._deadlines.at(when, self._check_deadlines) if when < math.inf else None

    def _check_deadlines(self) -> None:
        now, silent, first = self._loop.now(), False, math.inf
        for call in list(self._window.open()):
            if call.by.at <= now:
                silent = silent or call.received_before == self._received
                self._window.give_up(call)
                call.wake()
            else:
                first = min(first, call.by.at)
        self._check = None
        self._check_before(first)
        if silent and not self._silent:
            self._silent = True
            self._listener.responsive(False)
        self._pump()

    # -- hearing ---------------------------------------------------------------------------

    def _data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._silent:
            self._silent = False
            self._listener.responsive(True)
        done: list[Call] = []
        try:
            for message in self._protocol.receive(data):
                if type(message) is Reply or type(message) is Failure:
                    self._answered(message.id, message, done)
                else:
                    self._take(message, done)
        finally:
            for call in done:
                call.hand_over()

    def _take(self, message: Message, done: list[Call]) -> None:
        match message:
            case QMPEvent():
                self._listener.event(message)
            case Greeting():
                if not self._stream.write(self._protocol.negotiate()):
                    raise ProtocolError("QEMU greets, and takes no answer")
            case TooLong(id=None):
                logger.warning("a message over the limit was not read", qmp_event=message.event, bytes=message.size)
                self._listener.oversized(message.event, message.size)
            case TooLong():
                self._answered(message.id, message, done)
            case Breach():
                raise ProtocolError(message.why)
            case _:
                raise AssertionError(message)

    def _answered(self, number: int | None, answer: Answer, done: list[Call]) -> None:
        if self._begun is not None:  # to the negotiation
            self._begin()
            return
        call = self._window.answered(number, answer)
        if call is None:
            logger.warning("an unexpected reply", qmp_id=number)
            return
        if call.stage is _DONE:
            done.append(call)
        else:
            self._listener.late(Late(call.command, call.changes, done=not isinstance(answer, Failure)))
        if self._window.has_waiting:
            self._pump()

    def _begin(self) -> None:
        if self._begun is not None:
            self._begun.set()
            self._begun = None

    def _end(self, why: str) -> None:
        if self.ended is None:
            self.ended = why
        self._begin()
        if self._check is not None:
            self._check.cancel()
        for call in list(self._window.open()):
            self._window.give_up(call)
            call.wake()
