"""What is asked of one QEMU and not answered yet: which commands it has, and which wait for their turn. Pure.

    WAITING --sent--> SENT --answered--> DONE
       |                |
    cancelled        cancelled
       v                v
    DROPPED          CANCELLED (forgotten once it is answered)

QEMU reads on while at most eight in-band commands are queued there, and an out-of-band command overtakes
them only as long as it reads (qemu docs: interop/qmp-spec, "Out-of-band execution"). So seven are sent, the
rest wait here: a command that is cancelled before it is sent never runs, and an urgent one overtakes. One
that was sent keeps its place until it is answered, whoever still wants to know.

A file descriptor goes with its command, and QEMU keeps only the last one that came: one such command at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from msgspec import Struct

from aiovirt.system.deadlines import Deadline
from aiovirt.wire.qmp import Failure, Reply, TooLong

__all__ = ["WINDOW", "Answer", "Call", "Priority", "Stage", "Window"]

WINDOW: Final = 7
SLACK: Final = 64

Answer = Reply | Failure | TooLong


class Priority(Enum):
    """How a command gets to QEMU, the first first."""

    OUT_OF_BAND = "out of band"
    URGENT = "urgent"
    PLAIN = "plain"


class Stage(Enum):
    """How far a command came."""

    WAITING = "waiting"
    SENT = "sent"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    DONE = "done"


_WAITING: Final = Stage.WAITING
_SENT: Final = Stage.SENT
_DONE: Final = Stage.DONE
_OUT_OF_BAND: Final = Priority.OUT_OF_BAND


def _nobody() -> None:
    """Nobody waits."""


class Call(Struct, eq=False):
    """One command: its line, when it is too late, what became of it, and how to wake who waits for that, or to hand over to them.

    ``received_before`` is how much had been heard when it was asked.
    """

    number: int
    command: str
    line: bytes
    by: Deadline
    priority: Priority = Priority.PLAIN
    descriptor: int | None = None
    received_before: int = 0
    wake: Callable[[], object] = _nobody
    hand_over: Callable[[], object] = _nobody
    stage: Stage = Stage.WAITING
    answer: Answer | OSError | None = None

    @property
    def changes(self) -> bool:
        """Whether it may change the guest; QAPI's questions begin with ``query-``."""
        return not self.command.startswith("query-")


class Window:
    """The commands of one session. ``sent`` has those with QEMU, by id; ``unsettled`` counts the changing ones given up."""

    def __init__(self) -> None:
        self.sent: dict[int, Call] = {}
        self.unsettled = 0
        self._in_band = 0
        self._descriptor_out = False
        self._dropped = 0  # at most so many stand in the queues still
        self._queues: dict[Priority, deque[Call]] = {}  # those in which something stands: an empty deque takes half a kilobyte

    def is_free_for(self, call: Call) -> bool:
        """Whether ``call`` may be sent at once: there is room, and nothing waits before it."""
        return self._in_band < WINDOW and not self._queues and (call.descriptor is None or not self._descriptor_out)

    @property
    def has_waiting(self) -> bool:
        """Whether something may be waiting to be sent."""
        return bool(self._queues)

    def add(self, call: Call) -> None:
        """One more to be sent."""
        self._queues.setdefault(call.priority, deque()).append(call)

    def next(self) -> Call | None:
        """What is to be sent now, or None while all that waits has to."""
        for priority in Priority:
            if (call := self._first_in(priority)) is not None and self._may_go(call):
                return call
        return None

    def _first_in(self, priority: Priority) -> Call | None:
        standing = self._queues.get(priority)
        while standing and standing[0].stage is not _WAITING:
            standing.popleft()
        if standing:
            return standing[0]
        self._queues.pop(priority, None)
        return None

    def _may_go(self, call: Call) -> bool:
        if call.descriptor is not None and self._descriptor_out:
            return False
        return self._in_band < WINDOW or call.priority is _OUT_OF_BAND

    def mark_sent(self, call: Call) -> None:
        """QEMU has it, or will have it before anything else."""
        call.stage = _SENT
        self.sent[call.number] = call
        if call.priority is not _OUT_OF_BAND:
            self._in_band += 1
        if call.descriptor is not None:
            self._descriptor_out = True

    def answered(self, number: int | None, answer: Answer) -> Call | None:
        """Whose answer that is: None where nobody asked.

        A refusal without an id is that of a command QEMU could not read: of the oldest in-band one, as it
        answers those in order.
        """
        if number is None and isinstance(answer, Failure):
            number = next((call.number for call in self.sent.values() if call.priority is not _OUT_OF_BAND), None)
        call = self.sent.pop(number, None) if number is not None else None
        if call is None:
            return None
        if call.priority is not _OUT_OF_BAND:
            self._in_band -= 1
        if call.descriptor is not None:
            self._descriptor_out = False
        if call.stage is _SENT:
            call.stage, call.answer = _DONE, answer
        elif call.changes:
            self.unsettled -= 1
        return call

    def give_up(self, call: Call) -> None:
        """Nobody waits for it any more: not sent, it never will be; sent, it keeps its place."""
        if call.stage is _WAITING:
            call.stage = Stage.DROPPED
            self._dropped += 1
            if self._dropped > max(SLACK, sum(map(len, self._queues.values())) // 2):
                self._sweep()
        elif call.stage is _SENT:
            call.stage = Stage.CANCELLED
            self.unsettled += call.changes

    def _sweep(self) -> None:
        queues = {priority: deque(call for call in standing if call.stage is _WAITING) for priority, standing in self._queues.items()}
        self._queues = {priority: standing for priority, standing in queues.items() if standing}
        self._dropped = 0

    def refuse(self, call: Call, why: OSError) -> None:
        """The system does not take it: it is not sent, and never will be."""
        call.answer = why
        self.give_up(call)

    def open(self) -> Iterator[Call]:
        """All that somebody waits for."""
        for call in self.sent.values():
            if call.stage is _SENT:
                yield call
        for standing in self._queues.values():
            for call in standing:
                if call.stage is _WAITING:
                    yield call
