"""The holder's socket: other processes attach to this engine, and see and do what its own Host does.

One task passes events on to all clients; what is sent to several at once is encoded once. A client that does not read costs
nobody anything: it has its position in the journal, from where it is sent more, and only answers wait for it in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup

from aiovirt.engine.client import BATCH, Client, Directories, event_frame, refusal
from aiovirt.engine.local import LocalEngine
from aiovirt.errors import AccessDenied, HostHeld, SystemFailure
from aiovirt.events.feed import Events
from aiovirt.events.tail import Tail
from aiovirt.events.types import DomainLifecycle
from aiovirt.system import to_thread
from aiovirt.system.again import contained, keep_on
from aiovirt.system.background import Background, shielded
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.listener import Listener
from aiovirt.system.log import get_logger
from aiovirt.system.reserve import RESERVE
from aiovirt.wire.attach.messages import HandOver

__all__ = ["BACKLOG", "Holder"]

BACKLOG: Final = 1024
"""Processes that may wait to be let in."""
PARTING: Final = 10.0
"""Seconds for which an engine that hands the host over goes on for what its clients have asked already."""
_CROWDED: Final = SystemFailure("this host's engine takes no client on: too many open files")
log = get_logger("engine")


class Holder:
    """``async with Holder(engine, place, listen):`` a socket for this user and root.

    ``place`` are the folders that clients have to mean. ``listen()``, in a thread, gives the socket.

    ``keeps`` says why the host is not handed over to who asks for it, where it is not. ``yields_when_idle``: to who does not insist,
    too, when nobody else is attached. ``has_successor``: another engine follows at the end of the block, which the clients are told.
    """

    keeps = "an application that is the engine for as long as it is connected"
    yields_when_idle = False
    has_successor = False
    _tasks: TaskGroup

    def __init__(self, engine: LocalEngine, place: Directories, listen: Callable[[], Listener]) -> None:
        self.clients: set[Client] = set()
        self._engine = engine
        self._listen_there = listen
        self._changed = anyio.Event()  # who is there, or what runs
        self._attended = anyio.Event()  # there is a client
        self._listeners: list[Listener] = []
        self._parts = False  # from its clients
        self._asked_for = anyio.Event()  # somebody else is to have the host
        self._place = place
        self._tail = Tail(engine.bus)
        self._batch: tuple[int, int, bytes] = (-1, -1, b"")  # a message of events: after which position, up to which, its bytes
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self._listen(self._listen_there)
            self._tasks = (await stack.enter_async_context(Background())).group
            self._tasks.start_soon(self._pass_on)
            self._tasks.start_soon(self._serve, self._listeners[0])
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.has_successor:
            await self._part()
        await self._stack.__aexit__(kind, error, trace)

    # -- the door --------------------------------------------------------------------------

    async def _listen(self, there: Callable[[], Listener]) -> None:
        try:
            await shielded(to_thread.run_sync(lambda: self._listeners.append(there())))
        except OSError as error:
            raise SystemFailure(f"nobody can attach: {error.strerror or error}: {error.filename}") from error

    async def _close(self) -> None:
        for listener in self._listeners:
            await shielded(to_thread.run_anyhow(listener.close))

    async def renew(self, there: Callable[[], Listener]) -> None:
        """Where who attaches does not find the socket any more, listens at the one that ``there()``, in a thread, gives.

        Raises SystemFailure.
        """
        if self._parts or await to_thread.run_sync(lambda: self._listeners[-1].is_there):
            return
        await self._listen(there)
        log.warning("the socket was gone, and is made anew")
        self._tasks.start_soon(self._serve, self._listeners[-1])

    async def _serve(self, listener: Listener) -> None:
        listener.last_words = refusal(_CROWDED)
        async with anyio.create_task_group() as tasks:
            await keep_on(partial(self._accept, listener, tasks), log, lost="nobody can attach for now", back="processes can attach again")

    async def _accept(self, listener: Listener, tasks: TaskGroup, works: Callable[[], None]) -> None:
        while not self._parts:
            stream = await listener.accept_stream()
            works()
            tasks.start_soon(self._attend, stream)

    async def _pass_on(self) -> None:
        await keep_on(self._pass_events_on, log, lost="clients get no events for now", back="clients get events again")

    async def _attend(self, stream: UnixStream) -> None:
        async with stream:
            if self._parts:
                return
            with contained(log, "a client could not be served"):
                client = self._admit(stream)
                if client is None:
                    return
                try:
                    await client.run()
                finally:
                    self.clients.discard(client)
                    self._changed.set()

    def _admit(self, stream: UnixStream) -> Client | None:
        """The client at the far side, or None where it was refused."""
        pid, uid = stream.peer
        client = Client(self._engine, self._place, stream, self.events_after, hand_over=self._hand_over, pid=pid, uid=uid)
        if uid not in {0, os.geteuid()}:
            client.refuse(AccessDenied(f"user {uid} may not attach to this host"))
            log.warning("a client was refused", pid=pid, uid=uid)
            return None
        try:
            RESERVE.check("this host's engine takes no client on")
        except SystemFailure as crowded:
            client.refuse(crowded)
            return None
        self.clients.add(client)
        self._attended.set()
        self._changed.set()
        return client

    # -- somebody else's -------------------------------------------------------------------

    async def asked_for(self) -> None:
        """Returns when somebody else asked for the host, and is to have it: the block is to be left."""
        await self._asked_for.wait()

    def _hand_over(self, asker: Client, asked: HandOver) -> None:
        """Raises HostHeld with the reason where the host is not handed over to ``asker``."""
        pid, who = os.getpid(), f"process {asker.pid}"
        if self.keeps:
            raise HostHeld(f"process {pid} keeps this host: {self.keeps}", pid=pid)
        if asked.if_idle and (not self.yields_when_idle or self.clients != {asker}):
            raise HostHeld(f"this host is held by process {pid}: --take-over asks it to hand over, --wait waits for its end", pid=pid)
        for client in self.clients:
            if client.owned:
                name = self._engine.records.entries.get(client.owned[0]).name
                raise HostHeld(f"process {pid} keeps this host: the domain {name!r} lives as long as process {client.pid}", pid=pid)
        log.info("the host is handed over", to=who)
        self.has_successor = True
        self._asked_for.set()

    async def _part(self) -> None:
        """Tells every client that another engine follows; returns when they have gone, or have had their time."""
        self._parts = True
        with anyio.move_on_after(PARTING, shield=True):
            for client in tuple(self.clients):
                client.leave()
            while self.clients:
                self._changed = anyio.Event()
                await self._changed.wait()

    # -- nobody left -----------------------------------------------------------------------

    async def idle(self, seconds: float) -> None:
        """Returns when for so long nobody was attached and no guest ran."""
        async with Background() as background:
            background.group.start_soon(self._watch_guests)
            while True:
                self._changed = anyio.Event()
                is_idle = not self.clients and not self._is_needed
                with anyio.move_on_after(seconds if is_idle else None) as quiet:
                    await self._changed.wait()
                if quiet.cancelled_caught and not self._changed.is_set():
                    return

    @property
    def _is_needed(self) -> bool:
        """Whether a guest runs, or is to be started with the host."""
        views = self._engine.bus.state.domains.values()
        return any(view.is_active for view in views) or any(entry.autostart for entry in self._engine.records.entries)

    async def _watch_guests(self) -> None:
        async with Events(self._engine.bus).subscribe(DomainLifecycle) as events:
            while True:
                await events.receive_batch()
                self._changed.set()

    # -- events ----------------------------------------------------------------------------

    async def _pass_events_on(self, works: Callable[[], None]) -> None:
        """To nobody while there is nobody: then no event wakes this."""
        works()
        while not self._engine.bus.closed:
            if not self.clients:
                self._attended = anyio.Event()
                await self._attended.wait()
            await self._tail.wait()
            for client in tuple(self.clients):
                client.push()

    def events_after(self, position: int) -> tuple[int, bytes] | None:
        """(up to which position, the message) of the next events; None where memory has lost them."""
        after, upto, message = self._batch
        if after != position:
            payloads = self._tail.after(position, BATCH)
            if payloads is None:
                return None
            upto, message = position + len(payloads), event_frame(payloads)
            self._batch = position, upto, message
        return upto, message
