"""``host.events``: the door through which users read the bus. It never writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

import anyio

from aiovirt.errors import InvalidArgument, OrderTimeout
from aiovirt.events.bus import Bus, BusStatistics
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.filters import HasSubject, make_filter
from aiovirt.events.follow import Follow, NewSuccessors
from aiovirt.events.reader import Subscription
from aiovirt.events.types import Event
from aiovirt.events.watch import Resync, Watch

if TYPE_CHECKING:
    from aiovirt.events.reader import Where

__all__ = ["Events", "Expectation", "check_timeout", "waiting"]

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)
E = TypeVar("E", bound=Event)
S = HasSubject | str | None


@contextmanager
def waiting(timeout: float | None, what: Callable[[], str], about: HasSubject | None = None) -> Iterator[None]:
    """A block for ``timeout`` seconds at most, None: for ever; then OrderTimeout with the words of ``what``.

    ``sent`` is True: what was waited for may still happen.
    """
    check_timeout(timeout)
    with anyio.move_on_after(timeout) as deadline:
        yield
    if deadline.cancelled_caught:
        raise OrderTimeout(what(), sent=True, subject=about.subject if about else None)


def check_timeout(timeout: float | None) -> None:
    """Raises InvalidArgument for what is no number of seconds to wait."""
    if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
        raise InvalidArgument(f"timeout must be a number of seconds, or None, not {timeout!r}")


class Expectation(Generic[E]):
    """``async with expect(…) as seen``: armed on entry, fulfilled on leaving; ``seen.value`` after.

    Leaving waits for the first matching event that came since entry, for ``timeout`` seconds at most (None: for ever), and
    raises OrderTimeout then; a body that raised waits for nothing.
    """

    value: E

    def __init__(self, stream: Subscription[E], timeout: float | None = None) -> None:
        check_timeout(timeout)
        self._stream = stream
        self._timeout = timeout

    async def __aenter__(self) -> Expectation[E]:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                with waiting(self._timeout, lambda: f"what was expected has not come after {self._timeout:g} s"):
                    self.value = await self._stream.receive()
        finally:
            await self._stream.__aexit__(kind, error, trace)


class Events:
    """The host's event stream: ``host.events``.

        async with host.events.subscribe("domain", after=cursor) as events:     # the log: every event, in order
        async with host.events.watch("netdev") as watch:                        # the state, and then its changes
        async with host.events.follow(after=cursor) as events:                  # the log, from one engine to the next
        async with host.events.expect(NetdevAdded, timeout=5) as seen:          # the next one

    ``types`` are event classes (``DomainLifecycle``), families of them (``DomainEvent``, ``NetdevEvent``), or either as text
    (``"domain.lifecycle"``, ``"domain"``, ``"netdev"``), none for all.
    ``subject`` is a handle, a value, ``"domain/<uuid>"``, ``"netdev/<id>"`` or a prefix ending in
    ``/``. ``where`` runs in the reader's task; what it raises ends that stream only.
    """

    def __init__(self, bus: Bus, successors: NewSuccessors | None = None) -> None:
        self._bus = bus
        self._successors = successors

    @property
    def cursor(self) -> str:
        """The cursor of the newest event: what ``after=`` takes to read all that follows."""
        return self._bus.cursor

    def statistics(self) -> BusStatistics:
        """Figures of now."""
        return self._bus.statistics()

    # One overload for each number of types, so that a stream's items have the exact union.

    @overload
    def subscribe(
        self, *, subject: S = None, where: Callable[[Event], bool] | None = None, after: str | None = None
    ) -> Subscription[Event]: ...
    @overload
    def subscribe(
        self, a: type[A], /, *, subject: S = None, where: Callable[[A], bool] | None = None, after: str | None = None
    ) -> Subscription[A]: ...
    @overload
    def subscribe(
        self, a: type[A], b: type[B], /, *, subject: S = None, where: Callable[[A | B], bool] | None = None, after: str | None = None
    ) -> Subscription[A | B]: ...
    @overload
    def subscribe(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C], bool] | None = None,
        after: str | None = None,
    ) -> Subscription[A | B | C]: ...
    @overload
    def subscribe(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C | D], bool] | None = None,
        after: str | None = None,
    ) -> Subscription[A | B | C | D]: ...
    @overload
    def subscribe(
        self, *types: type[Event] | str, subject: S = None, where: Callable[[Event], bool] | None = None, after: str | None = None
    ) -> Subscription[Event]: ...
    def subscribe(
        self, *types: type[Event] | str, subject: S = None, where: object = None, after: str | None = None
    ) -> Subscription[Event]:
        """The log: every event that matches, in order, from here on or after the cursor ``after``.

        A gap raises EventGap, also when resuming (then on entry). Raises InvalidArgument for what
        is no event type, subject or cursor.
        """
        return Subscription(self._bus, make_filter(types, subject), _where(where), _cursor(after))

    @overload
    def follow(
        self,
        *,
        subject: S = None,
        where: Callable[[Event], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[Event]: ...
    @overload
    def follow(
        self,
        a: type[A],
        /,
        *,
        subject: S = None,
        where: Callable[[A], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[A]: ...
    @overload
    def follow(
        self,
        a: type[A],
        b: type[B],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[A | B]: ...
    @overload
    def follow(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[A | B | C]: ...
    @overload
    def follow(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C | D], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[A | B | C | D]: ...
    @overload
    def follow(
        self,
        *types: type[Event] | str,
        subject: S = None,
        where: Callable[[Event], bool] | None = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[Event]: ...
    def follow(
        self,
        *types: type[Event] | str,
        subject: S = None,
        where: object = None,
        after: str | None = None,
        start_engine: bool = False,
    ) -> Follow[Event]:
        """The same log, that goes on with the host's next engine when this one ends (crashes, is killed, is updated).

        ``async with host.events.follow(after=cursor) as events: async for event in events: …`` sees every event once, from
        whichever engine. Between two engines it waits: for whoever starts the next one, or with ``start_engine`` it
        starts that itself, where none is. A gap raises EventGap (its ``resume`` is the cursor to follow on from, also with this host's
        handle); HostGone comes where no engine can come after this one: ``test:///default``, and once the
        ``connect`` block is left. Otherwise raises as ``subscribe``, and what ``connect`` raises.
        """
        successors = None if self._successors is None else self._successors(start_engine=start_engine)
        return Follow(self._bus, make_filter(types, subject), _where(where), _cursor(after), successors)

    @overload
    def watch(self, *, subject: S = None, where: Callable[[Event], bool] | None = None, fold: bool = False) -> Watch[Event | Resync]: ...
    @overload
    def watch(
        self, a: type[A], /, *, subject: S = None, where: Callable[[A], bool] | None = None, fold: bool = False
    ) -> Watch[A | Resync]: ...
    @overload
    def watch(
        self, a: type[A], b: type[B], /, *, subject: S = None, where: Callable[[A | B], bool] | None = None, fold: bool = False
    ) -> Watch[A | B | Resync]: ...
    @overload
    def watch(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C], bool] | None = None,
        fold: bool = False,
    ) -> Watch[A | B | C | Resync]: ...
    @overload
    def watch(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        subject: S = None,
        where: Callable[[A | B | C | D], bool] | None = None,
        fold: bool = False,
    ) -> Watch[A | B | C | D | Resync]: ...
    @overload
    def watch(
        self, *types: type[Event] | str, subject: S = None, where: Callable[[Event], bool] | None = None, fold: bool = False
    ) -> Watch[Event | Resync]: ...
    def watch(self, *types: type[Event] | str, subject: S = None, where: object = None, fold: bool = False) -> Watch[Event | Resync]:
        """The state (``.snapshot``, frozen, taken on entry) and then its changes, with no gap and no duplicate.

        When it fell behind it yields a Resync with a fresh snapshot. With ``fold`` a backlog is
        read folded: attribute changes of one device merge, lifecycle and removals never do.
        """
        return Watch(self._bus, make_filter(types, subject), _where(where), fold=fold)

    @overload
    def expect(
        self, kind: type[E], *, subject: S = None, where: Callable[[E], bool] | None = None, timeout: float | None = None
    ) -> Expectation[E]: ...
    @overload
    def expect(
        self, kind: str, *, subject: S = None, where: Callable[[Event], bool] | None = None, timeout: float | None = None
    ) -> Expectation[Event]: ...
    def expect(
        self, kind: type[E] | str, *, subject: S = None, where: object = None, timeout: float | None = None
    ) -> Expectation[E] | Expectation[Event]:
        """``async with host.events.expect(…) as seen: <order>``; ``seen.value`` is the first match since entry.

        Leaving waits for it, for ``timeout`` seconds at most (None: for ever), and raises OrderTimeout then.
        """
        return Expectation(Subscription[Event](self._bus, make_filter((kind,), subject), _where(where), None), timeout)


def _where(where: object) -> Where | None:
    if where is not None and (not callable(where) or iscoroutinefunction(where)):
        raise InvalidArgument(f"where must be a plain function of an event, not {where!r}")
    return cast("Where | None", where)


def _cursor(after: str | None) -> str | None:
    if after is not None:
        if not isinstance(after, str):
            raise InvalidArgument(f"after must be a cursor (EPOCH:SEQ, as an event carries it), not {after!r}")
        parse_cursor(after)
    return after
