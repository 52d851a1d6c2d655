"""One attached process, as the holder sees it. Everything but what it asks for happens in plain calls on the loop's thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from aiovirt.engine.failures import failure_of
from aiovirt.engine.local import LocalEngine
from aiovirt.errors import Error, EventGap, HostHeld, InvalidArgument, ProtocolError, SystemFailure, Unsupported
from aiovirt.events.dropped import Dropped
from aiovirt.events.past import Past as Journal
from aiovirt.events.past import PastReader
from aiovirt.events.segment import encode_block, encode_checkpoint, encode_event
from aiovirt.events.types import Event
from aiovirt.model import orders
from aiovirt.model.caller import Caller
from aiovirt.model.orders import Request
from aiovirt.system.bytestream import ByteStream
from aiovirt.system.log import get_logger
from aiovirt.wire.attach import VERSION, Frames, framed
from aiovirt.wire.attach.messages import (
    CLIENT_LIMIT,
    IN_FLIGHT,
    READS_IN_FLIGHT,
    Answer,
    Ask,
    Cancel,
    Epochs,
    FromClient,
    FromEngine,
    Glance,
    HandOver,
    Hello,
    Leaving,
    NextEvents,
    Past,
    SeekPast,
    Seen,
    Skipped,
    Unknown,
    Welcome,
    decode_from_client,
    encode,
    encode_value,
)
from aiovirt.wire.attach.requests import is_read, request_of

__all__ = ["BATCH", "WAITING", "Client", "Directories", "event_frame", "refusal"]

WAITING: Final = 128 * 1024 * 1024
"""Bytes of answers that may wait for a client before it is disconnected."""
MOST_CALLS: Final = 4 * IN_FLIGHT
"""Calls that may be under way, those included that were cancelled and have not ended yet."""
READERS: Final = 8
"""Places in the past that are remembered for one client."""
NAME_LIMIT: Final = 200
BATCH: Final = 256
"""Events in one message at most."""

Directories = tuple[str, str]
"""The folders of a host's definitions and of its state."""

log = get_logger("engine")


def event_frame(payloads: list[bytes]) -> bytes:
    """The message with these encoded events, which follow each other."""
    return framed(encode(NextEvents(payloads)))


def refusal(why: Error) -> bytes:
    """The message that lets nobody in."""
    return framed(encode(failure_of(0, why)))


class Client:
    """The process ``pid`` of the user ``uid`` at the far side of ``stream``, attached to ``engine`` at ``place``.

    ``events_after(position)`` gives what follows an event: up to which position, and the message; None where memory has lost it.
    ``hand_over(self, asked)`` begins to leave the host to it, or raises Error where it stays.
    """

    def __init__(  # noqa: PLR0913 - what it is a client of
        self,
        engine: LocalEngine,
        place: Directories,
        stream: ByteStream,
        events_after: Callable[[int], tuple[int, bytes] | None],
        *,
        hand_over: Callable[[Client, HandOver], None],
        pid: int,
        uid: int,
    ) -> None:
        self.pid = pid
        self._uid = uid
        self.program = ""
        self._engine = engine
        self._place = place
        self._bus = engine.bus
        self._stream = stream
        self._events_after = events_after
        self._hand_over = hand_over
        self._taken = 0  # the highest number of what it has asked
        self._leaves = False  # we do: nothing more is taken
        self._frames = Frames(CLIENT_LIMIT)
        self._sent = -1  # the position of the last event it was sent; below 0 it has not been welcomed
        self._eras = self._bus.chain.eras
        self._held: bytes | None = None  # what the socket has no room for yet
        self._answers: list[tuple[int, bytes]] = []  # behind which position, and the message; an empty deque takes half a kilobyte
        self._waiting = 0  # bytes of those
        self._calls: dict[int, _Call] = {}
        self._under_way = {True: 0, False: 0}  # reads, and others, that were not cancelled
        self._owned: dict[UUID, int | None] = {}  # guests that end with it, by uuid: the number of their run
        self._readers: dict[int, PastReader] = {}
        self._behind = False  # what it is sent next is being read from the journal
        self._tasks: TaskGroup | None = None
        self._over = False

    async def run(self) -> None:
        """The conversation, until it ends; then what lived for it alone ends, too. Nothing that a client does raises here."""
        try:
            async with anyio.create_task_group() as self._tasks:
                try:
                    await self._stream.run(self._data_received, self._resume_writing)
                except (ProtocolError, HostHeld) as breach:
                    log.warning("a client was disconnected", pid=self.pid, program=self.program, why=str(breach))
                    self.refuse(breach)
                except OSError as error:
                    log.debug("a client's socket broke", pid=self.pid, error=str(error))
                self._over = True
                self._tasks.cancel_scope.cancel()
        finally:
            self._over = True
            await self._end_owned()

    async def _end_owned(self) -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for uuid in self.owned:
                    tasks.start_soon(self._engine.admission.destroy_owned, uuid)

    # -- what it says ----------------------------------------------------------------------

    def _data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            message = decode_from_client(frame)
            if self._leaves and not isinstance(message, Cancel):
                if self._sent < 0:
                    self._hang_up()  # it asks the next one
            elif self._sent < 0:
                self._welcome(message)
            else:
                self._take(message)

    def _take(self, message: FromClient | Unknown) -> None:
        match message:
            case HandOver():
                self._asked_to_leave(message)
            case Ask():
                self._asked(message)
            case SeekPast():
                self._begin(message.number, message)
            case Unknown():
                self._refuse_newer(message)
            case Cancel():
                if (call := self._calls.get(message.number)) is not None and not call.scope.cancel_called:
                    self._under_way[call.reads] -= 1
                    call.scope.cancel()
            case _:
                raise ProtocolError(f"a second {type(message).__name__}")

    def _welcome(self, hello: object) -> None:
        if not isinstance(hello, Hello | Glance):
            raise ProtocolError(f"{type(hello).__name__} comes before Hello")
        if hello.version < 1:
            raise ProtocolError(f"version {hello.version} is not spoken here: {VERSION} is")
        if hello.place is not None and hello.place != self._place:
            folder = " and ".join(mine for mine, other in zip(self._place, hello.place, strict=True) if mine != other)
            raise HostHeld(f"this host is held by process {os.getpid()}, with {folder}", pid=os.getpid())
        bus = self._bus
        if isinstance(hello, Glance):
            self._say(Seen(bus.cursor, tuple(bus.state.domains.values())))
            return
        self.program = hello.program[:NAME_LIMIT]
        head, state = bus.head, bus.state  # to look may begin an epoch, so the chain is read behind
        has = self._known(hello.after) if hello.after else None
        self._sent, self._eras = head if has is None else has, bus.chain.eras
        self._say(
            Welcome(
                version=min(VERSION, hello.version),
                host=bus.host,
                pid=os.getpid(),
                eras=tuple((era.epoch, era.base, era.end) for era in self._eras),
                head=self._sent,
                first=bus.first,
                state=encode_checkpoint(state.checkpoint(bus.cursor)) if has is None else b"",
            )
        )
        self.push()

    def _known(self, cursor: str) -> int | None:
        """The position of what it has already, where it can be sent all that follows."""
        try:
            return self._bus.seek(cursor) - 1
        except (EventGap, InvalidArgument):
            return None

    def _asked_to_leave(self, asked: HandOver) -> None:
        self._taken = max(self._taken, asked.number)
        try:
            self._hand_over(self, asked)
        except Error as error:
            self._reply(encode(failure_of(asked.number, error)))
        else:
            self._reply(encode(Answer(asked.number, encode_value(None))))

    def leave(self) -> None:
        """We leave the host to the next engine: it is told, and what it has asked so far is answered."""
        self._leaves = True
        if self._sent < 0:
            self._hang_up()
            return
        frame = framed(encode(Leaving(self._taken)))
        self._waiting += len(frame)
        self._answers.insert(0, (self._sent, frame))  # it need not be sent all events before
        self.push()

    @property
    def owned(self) -> list[UUID]:
        """Guests that run, and end with it."""
        entries = self._engine.records.entries
        return [uuid for uuid, number in self._owned.items() if (entry := entries.find(uuid)) is not None and entry.id == number]

    def refuse(self, why: Error) -> None:
        """The last words."""
        try:
            self._stream.write(refusal(why))
        except OSError as error:
            log.debug("a client has gone before it was refused", pid=self.pid, error=str(error))

    def _asked(self, asked: Ask) -> None:
        try:
            request = request_of(asked)
        except (Unsupported, InvalidArgument) as error:
            log.info("a request is not known here", pid=self.pid, program=self.program, why=str(error))
            self._taken = max(self._taken, asked.number)
            self._reply(encode(failure_of(asked.number, error)))
        else:
            self._begin(asked.number, request)

    def _refuse_newer(self, message: Unknown) -> None:
        log.info("a message is not known here", pid=self.pid, program=self.program, kind=message.kind)
        if message.number > 0:
            self._reply(encode(failure_of(message.number, Unsupported(f"this engine does not know the message {message.kind!r}"))))

    def _begin(self, number: int, request: Request[Any] | SeekPast) -> None:
        self._taken = max(self._taken, number)
        reads = is_read(request)
        if number in self._calls or number < 1:
            raise ProtocolError(f"number {number} is under way already, or none")
        if self._under_way[reads] >= (READS_IN_FLIGHT if reads else IN_FLIGHT) or len(self._calls) >= MOST_CALLS:
            raise ProtocolError("more is asked at once than may be")
        self._under_way[reads] += 1
        assert self._tasks is not None
        self._calls[number] = call = _Call(reads=reads, scope=anyio.CancelScope())
        self._tasks.start_soon(self._carry_out, number, request, call)

    async def _carry_out(self, number: int, request: Request[Any] | SeekPast, call: _Call) -> None:
        """Answers once, whatever comes of it."""
        answer = encode(failure_of(number, Error("it was cancelled")))
        with call.scope:
            try:
                answer = encode(await (self._read_past(request) if isinstance(request, SeekPast) else self._do(number, request)))
            except Error as error:
                answer = encode(failure_of(number, error))
            except Exception as error:
                log.error("a call failed unexpectedly", request=type(request).__name__, exc_info=error)
                answer = encode(failure_of(number, Error(f"internal error: {error!r}")))
        del self._calls[number]
        self._under_way[call.reads] -= not call.scope.cancel_called
        self._reply(answer)

    async def _do(self, number: int, request: Request[Any]) -> Answer:
        caller = Caller(origin="attached", pid=self.pid, uid=self._uid, program=self.program)
        value: object = await self._engine.call(request, caller)
        if isinstance(request, orders.Create | orders.Start) and request.autodestroy:
            uuid = value if isinstance(value, UUID) else request.uuid if isinstance(request, orders.Start) else None
            if uuid is not None and (entry := self._engine.records.entries.find(uuid)) is not None:
                self._owned[uuid] = entry.id
        return Answer(number, encode_value(value))

    async def _read_past(self, asked: SeekPast) -> Past:
        bus, position = self._bus, asked.position
        if bus.ring.first <= position <= bus.head:
            return Past(asked.number, bus.payloads(position, min(bus.head, position + BATCH - 1)), bus.first)
        if bus.journal is None or position < bus.first:
            raise bus.gap(position)
        try:
            events = await self._read_kept(bus.journal, position)
        except LookupError as gone:
            raise bus.gap(position) from gone
        if isinstance(events, Dropped):
            return Past(asked.number, [], bus.first, encode_block(events))
        return Past(asked.number, [encode_event(event) for event in events], bus.first)

    async def _read_kept(self, journal: Journal, position: int) -> list[Event] | Dropped:
        """Some events from ``position`` on; who goes on behind them finds its place in the file. Raises LookupError, SystemFailure."""
        reader = self._readers.pop(position, None) or journal.read_from(position)
        events = await reader.read()
        self._readers[reader.position] = reader
        if len(self._readers) > READERS:
            del self._readers[next(iter(self._readers))]
        return events

    # -- what it is sent -------------------------------------------------------------------

    def _reply(self, answer: bytes) -> None:
        """Behind all that was published before."""
        frame = framed(answer)
        self._answers.append((self._bus.head, frame))
        self._waiting += len(frame)
        self.push()
        if self._waiting > WAITING:
            log.warning("a client does not read, and is disconnected", pid=self.pid, program=self.program, waiting=self._waiting)
            self._hang_up()

    def push(self) -> None:
        """Says what there is to say, as far as its socket has room."""
        try:
            while not self._over and self._held is None and (frame := self._next()) is not None:
                self._send(frame)
        except Exception as error:
            log.error("a client cannot be written to, and is disconnected", pid=self.pid, program=self.program, exc_info=error)
            self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        self._stream.close()

    def _say(self, message: FromEngine) -> None:
        self._send(framed(encode(message)))

    def _send(self, frame: bytes) -> None:
        try:
            if not self._stream.write(frame):
                self._held = frame
        except OSError:
            self._over = True  # what it said last is still received, and then its end

    def _resume_writing(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._send(held)
        self.push()

    def _next(self) -> bytes | None:
        if self._sent < 0:
            return None
        if self._answers and self._answers[0][0] <= self._sent:
            _, frame = self._answers.pop(0)
            self._waiting -= len(frame)
            return frame
        if self._behind or self._sent >= self._bus.head:
            return None
        if self._bus.chain.eras is not self._eras:
            self._eras = self._bus.chain.eras
            return framed(encode(Epochs(tuple((era.epoch, era.base, era.end) for era in self._eras))))
        events = self._events_after(self._sent)
        if events is None:
            assert self._tasks is not None
            self._behind = True
            self._tasks.start_soon(self._catch_up)
            return None
        self._sent, frame = events
        return frame

    async def _catch_up(self) -> None:
        """What memory has lost is read from the journal; where that has lost it, too, it is disconnected, and served by its next engine."""
        journal = self._bus.journal
        events: list[Event] | Dropped = []
        try:
            events = await self._read_kept(journal, self._sent + 1) if journal is not None else []
        except (LookupError, SystemFailure) as error:
            log.warning("the journal cannot be read for a client", pid=self.pid, program=self.program, why=str(error))
        if not events or (isinstance(events, Dropped) and not events.changes_nothing):
            log.warning("a client that was too slow is disconnected", pid=self.pid, program=self.program)
            self._hang_up()
            return
        self._behind = False
        if isinstance(events, Dropped):
            self._sent = events.last
            self._say(Skipped(encode_block(events)))
        else:
            self._sent += len(events)
            self._send(event_frame([encode_event(event) for event in events]))
        self.push()


class _Call(Struct, frozen=True, gc=False):
    reads: bool
    scope: anyio.CancelScope
