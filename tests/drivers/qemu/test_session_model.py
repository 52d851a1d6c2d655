"""The session against an oracle: any program of askers and of a scripted peer, in virtual time.

What is done is done at whole seconds, and deadlines pass between them: so nothing that matters happens
at the same moment, and the oracle can say all of what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from aiovirt.drivers.qemu.monitor import Late, Listener, Monitor, Priority
from aiovirt.errors import CommandFailed, ConnectionLost, OrderTimeout, ProtocolError, ReplyTooLong
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.testing.clock import run_virtual
from aiovirt.testing.qmp_peer import QMPPeer
from aiovirt.wire.qmp import QMPEvent

LIMIT = 2000
PRIORITIES = (Priority.OUT_OF_BAND, Priority.URGENT, Priority.PLAIN)

Outcome = tuple[object, ...]


class Wish(Struct):
    """A command to ask for."""

    priority: Priority
    timeout: float
    with_descriptor: bool
    question: bool


class Word(Struct):
    """What the peer says: ``what`` of the command ``which`` (of those it has), or of nothing."""

    what: str
    which: int = 0


class Ask(Struct):
    wishes: list[Wish]


class Leave(Struct):
    """A caller is cancelled."""

    which: int


class Say(Struct):
    words: list[Word]
    at_once: bool


class Read(Struct):
    """The peer stops reading, or reads on."""

    on: bool


class Pass(Struct):
    seconds: int


Step = Ask | Leave | Say | Read | Pass

ANSWERS = ["value", "value", "value", "odd", "refusal", "too long", "refusal without an id", "value twice"]
NEWS = ["event", "event", "long event", "stranger"]
ENDS = ["hang up", "garbage", "second greeting"]

wishes = st.builds(
    Wish,
    st.sampled_from([*PRIORITIES, Priority.PLAIN]),
    st.sampled_from([0.5, 1.5, 2.5, 4.5, 9.5, 30.5]),
    st.sampled_from([False, False, True]),
    st.booleans(),
)
words = st.builds(Word, st.sampled_from([*ANSWERS * 8, *NEWS * 4, *ENDS]), st.integers(0, 20))
steps = st.one_of(
    st.builds(Ask, st.lists(wishes, min_size=1, max_size=10)),
    st.builds(Ask, st.lists(wishes, min_size=1, max_size=10)),
    st.builds(Say, st.lists(words, min_size=1, max_size=4), st.booleans()),
    st.builds(Say, st.lists(words, min_size=1, max_size=4), st.booleans()),
    st.builds(Leave, st.integers(0, 20)),
    st.builds(Read, st.booleans()),
    st.builds(Pass, st.integers(0, 6)),
)


# -- what should come of it --------------------------------------------------------------------


class Asked:
    """One command and what should become of it."""

    def __init__(self, name: str, wish: Wish, when: float, chunks: int) -> None:
        self.name = name
        self.wish = wish
        self.deadline = when + wish.timeout
        self.chunks = chunks  # that had been heard before
        self.sent = False
        self.outcome: Outcome | None = None


class Oracle:
    """All that was asked and said so far, and what is to be seen of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Asked] = []
        self.received: list[str] = []
        self.with_peer: list[Asked] = []  # not answered yet
        self.outcomes: dict[str, Outcome] = {}
        self.heard: list[bool] = []
        self.late: list[Late] = []
        self.events: list[str] = []
        self.overlooked: list[str | None] = []
        self.reads, self.over = True, False
        self._chunks = 0
        self._silent = False

    @property
    def open(self) -> list[Asked]:
        return [call for call in self.calls if call.outcome is None]

    @property
    def has_unsent(self) -> bool:
        return any(not call.sent for call in self.open)

    @property
    def is_settled(self) -> bool:
        return self.over or all(call.wish.question or call.outcome is None for call in self.with_peer)

    def ask(self, name: str, wish: Wish) -> None:
        self.calls.append(call := Asked(name, wish, self.now, self._chunks))
        if self.over:
            self._settle(call, "lost")
        self._pump()

    def leave(self, call: Asked) -> None:
        self._settle(call, "cancelled")
        self._pump()

    def read(self, *, on: bool) -> None:
        self.reads = on
        self._pump()

    def pass_until(self, now: float) -> None:
        while due := [call for call in self.open if call.deadline <= now]:
            self.now = min(call.deadline for call in due)
            for call in due:
                if call.deadline == self.now:
                    if call.chunks == self._chunks and not self._silent:
                        self._silent = True
                        self.heard.append(False)
                    self._settle(call, "timeout", call.sent)
            self._pump()
        self.now = now

    def chunk(self) -> None:
        self._chunks += 1
        if self._silent:
            self._silent = False
            self.heard.append(True)

    def hear(self, what: str, call: Asked | None, name: str) -> None:
        if what in ENDS:
            self.end()
        if what == "event":
            self.events.append(name)
        if what == "long event":
            self.overlooked.append("LONG")
        if call is not None:
            self._answer(call, what)

    def end(self) -> None:
        self.over = True
        for call in self.open:
            self._settle(call, "lost")

    def _answer(self, call: Asked, what: str) -> None:
        self.with_peer.remove(call)
        refused = what.startswith("refusal")
        if call.outcome is not None:
            self.late.append(Late(command=call.name, changes=not call.wish.question, done=not refused))
        elif refused:
            self._settle(call, "refused", f"no {call.name}" if what == "refusal" else "no")
        elif what.startswith("value"):
            self._settle(call, "value", call.name.upper())
        else:
            self._settle(call, what)
        self._pump()

    def _settle(self, call: Asked, *outcome: object) -> None:
        call.outcome = (*outcome, self.now)
        self.outcomes[call.name] = call.outcome

    def _next(self) -> Asked | None:
        taken = sum(call.wish.priority is not Priority.OUT_OF_BAND for call in self.with_peer)
        descriptor_out = any(call.wish.with_descriptor for call in self.with_peer)
        for priority in PRIORITIES:
            first = next((call for call in self.open if call.wish.priority is priority and not call.sent), None)
            if first and (taken < 7 or priority is Priority.OUT_OF_BAND) and not (first.wish.with_descriptor and descriptor_out):
                return first
        return None

    def _pump(self) -> None:
        while self.reads and not self.over and (call := self._next()) is not None:
            call.sent = True
            self.received.append(call.name)
            self.with_peer.append(call)


# -- what does ---------------------------------------------------------------------------------


class Ear(Listener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.silences: list[bool] = []
        self.lates: list[Late] = []
        self.missed: list[str | None] = []

    def event(self, event: QMPEvent) -> None:
        self.events.append(event.name)

    def responsive(self, again: bool) -> None:  # noqa: FBT001 - a plain answer
        self.silences.append(again)

    def late(self, answer: Late) -> None:
        self.lates.append(answer)

    def oversized(self, event: str | None, size: int) -> None:
        assert size > LIMIT
        self.missed.append(event)


class Play:
    """A session, its peer, its callers, and the oracle beside them."""

    def __init__(self, tasks: TaskGroup, descriptor: int) -> None:
        self.peer = QMPPeer()
        self.ear = Ear()
        self.deadlines = Deadlines()
        self.monitor = Monitor(self.peer, self.ear, self.deadlines, limit=LIMIT)
        self.oracle = Oracle()
        self.outcomes: dict[str, Outcome] = {}
        self._tasks = tasks
        self._descriptor = descriptor
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._count = 0

    # -- steps -----------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        self.oracle.pass_until(anyio.current_time())
        match step:
            case Ask():
                self.ask(step)
            case Leave():
                self.leave(step)
            case Say():
                self.say(step)
            case Read():
                self.read(step)

    def ask(self, step: Ask) -> None:
        for wish in step.wishes:
            self._count += 1
            self._tasks.start_soon(self._caller, f"{'query-' if wish.question else ''}c{self._count}", wish)

    def leave(self, step: Leave) -> None:
        if waiting := self.oracle.open:
            call = waiting[step.which % len(waiting)]
            self._scopes[call.name].cancel()
            self.oracle.leave(call)

    def say(self, step: Say) -> None:
        chunks: list[bytes] = []
        heard: list[tuple[str, Asked | None, str]] = []
        has = list(self.oracle.with_peer)
        hangs_up = any(word.what == "hang up" for word in step.words)
        for word in step.words:
            if word.what == "hang up" or (hangs_up and word.what in ANSWERS and self.oracle.has_unsent):
                continue  # it would be answered by a write that fails; test_monitor has that
            call = self._meant(word, has)
            self._count += 1
            if call is None and word.what in ANSWERS:
                continue
            if call is not None:
                has.remove(call)
            chunks.append(self._spoken(word.what, call))
            heard.append((word.what, call, f"E{self._count}"))
        if not self.oracle.over:
            self._speak(chunks, heard, at_once=step.at_once, hangs_up=hangs_up)

    def _speak(self, chunks: list[bytes], heard: list[tuple[str, Asked | None, str]], *, at_once: bool, hangs_up: bool) -> None:
        for chunk in [b"".join(chunks)] if at_once and chunks else chunks:
            self.peer.send_bytes(chunk)
        if hangs_up:
            self.peer.close()
        for number, each in enumerate(heard):
            if self.oracle.over:
                break
            if not at_once or not number:
                self.oracle.chunk()
            self.oracle.hear(*each)
        if hangs_up:
            self.oracle.end()

    def read(self, step: Read) -> None:
        if step.on:
            self.peer.read_on()
        else:
            self.peer.stop_reading()
        self.oracle.read(on=step.on)

    # -- callers ---------------------------------------------------------------------------

    async def _caller(self, name: str, wish: Wish) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[name] = scope
            self.oracle.ask(name, wish)
            outcome = await self._outcome(name, wish)
        self._note(name, ("cancelled",) if scope.cancelled_caught else outcome)

    async def _outcome(self, name: str, wish: Wish) -> Outcome:
        descriptor = self._descriptor if wish.with_descriptor else None
        try:
            return "value", await self.monitor.execute(
                name, returns=str, by=Deadline.after(wish.timeout), priority=wish.priority, descriptor=descriptor
            )
        except CommandFailed as error:
            return "refused", error.description
        except ReplyTooLong:
            return ("too long",)
        except OrderTimeout as error:
            return "timeout", error.sent
        except ConnectionLost:
            return ("lost",)
        except ProtocolError:
            return ("odd",)

    def _note(self, name: str, outcome: Outcome) -> None:
        assert name not in self.outcomes
        self.outcomes[name] = (*outcome, anyio.current_time())

    # -- words -----------------------------------------------------------------------------

    @staticmethod
    def _meant(word: Word, has: list[Asked]) -> Asked | None:
        if word.what not in ANSWERS or not has:
            return None
        if word.what == "refusal without an id":
            return next((call for call in has if call.wish.priority is not Priority.OUT_OF_BAND), None)
        return has[word.which % len(has)]

    def _spoken(self, what: str, call: Asked | None) -> bytes:
        name = call.name if call else ""
        number = next((one.id for one in self.peer.received if name in {one.execute, one.exec_oob}), None)
        stamp = {"seconds": 1, "microseconds": 0}
        forms: dict[str, Callable[[], object]] = {
            "value": lambda: {"return": name.upper(), "id": number},
            "value twice": lambda: {"return": name.upper(), "id": number},
            "odd": lambda: {"return": 3, "id": number},
            "too long": lambda: {"return": "x" * LIMIT, "id": number},
            "refusal": lambda: {"id": number, "error": {"class": "GenericError", "desc": f"no {name}"}},
            "refusal without an id": lambda: {"error": {"class": "GenericError", "desc": "no"}},
            "event": lambda: {"timestamp": stamp, "event": f"E{self._count}"},
            "long event": lambda: {"timestamp": stamp, "event": "LONG", "data": {"a": "x" * LIMIT}},
            "stranger": lambda: {"return": {}, "id": 10**6},
            "second greeting": lambda: {"QMP": {"version": {"qemu": {"major": 1, "minor": 2, "micro": 3}}}},
            "garbage": lambda: ["what"],
        }
        return (msgspec.json.encode(forms[what]()) + b"\r\n") * (1 + (what == "value twice"))

    # -- looks -----------------------------------------------------------------------------

    def compare(self) -> None:
        """Asserts that all that can be seen is as the oracle says."""
        self.oracle.pass_until(anyio.current_time())
        oracle, ear = self.oracle, self.ear
        assert [one.execute or one.exec_oob for one in self.peer.received][1:] == oracle.received
        assert self.outcomes == oracle.outcomes
        assert ear.events == oracle.events
        assert ear.silences == oracle.heard == [bool(number % 2) for number in range(len(oracle.heard))]
        assert ear.lates == oracle.late
        assert ear.missed == oracle.overlooked
        assert self.monitor.is_settled == oracle.is_settled
        assert len(self.peer.descriptors) == sum(call.sent and call.wish.with_descriptor for call in oracle.calls)


async def play(program: list[Step], descriptor: int) -> None:
    ended: list[str] = []
    with anyio.fail_after(10_000):
        async with anyio.create_task_group() as tasks:
            one = Play(tasks, descriptor)

            async def run() -> None:
                ended.append(await one.monitor.run())

            tasks.start_soon(one.deadlines.run)
            tasks.start_soon(run)
            await one.monitor.ready(Deadline.after(1))
            for step in program:
                one.do(step)
                await anyio.sleep(step.seconds if isinstance(step, Pass) else 1)
                one.compare()
            await anyio.sleep(100)
            one.compare()
            assert not one.oracle.open
            one.do(Say([Word("hang up")], at_once=False))
            await anyio.sleep(1)
            one.do(Ask([Wish(priority, 0.5, with_descriptor=False, question=True) for priority in PRIORITIES]))
            await anyio.sleep(1)
            one.compare()
            tasks.cancel_scope.cancel()
    assert len(ended) == 1
    assert ended[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=200)
@given(st.lists(steps, max_size=30))
def test_any_program_goes_as_the_oracle_says(backend: str, program: list[Step]) -> None:
    with open("/dev/null", "rb") as descriptor:  # noqa: PTH123 - any descriptor
        run_virtual(play, program, descriptor.fileno(), backend=backend)
