"""The attached side: the engine is another process's, and looks the same from here.

It holds the same fold of the same journal: the whole state once, then every event. So what has no ``async`` is read here,
without asking; what is awaited is asked of the holder. When the holder hands the host over, all goes on with the next one, from
the event on that was received last. When it ends otherwise, or no next one answers, streams raise HostGone, each with its cursor.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, closing, suppress
from pathlib import PurePath
from typing import Final, Protocol, TypeVar
from uuid import UUID

import anyio
from anyio import CapacityLimiter
from anyio.abc import TaskStatus
from msgspec import structs

from aiovirt.engine.asking import Asking
from aiovirt.engine.failures import error_of, failure_of
from aiovirt.errors import ConnectionLost, Error, EventGap, HostGone, InvalidArgument, OrderTimeout, ProtocolError, Unsupported
from aiovirt.events.chain import Chain, Era
from aiovirt.events.dropped import Dropped
from aiovirt.events.past import PastReader
from aiovirt.events.replica import Replica
from aiovirt.events.segment import DamagedError, decode_checkpoint, decode_dropped, decode_event
from aiovirt.events.state import HostState
from aiovirt.events.types import Event
from aiovirt.model.orders import DEFAULT_TIMEOUT, Request
from aiovirt.system.bytestream import ByteStream
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger
from aiovirt.system.loop import new_waker
from aiovirt.wire.attach import VERSION, Frames, framed
from aiovirt.wire.attach.messages import (
    ENGINE_LIMIT,
    IN_FLIGHT,
    READS_IN_FLIGHT,
    Answer,
    Ask,
    Epochs,
    Failure,
    FromEngine,
    HandOver,
    Hello,
    Leaving,
    NextEvents,
    Past,
    SeekPast,
    Skipped,
    Unknown,
    Welcome,
    decode_from_engine,
    encode,
)
from aiovirt.wire.attach.requests import is_read, value_of

__all__ = ["AttachedEngine", "Doors"]

GRACE: Final = 0.04
"""The part of its deadline beyond that for which an order waits for the holder's own word on it."""
WAY: Final = 0.05
"""The holder's deadline is so much shorter: seconds at most, and this part of it."""
SUCCESSION: Final = 30.0
"""Seconds for which the next engine is waited for, once this one has begun to hand the host over."""

R = TypeVar("R")
log = get_logger("engine")


class Doors(Protocol):
    """The sockets at which engines listen, one after the other."""

    async def next(self) -> AbstractAsyncContextManager[ByteStream]:
        """A connection to the one that is there now, or comes next. Raises Error where it may not be spoken to."""
        ...

    def close(self) -> None:
        """No more are looked for."""


class AttachedEngine:
    """See :class:`aiovirt.engine.abc.Engine`. ``bus`` is there once :meth:`run` has started.

    ``place`` are the folders of definitions and state that the engine has to have; ``doors()`` is where the next one
    is looked for; without it, none is.
    """

    bus: Replica
    _past: _Journal
    _doors: Doors

    def __init__(
        self,
        uri: str,
        stream: ByteStream,
        place: tuple[str, str] | None = None,
        doors: Callable[[], Doors] | None = None,
    ) -> None:
        self.uri = uri
        self._place = place
        self._new_doors = doors
        self._stream = stream
        self._asking = Asking(stream)
        self._frames = Frames(ENGINE_LIMIT)
        self._welcomed = anyio.Event()
        self._why: Error | None = None  # it ended
        self._leaves = False  # the engine hands the host over
        self._is_between = False  # it has left, and the next one has not welcomed us
        self._looking = anyio.CancelScope()  # for the next one
        self._orders = CapacityLimiter(IN_FLIGHT)
        self._reads = CapacityLimiter(READS_IN_FLIGHT)

    @property
    def uuid(self) -> UUID:
        """The host's."""
        return self.bus.host

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Speaks with the holder until that ends, or cancelled; says it has started once it is welcome.

        Raises, when it is not: what the holder refuses with, ConnectionLost when that ends first, ProtocolError for what is none.
        """
        self._asking.say(self._hello(""))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_welcome, task_status)
                await self._listen()
                while self._leaves and self._why is None:
                    await self._go_on()
                tasks.cancel_scope.cancel()
        finally:
            self._asking.end()
            if self._welcomed.is_set():
                self.bus.close()
        if not self._welcomed.is_set():
            raise self._why or ConnectionLost("the engine ended before it had welcomed us")

    async def call(self, request: Request[R]) -> R:
        """Asks the holder; raises what it raises, HostGone when it ends first. Cancelling gives the order up there."""
        if not request.timeout > 0:
            raise InvalidArgument(f"a timeout of {request.timeout:g} s is not possible")
        by = Deadline.after(request.timeout)
        borrower, lane = object(), self._reads if is_read(request) else self._orders
        with by.scope() as scope:
            await lane.acquire_on_behalf_of(borrower)
        if scope.cancelled_caught:
            raise OrderTimeout(f"too many orders in flight (at most {lane.total_tokens:g})", sent=False)
        try:
            left = max(by.left, 0.001)  # none at all would be refused there
            timed = structs.replace(request, timeout=left - WAY * min(left, 1))
            answer = await self._ask(lambda number: Ask.of(number, timed), left + GRACE * request.timeout, is_order=lane is self._orders)
        finally:
            lane.release_on_behalf_of(borrower)
        return value_of(request, answer)

    async def hand_over(self, timeout: float, *, if_idle: bool) -> None:
        """Asks the holder to leave the host to us; raises HostHeld where it stays, Unsupported where it cannot be asked."""
        await self._asking.ask(lambda number: HandOver(number, if_idle), timeout)

    # -- the next engine -------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Speaks with the next engine until that ends, or :data:`SUCCESSION` has passed without one."""
        self._leaves, self._is_between = False, True
        self._asking.lose()
        if self._new_doors is not None:
            with anyio.CancelScope(deadline=anyio.current_time() + SUCCESSION) as self._looking, closing(self._new_doors()) as self._doors:
                try:
                    await self._find_the_next(self._doors)
                except Error as error:
                    self._why = self._why or error
        if self._is_between and self._new_doors is not None:
            log.error("no engine has come after the one that handed the host over", uri=self.uri, why=str(self._why or ""))

    async def _find_the_next(self, doors: Doors) -> None:
        while self._is_between and self._why is None:
            async with await doors.next() as self._stream:
                self._frames = Frames(ENGINE_LIMIT)
                with suppress(OSError):  # one that had just ended: that is received, too
                    self._stream.write(framed(encode(self._hello(self.bus.cursor))))
                await self._listen()

    def _meet(self, welcome: Welcome) -> None:
        """The next engine has welcomed us: it sends what follows the last event that we have."""
        chain = self._chain_of(welcome)
        if welcome.host != self.bus.host or welcome.state or chain.cursor(welcome.head) != self.bus.cursor:
            raise ProtocolError(f"the next engine cannot go on behind event {self.bus.cursor}")
        if chain.current.epoch != self.bus.chain.current.epoch:
            self.bus.go_on(chain)
        self._past.first = welcome.first
        self._is_between = False
        self._looking.deadline = math.inf
        self._doors.close()
        self._asking.go_on(self._stream)

    def _take_answer(self, message: Answer | Failure | Past | Leaving) -> None:
        """Who leaves does so when it has answered: then it is left, too."""
        if isinstance(message, Leaving):
            self._leaves = True
            self._asking.hold_back(message.taken)
        else:
            self._asking.answered(message)
        if self._leaves and self._asking.is_settled:
            self._stream.close()

    def _hello(self, after: str) -> Hello:
        return Hello(VERSION, PurePath(sys.argv[0]).name, self._place, after)

    # -- what is received: plain calls on the loop's thread --------------------------------

    async def _tell_welcome(self, task_status: TaskStatus[None]) -> None:
        await self._welcomed.wait()
        task_status.started()

    async def _listen(self) -> None:
        try:
            await self._stream.run(self._data_received, self._asking.resume_writing)
        except OSError as error:
            log.info("the connection to the engine broke", error=str(error))
        except Error as breach:
            self._why = self._why or breach
            log.error("the connection to the engine is lost", why=str(self._why))

    def _data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._take(decode_from_engine(frame))

    def _take(self, message: FromEngine | Unknown) -> None:
        if isinstance(message, Welcome):
            (self._meet if self._is_between else self._begin)(message)
        elif isinstance(message, Failure) and not message.number:
            self._why = error_of(message)
            raise ProtocolError(f"the engine hangs up: {message.message}")
        elif not self._welcomed.is_set() or self._is_between:
            raise ProtocolError(f"{type(message).__name__} comes before a welcome")
        elif isinstance(message, NextEvents):
            self.bus.take(_events(message.events))
        elif isinstance(message, Skipped):
            self.bus.skip(_dropped(message.dropped))
        elif isinstance(message, Epochs):
            self.bus.go_on(_chain(message.eras))
        elif isinstance(message, Answer | Failure | Past | Leaving):
            self._take_answer(message)
        elif isinstance(message, Unknown):
            log.info("a message of the engine is not known here", kind=message.kind)
            if message.number:
                why = Unsupported(f"an answer of a kind that is not known here: {message.kind!r}")
                self._asking.answered(failure_of(message.number, why))
        else:
            raise ProtocolError(f"{type(message).__name__} was not asked for")

    def _begin(self, welcome: Welcome) -> None:
        if self._welcomed.is_set():
            raise ProtocolError("a second welcome")
        chain = self._chain_of(welcome)
        try:
            checkpoint = decode_checkpoint(welcome.state)
        except DamagedError as error:
            raise ProtocolError(f"the state cannot be read: {error}") from error
        self._past = past = _Journal(self._asking, self._reads, welcome.first)
        self.bus = past.bus = Replica(
            host=welcome.host, chain=chain, head=welcome.head, state=HostState(checkpoint), past=past, new_waker=new_waker
        )
        self._welcomed.set()

    def _chain_of(self, welcome: Welcome) -> Chain:
        if not 1 <= welcome.version <= VERSION:
            raise ProtocolError(f"the engine speaks version {welcome.version}, and here it is {VERSION}")
        return _chain(welcome.eras)

    async def _ask(self, question: Callable[[int], Ask], patience: float, *, is_order: bool) -> Answer:
        try:
            answer = await self._asking.ask(question, patience, is_order=is_order)
        except HostGone:
            raise HostGone(self.bus.cursor) from None
        if not isinstance(answer, Answer):
            raise ProtocolError(f"{type(answer).__name__} is no answer to an order")
        return answer


class _Journal:
    """The holder's journal, as :class:`aiovirt.events.past.Past`. ``first`` is as it was last sent."""

    bus: Replica

    def __init__(self, asking: Asking, lane: CapacityLimiter, first: int) -> None:
        self.first = first
        self._asking = asking
        self._lane = lane

    def read_from(self, position: int) -> PastReader:
        """A reader of the events from ``position`` on."""
        return _Reader(self, position)

    async def read(self, position: int) -> list[Event] | Dropped:
        """Some events from ``position`` on, none where there are no more. Raises LookupError when they are gone."""
        borrower = object()
        await self._lane.acquire_on_behalf_of(borrower)
        try:
            past = await self._asking.ask(lambda number: SeekPast(number, position), DEFAULT_TIMEOUT)
        except HostGone:
            raise HostGone(self.bus.chain.cursor(position - 1)) from None
        except EventGap as gap:
            self.first = max(self.first, self.bus.chain.position(gap.first_available) or position + 1)
            raise
        finally:
            self._lane.release_on_behalf_of(borrower)
        if not isinstance(past, Past):
            raise ProtocolError(f"{type(past).__name__} is no part of the journal")
        self.first = past.first
        return _dropped(past.dropped) if past.dropped else list(_events(past.events))


class _Reader:
    """Where a reader is in it."""

    def __init__(self, journal: _Journal, position: int) -> None:
        self.position = position
        self._journal = journal

    async def read(self) -> list[Event] | Dropped:
        """See :class:`aiovirt.events.past.PastReader`."""
        found = await self._journal.read(self.position)
        self.position = found.last + 1 if isinstance(found, Dropped) else self.position + len(found)
        return found


def _events(encoded: Iterable[bytes]) -> Iterator[Event]:
    try:
        for event in encoded:
            yield decode_event(event)
    except DamagedError as error:
        raise ProtocolError(f"an event cannot be read: {error}") from error


def _dropped(encoded: bytes) -> Dropped:
    try:
        return decode_dropped(encoded)
    except DamagedError as error:
        raise ProtocolError(f"what was left out cannot be read: {error}") from error


def _chain(eras: tuple[tuple[str, int, int | None], ...]) -> Chain:
    if not eras:
        raise ProtocolError("a journal without an epoch")
    return Chain(tuple(Era(*era) for era in eras))
