"""``domain.qmp_proxy``: a socket at which others speak QMP with a domain's QEMU, beside the engine.

What they ask goes the way of every question (``Engine.call``), and what they hear of is what is on the
bus, so it makes no difference where the engine is. QMP itself is in :mod:`aiovirt.wire.qmp.server`;
what may not be asked is in
:mod:`aiovirt.drivers.qemu.refusals`; here is in which order things are said. Nothing here speaks with QEMU.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from os import PathLike, fspath
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

import anyio
from anyio.abc import TaskGroup
from msgspec import Raw

from aiovirt.drivers.qemu.refusals import refusal
from aiovirt.errors import CommandFailed, Error, EventGap, InvalidArgument, SystemFailure
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.events.reader import Subscription
from aiovirt.events.types import DomainLifecycle, DomainQMP
from aiovirt.model.orders import AskQMP
from aiovirt.model.state import Lifecycle
from aiovirt.system import to_thread
from aiovirt.system.background import Background, shielded
from aiovirt.system.listener import Connection, Listener
from aiovirt.system.log import get_logger
from aiovirt.wire.qmp.server import QMPServer, Request, event_line, failure_line, return_line

__all__ = ["CLIENTS", "WAITING", "QMPProxy"]

CLIENTS: Final = 16
"""How many are served at a time; others are disconnected."""
WAITING: Final = 1024 * 1024
"""Bytes that may wait for a client before it is disconnected."""
CHUNK: Final = 4096
"""Bytes read at once: to look through the worst of them takes a few milliseconds, and then others have a turn."""

log = get_logger("engine")


class _Engine(Protocol):
    """What is needed of the engine, wherever that is."""

    @property
    def bus(self) -> Bus: ...

    async def call(self, request: AskQMP, /) -> bytes:
        """The answer to one command."""
        ...


# -- the door ----------------------------------------------------------------------------------


class QMPProxy:
    """The block of :meth:`aiovirt.Domain.qmp_proxy`. ``path`` is where its socket is."""

    def __init__(self, engine: _Engine, uuid: UUID, path: str | PathLike[str], timeout: float) -> None:
        self.path = fspath(path)
        self._engine = engine
        self._uuid = uuid
        self._timeout = timeout
        self._listener: Listener | None = None
        self._clients: set[_Client] = set()
        self._armed = anyio.Event()  # from here on no event is missed
        self._sent = anyio.Event()  # clients have what is on the bus now
        self._pause = anyio.CancelScope()  # around the wait for the next event
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._version = Raw(await self._call("query-version", Raw(b"{}")))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await shielded(self._open())
            tasks = (await stack.enter_async_context(Background())).group
            tasks.start_soon(self._tell)
            await self._armed.wait()
            tasks.start_soon(self._serve)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _open(self) -> None:
        try:
            self._listener = await to_thread.run_sync(Listener, self.path)
        except OSError as error:
            raise SystemFailure(f"cannot listen at {self.path}: {error.strerror or error}") from error
        except ValueError as error:
            raise InvalidArgument(f"{self.path!r} is no path: {error}") from error

    async def _close(self) -> None:
        if self._listener is None:
            return
        try:
            await shielded(to_thread.run_sync(self._listener.close))
        except OSError as error:
            log.warning("a socket is left", file=self.path, error=str(error))

    async def _serve(self) -> None:
        """Takes in clients, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                connection = await self._accept()
                if len(self._clients) < CLIENTS:
                    client = _Client(connection, QMPServer(self._version), self._answer)
                    self._clients.add(client)
                    tasks.start_soon(self._attend, client)
                else:
                    connection.close()
                    log.warning("too many clients", file=self.path, served=CLIENTS)

    async def _accept(self) -> Connection:
        assert self._listener is not None
        try:
            return await self._listener.accept()
        except OSError as error:
            raise SystemFailure(f"cannot listen on at {self.path}: {error.strerror or error}") from error

    async def _attend(self, client: _Client) -> None:
        try:
            await client.run()
        finally:
            self._clients.discard(client)

    # -- answers ---------------------------------------------------------------------------

    async def _answer(self, request: Request) -> bytes:
        """The line that answers ``request``, when the clients have all events that came before."""
        line = await self._ask(request)
        self._pause.cancel()
        await self._sent.wait()
        return line

    async def _ask(self, request: Request) -> bytes:
        if why := refusal(request.command, request.members):
            return failure_line(request, "GenericError", f"The command {request.command} is refused here: {why}")
        try:
            return return_line(request, Raw(await self._call(request.command, request.arguments)))
        except CommandFailed as error:
            return failure_line(request, error.error_class, error.description)
        except Error as error:
            return failure_line(request, "GenericError", str(error))

    async def _call(self, command: str, arguments: Raw) -> bytes:
        return await self._engine.call(AskQMP(uuid=self._uuid, command=command, arguments=bytes(arguments), timeout=self._timeout))

    # -- events ----------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tells clients what QEMU says, until cancelled. Where that cannot be known any more, they are disconnected."""
        events = Events(self._engine.bus)
        while True:
            try:
                async with events.subscribe(DomainQMP, DomainLifecycle, subject=f"domain/{self._uuid}") as news:
                    self._armed.set()
                    await self._pass_on(news)
            except EventGap as gap:
                log.warning("events were lost to the clients", file=self.path, error=str(gap))
                self._hang_up()

    async def _pass_on(self, news: Subscription[DomainQMP | DomainLifecycle]) -> None:
        while True:
            heard: list[DomainQMP | DomainLifecycle] = []
            with anyio.CancelScope() as self._pause:  # who has an answer to give asks for what is there already
                heard = [await news.receive()]
            with suppress(anyio.WouldBlock):
                while True:
                    heard.append(news.receive_nowait())
            self._say(heard)
            self._let_go()

    def _say(self, heard: list[DomainQMP | DomainLifecycle]) -> None:
        lines = b"".join(_line(event) for event in heard if isinstance(event, DomainQMP))
        for client in [*self._clients] if lines else ():
            client.tell(lines)
        if any(isinstance(event, DomainLifecycle) and event.kind is Lifecycle.STOPPED for event in heard):
            self._hang_up()

    def _hang_up(self) -> None:
        """On all clients, each when what it waits for is answered."""
        for client in self._clients:
            client.end()
        self._let_go()

    def _let_go(self) -> None:
        """Answers that wait for the events before them are given."""
        sent, self._sent = self._sent, anyio.Event()
        sent.set()


def _line(event: DomainQMP) -> bytes:
    data = event.data
    return event_line(event.event, data if data or event.omitted else None, event.source_time)


# -- one client --------------------------------------------------------------------------------


class _Client:
    """One conversation.

    QEMU carries out one command after the other, and so does this: the next is read when one is answered
    and nothing waits for the client any more. What it sends meanwhile waits in its own socket.
    """

    def __init__(self, connection: Connection, server: QMPServer, answer: Callable[[Request], Awaitable[bytes]]) -> None:
        self._connection = connection
        self._server = server
        self._answer = answer
        self._scope = anyio.CancelScope()
        self._listening = anyio.CancelScope()
        self._ending = False
        self._waiting = bytearray()  # what the socket has no room for yet
        self._sent = anyio.Event()  # nothing waits
        self._sent.set()
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """The conversation, until the client ends it or is disconnected, or :meth:`end`."""
        async with self._connection:
            with self._scope:
                async with anyio.create_task_group() as self._tasks:
                    self._write(self._server.greeting)
                    await self._converse()

    def tell(self, lines: bytes) -> None:
        """Sends events, once they are wanted."""
        if self._server.is_ready:
            self._write(lines)

    def end(self) -> None:
        """Nothing more is read."""
        self._ending = True
        self._listening.cancel()

    async def _converse(self) -> None:
        while data := await self._listen():
            self._server.feed(data)
            while (said := self._server.next()) is not None:
                self._write(said if isinstance(said, bytes) else await self._answer(said))
                await self._sent.wait()

    async def _listen(self) -> bytes:
        with anyio.CancelScope() as self._listening:
            return b"" if self._ending else await self._connection.receive(CHUNK)
        return b""

    # -- writing ---------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Sends ``data`` now, or when there is room; gives a client up that does not read."""
        if self._scope.cancel_called:
            return
        if len(self._waiting) > WAITING:
            log.warning("a client does not read, and is disconnected", waiting=len(self._waiting))
            self._scope.cancel()
        elif self._waiting:
            self._waiting += data
        elif (rest := data[self._push(data) :]) and self._tasks is not None:
            self._waiting += rest
            self._sent = anyio.Event()
            self._tasks.start_soon(self._send_waiting)

    async def _send_waiting(self) -> None:
        while self._waiting:
            await self._connection.writable()
            del self._waiting[: self._push(self._waiting)]
        self._sent.set()

    def _push(self, data: bytes | bytearray) -> int:
        """How many bytes the socket took; a client that is gone takes all."""
        try:
            return self._connection.write(data)
        except OSError:
            self._scope.cancel()
            return len(data)
