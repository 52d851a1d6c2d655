"""Shortages made to order, in the process under test: no room on the disk, no descriptor, no memory, no thread, no watch.

:meth:`Shortage.install` puts a wrapper before each call of ``os``, ``io``, ``socket``, ``threading`` and inotify's libc that a
shortage makes fail. A call counts when code of ``aiovirt/`` waits for it, in any thread. What was counted is in ``calls``; what
was made to fail is in ``failed``.

A real shortage strikes whoever asks next, so ``THROUGHOUT`` fails every call of its kind from the first one on until it is over;
of descriptors that is a real one, by RLIMIT_NOFILE. ``ONCE`` fails a single one: so each place that may be struck is struck alone.
"""

# ruff: noqa: ANN401 - a wrapper takes what the call behind it takes

from __future__ import annotations

import builtins
import ctypes
import errno
import importlib.util
import io
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any, Final

import anyio.to_thread
import msgspec

__all__ = ["TOLD_AS", "Kind", "Mode", "Shortage"]

OURS: Final = f"{Path(str(importlib.util.find_spec('aiovirt').origin)).parent}/"  # type: ignore[union-attr] # it is not loaded yet
THREADS: Final = f"{OURS}system/to_thread.py"
"""All ask for their threads there."""
TESTS: Final = f"{Path(__file__).parent}/"


class Kind(StrEnum):
    """What there is none of."""

    ENOSPC = "ENOSPC"
    """Room on a disk."""
    EMFILE = "EMFILE"
    """Descriptors for this process."""
    ENOMEM = "ENOMEM"
    """Memory in the kernel: for sockets, processes, watches, files."""
    MEMORY = "MEMORY"
    """Memory in this process, for what is read and decoded: MemoryError."""
    THREAD = "THREAD"
    """Threads, and processes, for this user."""
    WATCH = "WATCH"
    """inotify(7)'s watches and instances for this user."""


TOLD_AS: Final = {
    Kind.ENOSPC: ("No space left",),
    Kind.EMFILE: ("Too many open files", "Errno 24"),
    Kind.ENOMEM: ("Cannot allocate memory", "Errno 12"),
    Kind.MEMORY: ("MemoryError", "memory"),
    Kind.THREAD: ("can't start new thread", "Resource temporarily unavailable"),
    Kind.WATCH: ("No space left", "Too many open files"),
}
"""The words, one of which has to reach somebody."""


class Mode(StrEnum):
    """How much of it."""

    THROUGHOUT = "throughout"
    ONCE = "once"


def _number(kind: Kind) -> OSError:
    number = {Kind.ENOSPC: errno.ENOSPC, Kind.EMFILE: errno.EMFILE, Kind.ENOMEM: errno.ENOMEM}[kind]
    return OSError(number, os.strerror(number))


def _failure(kind: Kind, call: str) -> BaseException:
    match kind:
        case Kind.MEMORY:
            return MemoryError()
        case Kind.THREAD if call != "fork":
            return RuntimeError("can't start new thread")  # as threading has it
        case Kind.THREAD:
            return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        case _:
            return _number(kind)


class Shortage:
    """One for a process. ``phase`` is what it does just now, in the words of whoever knows."""

    def __init__(self) -> None:
        self.phase = "start"
        self.calls: Counter[tuple[str, str, str]] = Counter()
        """(kind, phase, place) -> how often; a place is ``file:function call``."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """(kind, place) -> how often it was made to fail."""
        self._kind: Kind | None = None
        self._mode = Mode.THROUGHOUT
        self._place: str | None = None
        self._nth = 1
        self._seen = 0
        self._is_real = False
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def begin(self, kind: Kind, mode: Mode, place: str | None = None, nth: int = 1) -> None:
        """From the ``nth`` call on, of those at ``place`` or of all, there is none."""
        self._kind, self._mode, self._place, self._nth, self._seen = kind, mode, place, nth, 0
        self._is_real = kind is Kind.EMFILE and mode is Mode.THROUGHOUT and place is None and nth == 1
        if self._is_real:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free(), self._limits[1]))

    def end(self) -> None:
        """There is enough again."""
        self._kind, self._is_real = None, False
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def through(
        self, real: Callable[..., Any], call: str, *kinds: Kind, args: Sequence[Any] = (), keys: dict[str, Any] | None = None
    ) -> Any:
        """What ``real`` gives, unless it is struck; what really is short counts as such."""
        self.check(call, *kinds)
        try:
            return real(*args, **(keys or {}))
        except OSError as error:
            place = _place(call)
            if self._is_real and error.errno == errno.EMFILE and place:
                self.failed[Kind.EMFILE, place] += 1
            raise

    def check(self, call: str, *kinds: Kind) -> None:
        """Counts a call, and raises what a shortage of one of ``kinds`` makes of it."""
        kind = self._struck(call, kinds)
        if kind is not None:
            raise _failure(kind, call)

    def _struck(self, call: str, kinds: tuple[Kind, ...]) -> Kind | None:
        place = _place(call)
        if place is None:
            return None
        for kind in kinds:
            self.calls[kind, self.phase, place] += 1
        short_of = self._kind
        if short_of is None or short_of not in kinds or self._is_real:
            return None
        has_begun = self._seen >= self._nth
        if not has_begun or self._mode is Mode.ONCE:
            if self._place not in (None, place):
                return None
            self._seen += 1
            if self._seen < self._nth or (self._mode is Mode.ONCE and self._seen > self._nth):
                return None
        self.failed[short_of, place] += 1
        return short_of

    # -- the wrappers ----------------------------------------------------------------------

    def install(self) -> None:
        """For good: to be called once, before anything that may fail."""
        for name in ("open", "pidfd_open", "dup", "pipe", "pipe2", "memfd_create", "scandir", "listdir"):
            self._wrap(os, name, Kind.EMFILE, Kind.ENOMEM)
        for name in ("mkdir", "rename", "replace", "link", "symlink", "fsync", "fdatasync"):
            self._wrap(os, name, Kind.ENOSPC)
        for name in ("write", "pwrite"):
            self._wrap(os, name, Kind.ENOSPC)
        for name in ("read", "pread"):
            self._wrap(os, name, Kind.MEMORY)
        self._wrap(select, "epoll", Kind.EMFILE, Kind.ENOMEM)
        self._wrap_open()
        self._wrap_sockets()
        self._wrap_threads()
        self._wrap_processes()
        self._wrap_inotify()
        self._wrap_decoding()

    def _wrap(self, module: Any, name: str, *kinds: Kind) -> None:
        real = getattr(module, name)
        label = f"{module.__name__}.{name}"

        def wrapper(*args: Any, **keys: Any) -> Any:
            if name == "mkdir" and os.path.lexists(args[0]):
                return real(*args, **keys)  # the kernel looks for that first
            makes = name == "open" and len(args) > 1 and args[1] & os.O_CREAT and not os.path.lexists(args[0])
            return self.through(real, label, *kinds, *((Kind.ENOSPC,) if makes else ()), args=args, keys=keys)

        _put(module, name, wrapper)

    def _wrap_open(self) -> None:
        """``open`` in all its spellings, and what is written into what it gives."""
        real, code = io.open, io.open_code
        shortage = self

        class Written(io.FileIO):
            def write(self, data: Any) -> int:
                shortage.check("file.write", Kind.ENOSPC)
                return super().write(data)

        def opened(file: Any, mode: str = "r", *args: Any, **keys: Any) -> Any:
            if not isinstance(file, int):
                kinds = (Kind.EMFILE, Kind.ENOMEM, *((Kind.ENOSPC,) if set(mode) & set("wxa") else ()))
                return self.through(real, "open", *kinds, args=(file, mode, *args), keys=keys)
            if "b" not in mode or not set(mode) & set("wxa+"):
                return real(file, mode, *args, **keys)
            raw = Written(file, mode.replace("b", ""))
            if keys.get("buffering") == 0:
                return raw
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

        def imported(path: str) -> Any:
            is_spared = path.endswith(".pyc") and self._mode is Mode.ONCE  # Python has the source, and does without
            return self.through(code, "import", *(() if is_spared else (Kind.EMFILE, Kind.ENOMEM)), args=(path,))

        for module in (builtins, io):
            _put(module, "open", opened)
        for module in (io, sys.modules["_io"]):
            _put(module, "open_code", imported)

    def _wrap_sockets(self) -> None:
        init, accept, recv, pair = socket.socket.__init__, socket.socket.accept, socket.socket.recv, socket.socketpair

        def make(sock: socket.socket, *args: Any, **keys: Any) -> None:
            if keys.get("fileno") is None and len(args) < 4:
                self.through(init, "socket.socket", Kind.EMFILE, Kind.ENOMEM, args=(sock, *args), keys=keys)
            else:
                init(sock, *args, **keys)

        def take(sock: socket.socket) -> Any:
            return self.through(accept, "socket.accept", Kind.EMFILE, Kind.ENOMEM, args=(sock,))

        def receive(sock: socket.socket, *args: Any) -> bytes:
            received: bytes = self.through(recv, "socket.recv", Kind.MEMORY, args=(sock, *args))
            return received

        def paired(*args: Any, **keys: Any) -> Any:
            return self.through(pair, "socket.socketpair", Kind.EMFILE, Kind.ENOMEM, args=args, keys=keys)

        _put(socket.socket, "__init__", make)
        _put(socket.socket, "accept", take)
        _put(socket.socket, "recv", receive)
        _put(socket, "socketpair", paired)

    def _wrap_threads(self) -> None:
        module: Any = threading
        for name in ("_start_new_thread", "_start_joinable_thread"):  # the latter from Python 3.13 on
            if hasattr(module, name):
                real = getattr(module, name)

                def begin(*args: Any, real: Any = real, **keys: Any) -> Any:
                    self.check("thread", Kind.THREAD)
                    return real(*args, **keys)

                _put(module, name, begin)

        run_sync = anyio.to_thread.run_sync

        async def run(*args: Any, **keys: Any) -> Any:
            self.check("to_thread", Kind.THREAD)  # as if no thread that was started before were idle
            return await run_sync(*args, **keys)

        _put(anyio.to_thread, "run_sync", run)

    def _wrap_processes(self) -> None:
        module: Any = subprocess
        real = module._fork_exec

        def fork(*args: Any) -> Any:
            self.check("fork", Kind.ENOMEM, Kind.THREAD)
            return real(*args)

        _put(module, "_fork_exec", fork)

    def _wrap_inotify(self) -> None:
        shortage = self
        numbers = {"inotify_init1": errno.EMFILE, "inotify_add_watch": errno.ENOSPC}

        class Libc(ctypes.CDLL):
            def __getattr__(self, name: str) -> Any:
                real = super().__getattr__(name)
                if name not in numbers:
                    return real

                def called(*args: Any) -> int:
                    kinds = (Kind.WATCH, Kind.ENOMEM) + ((Kind.EMFILE,) if name == "inotify_init1" else ())
                    kind = shortage._struck(name, kinds)
                    if kind is None:
                        return int(real(*args))
                    ctypes.set_errno(numbers[name] if kind is Kind.WATCH else _number(kind).errno or 0)
                    return -1

                return called

        _put(ctypes, "CDLL", Libc)

    def _wrap_decoding(self) -> None:
        """What takes as much memory as others want: a message's fields. The house makes its decoders when it is loaded."""
        shortage, real = self, msgspec.json.Decoder
        decode = msgspec.json.decode

        class Decoder:
            def __init__(self, *args: Any, **keys: Any) -> None:
                self._real: Any = real(*args, **keys)

            def decode(self, *args: Any) -> Any:
                shortage.check("json.decode", Kind.MEMORY)
                return self._real.decode(*args)

        def decode_once(*args: Any, **keys: Any) -> Any:
            self.check("json.decode", Kind.MEMORY)
            return decode(*args, **keys)

        _put(msgspec.json, "Decoder", Decoder)
        _put(msgspec.json, "decode", decode_once)


def _put(target: Any, name: str, wrapper: object) -> None:
    """In place of what ``target`` has under that name, for all who look it up there."""
    setattr(target, name, wrapper)


def _lowest_free() -> int:
    """The number that the next descriptor would have."""
    number = os.dup(1)
    os.close(number)
    return number


def _place(call: str) -> str | None:
    """``file:function call`` of the nearest frame of the house; None where there is none, or tests come first.

    What asks for a thread counts only where nobody asks for it: in a task of its own, which is how a shield is made on asyncio.
    """
    place: str | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OURS):
            if frame.f_code.co_name == "<module>":
                return None  # Python loads it: then there is no engine yet
            place = f"{name.removeprefix(OURS)}:{frame.f_code.co_qualname} {call}"
            if name != THREADS:
                return place
        elif name.startswith(TESTS) and name != __file__:
            return place
        frame = frame.f_back
    return place
