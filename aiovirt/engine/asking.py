"""What is asked of the holder: each question has a number, and one outcome. It leaves when the socket has room.

When the holder hands the host over, what it has not taken waits for the next one, and is asked of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from aiovirt.engine.failures import error_of, failure_of
from aiovirt.errors import Error, HostGone, InvalidArgument, OrderTimeout
from aiovirt.system.bytestream import ByteStream
from aiovirt.system.loop import new_waker
from aiovirt.wire.attach import framed
from aiovirt.wire.attach.messages import CLIENT_LIMIT, Answer, Ask, Cancel, Failure, FromClient, HandOver, Past, SeekPast, encode

__all__ = ["Asking"]

GIVING_UP: Final = 5.0
"""Seconds for which an order that is cancelled waits for the holder to have given it up."""

Outcome = Answer | Past | Failure
Question = Ask | SeekPast | HandOver


class Asking:
    """Questions over ``stream``. Plain calls on the loop's thread, but for :meth:`ask`."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._calls: dict[int, _Call] = {}
        self._last = 0
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._over = False
        self._taken: int | None = None  # the last one that the holder has taken before it leaves

    async def ask(self, question: Callable[[int], Question], patience: float, *, is_order: bool = False) -> Answer | Past:
        """The answer to ``question(number)``.

        Raises what the holder answers instead, OrderTimeout when there is no word of it within ``patience`` seconds, HostGone
        (without a cursor) when it ends first. Cancelled, an order waits until it has been cancelled there: it is done or it is not.
        """
        self._last = number = self._last + 1
        message = encode(question(number))
        if len(message) > CLIENT_LIMIT:
            raise InvalidArgument(f"what is asked has {len(message)} bytes, of at most {CLIENT_LIMIT}")
        self._calls[number] = call = _Call(message, is_order=is_order)
        try:
            self._send(number, message)
            with anyio.move_on_after(patience):
                await self._outcome(call)
        except BaseException:
            call.is_given_up = True
            if self._give_up(number) and is_order:
                with anyio.move_on_after(GIVING_UP, shield=True):
                    await self._outcome(call)
            raise
        finally:
            del self._calls[number]
        if call.outcome is None:
            if self._over:
                raise HostGone("")
            raise OrderTimeout("the engine does not answer", sent=self._give_up(number))
        if isinstance(call.outcome, Failure):
            raise error_of(call.outcome)
        return call.outcome

    def say(self, message: FromClient) -> None:
        """Something that has no answer."""
        self._send(0, encode(message))

    def answered(self, outcome: Outcome) -> None:
        """What came of one; nothing when nobody waits for that any more."""
        if (call := self._calls.get(outcome.number)) is not None:
            call.outcome = outcome
            call.waker.wake()

    def resume_writing(self) -> None:
        """The socket takes more."""
        while self._taken is None and self._unsent and self._write(self._unsent[0][1]):
            self._unsent.popleft()

    # -- from one holder to the next -------------------------------------------------------

    def hold_back(self, taken: int) -> None:
        """The holder leaves, and takes nothing that has a higher number: that waits, with all that is asked from now on."""
        self._taken = taken
        self._unsent.clear()
        for number, call in self._calls.items():
            if number > taken:
                self._ask_again(number, call)

    @property
    def is_settled(self) -> bool:
        """Whether the holder that leaves has answered all that it has taken."""
        return self._taken is not None and not any(call.outcome is None for number, call in self._calls.items() if number <= self._taken)

    def lose(self) -> None:
        """It has left. An order that it has not answered may have been done; what only reads is asked of the next one."""
        for number, call in self._calls.items():
            if self._taken is not None and number <= self._taken and call.outcome is None:
                if call.is_order:
                    why = OrderTimeout("the engine handed the host over before it had answered", sent=True)
                    self.answered(failure_of(number, why))
                else:
                    self._ask_again(number, call)
        self._taken = 0

    def go_on(self, stream: ByteStream) -> None:
        """The next holder listens, over ``stream``."""
        self._stream, self._taken = stream, None
        self._unsent = deque(sorted(self._unsent))
        self.resume_writing()

    def _ask_again(self, number: int, call: _Call) -> None:
        if call.is_given_up:
            self.answered(failure_of(number, Error("it was cancelled")))
        elif call.outcome is None:
            self._unsent.append((number, framed(call.message)))

    def end(self) -> None:
        """Nothing more is answered."""
        self._over = True
        for call in self._calls.values():
            call.waker.wake()

    async def _outcome(self, call: _Call) -> None:
        while call.outcome is None and not self._over:
            await call.waker.wait()

    def _give_up(self, number: int) -> bool:
        """Whether it had left: then it is asked to be cancelled; else it never will."""
        for unsent in self._unsent:
            if unsent[0] == number:
                self._unsent.remove(unsent)
                return False
        self.say(Cancel(number))
        return True

    def _send(self, number: int, message: bytes) -> None:
        frame = framed(message)
        if self._taken is not None and not number:
            self._write(frame)  # of something that the one who leaves has taken
        elif self._taken is not None or self._unsent or not self._write(frame):
            self._unsent.append((number, frame))

    def _write(self, frame: bytes) -> bool:
        try:
            return self._over or self._stream.write(frame)
        except OSError:
            return True  # it broke: the end of what is received says so


class _Call:
    __slots__ = ("is_given_up", "is_order", "message", "outcome", "waker")

    def __init__(self, message: bytes, *, is_order: bool) -> None:
        self.message = message
        self.is_order = is_order
        self.is_given_up = False
        self.outcome: Outcome | None = None
        self.waker = new_waker()
