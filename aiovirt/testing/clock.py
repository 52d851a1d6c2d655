"""Virtual time: an hour's sleep is over at once, on asyncio and on trio, and deadlines keep their order.

Time starts at 0 and moves only when every task waits: then it jumps to the next deadline. Two rules
make that safe for code that does more than sleep:

- I/O that is ready now is served before time moves, so two ends of a socket in one process talk in
  no time at all.
- While a worker thread (``anyio.to_thread.run_sync`` with its default limiter) is at work, a
  deadline takes no less than it really does: the clock makes no thread late.

What lives outside (a child process, a peer on another machine, a thread started by other means) is
not waited for: a test that talks to it belongs in real time. On asyncio ``anyio.wait_all_tasks_blocked``
naps a tenth of a second between looks, and that tenth passes here too. uvloop keeps a clock of its
own, and has no virtual form.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import trio
import trio.testing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from selectors import SelectorKey

__all__ = ["VirtualLoop", "run_virtual", "virtual_backend", "virtual_backends"]

T = TypeVar("T")
Args = TypeVarTuple("Args")


def virtual_backends() -> list[tuple[str, str, dict[str, object]]]:
    """(name, backend, options) of each virtual time; backend and options as ``anyio.run`` takes them.

    The options hold a clock, so they are good for one run: ask again for the next.
    """
    return [(f"virtual-{name}", *virtual_backend(name)) for name in _OPTIONS]


def virtual_backend(name: str) -> tuple[str, dict[str, object]]:
    """(backend, options) of the virtual time of ``name`` (asyncio, trio), as an ``anyio_backend`` fixture returns them.

    Raises KeyError for any other name.
    """
    return name, _OPTIONS[name]()


def run_virtual(func: Callable[[*Args], Awaitable[T]], *args: *Args, backend: str = "asyncio") -> T:
    """Runs ``func(*args)`` as ``anyio.run`` does, in virtual time; returns what it returns."""
    name, options = virtual_backend(backend)
    return anyio.run(func, *args, backend=name, backend_options=options)


# -- asyncio -----------------------------------------------------------------------------------


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose ``time()`` is virtual: a ``loop_factory`` for anyio (asyncio alone does not report threads)."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # asyncio fires what is due before time() + this; its own nanosecond is lost in a float
        # once half a year has passed, and a timer would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for I/O in no time: where nothing is ready, the clock ``now`` has moved by the timeout instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(timeout if _threads_at_work() else 0)
        if not ready:
            self.now += timeout
        return ready


def _threads_at_work() -> bool:
    return anyio.to_thread.current_default_thread_limiter().borrowed_tokens > 0


# -- trio --------------------------------------------------------------------------------------


class _ThreadAwareJumps(trio.abc.Instrument):
    """Keeps a MockClock's threshold (how long in real time all tasks must wait before it jumps) right.

    It is 0, and the wait for the next deadline while a worker thread is at work.
    """

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's signature
        threshold = 0.0
        if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            threshold = max(0.0, trio.lowlevel.current_statistics().seconds_to_next_deadline)
        if threshold != self._clock.autojump_threshold:
            self._clock.autojump_threshold = threshold


def _asyncio_options() -> dict[str, object]:
    return {"loop_factory": VirtualLoop}


def _trio_options() -> dict[str, object]:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [_ThreadAwareJumps(clock)]}


_OPTIONS = {"asyncio": _asyncio_options, "trio": _trio_options}
