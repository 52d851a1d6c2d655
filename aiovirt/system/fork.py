"""What a child that is forked must not keep of us: locks, sockets, descriptors, and hosts that look as if they could be used.

The child of ``os.fork``, and so of ``multiprocessing`` with its method "fork", has all that we have open. Kept there, a lock would hold
for as long as the child lives, and a guest's monitor be taken. So each is closed in the child, at once. We notice nothing
of it: what is closed there is only the child's share. Processes that are executed are none of this: all we open is closed then.
"""

from __future__ import annotations

import contextlib
import os
from _thread import RLock
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["not_for_children", "whole"]

T = TypeVar("T")

whole: Final = RLock()
"""Held while something is opened that a child must not have: no fork comes in between."""
_ours: Final[WeakKeyDictionary[Any, Callable[[Any], object]]] = WeakKeyDictionary()


def not_for_children(thing: T, give_up: Callable[[T], object]) -> T:
    """Returns ``thing``; in a child that is forked while there is such a thing, ``give_up(thing)`` is called before all else."""
    with whole:
        _ours[thing] = give_up
    return thing


def _in_child() -> None:
    whole.release()
    for thing, give_up in list(_ours.items()):
        with contextlib.suppress(OSError):
            give_up(thing)
    _ours.clear()


if hasattr(os, "register_at_fork"):  # where there is fork(2)
    os.register_at_fork(before=whole.acquire, after_in_parent=whole.release, after_in_child=_in_child)
