"""``host.events``: the door through which users read the bus. It never writes."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

from aiovirt.events.bus import Bus, BusStatistics
from aiovirt.events.filters import HasSubject, make_filter
from aiovirt.events.reader import Subscription
from aiovirt.events.types import Event
from aiovirt.events.watch import Resync, Watch

if TYPE_CHECKING:
    from aiovirt.events.reader import Where

__all__ = ["Events", "Expectation"]

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)
E = TypeVar("E", bound=Event)
S = HasSubject | str | None


class Expectation(Generic[E]):
    """``async with expect(…) as seen``: armed on entry, fulfilled on leaving; ``seen.value`` after.

    Leaving waits for the first matching event that came since entry; a body that raised waits for
    nothing. There is no deadline of its own: put a ``fail_after`` around it.
    """

    value: E

    def __init__(self, stream: Subscription[E]) -> None:
        self._stream = stream

    async def __aenter__(self) -> Expectation[E]:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.value = await self._stream.receive()
        finally:
            await self._stream.__aexit__(kind, error, trace)


class Events:
    """The host's event stream.

    ``types`` are event classes or families (``DomainEvent``, ``NetdevEvent``, …), none for all.
    ``subject`` is a handle, a value, ``"domain/<uuid>"``, ``"netdev/<id>"`` or a prefix ending in
    ``/``. ``where`` runs in the reader's task; what it raises ends that stream only.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

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
        self, *types: type[Event], subject: S = None, where: Callable[[Event], bool] | None = None, after: str | None = None
    ) -> Subscription[Event]: ...
    def subscribe(self, *types: type[Event], subject: S = None, where: object = None, after: str | None = None) -> Subscription[Event]:
        """The log: every event that matches, in order, from here on or after the cursor ``after``.

        A gap raises EventGap, also when resuming (then on entry). Raises InvalidArgument for what
        is no event type, subject or cursor.
        """
        return Subscription(self._bus, make_filter(types, subject), cast("Where | None", where), after)

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
        self, *types: type[Event], subject: S = None, where: Callable[[Event], bool] | None = None, fold: bool = False
    ) -> Watch[Event | Resync]: ...
    def watch(self, *types: type[Event], subject: S = None, where: object = None, fold: bool = False) -> Watch[Event | Resync]:
        """The state (``.snapshot``, frozen, taken on entry) and then its changes, with no gap and no duplicate.

        When it fell behind it yields a Resync with a fresh snapshot. With ``fold`` a backlog is
        read folded: attribute changes of one device merge, lifecycle and removals never do.
        """
        return Watch(self._bus, make_filter(types, subject), cast("Where | None", where), fold=fold)

    def expect(self, kind: type[E], *, subject: S = None, where: Callable[[E], bool] | None = None) -> Expectation[E]:
        """``async with host.events.expect(…) as seen: <order>``; ``seen.value`` is the first match since entry."""
        return Expectation(self.subscribe(kind, subject=subject, where=where))
