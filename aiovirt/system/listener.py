"""A unix socket that others connect to, and what is spoken with each of them.

Unlike a :class:`aiovirt.system.bytestream.UnixStream`, which reads all that comes as it comes, a connection
here is read when somebody asks for more: whoever is on the far side waits as long.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import anyio

from aiovirt.system.bytestream import UnixStream
from aiovirt.system.fork import not_for_children
from aiovirt.system.log import get_logger
from aiovirt.system.sockets import BACKLOG, connect_now, listen_unix

__all__ = ["Connection", "Listener"]

PAUSE: Final = 0.1
log = get_logger("system")
_CROWDED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Connection:
    """A client's socket. Leaving the block closes it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    async def receive(self, size: int) -> bytes:
        """At most ``size`` bytes, none when the client has ended or its stream broke. Others have a turn first."""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(size)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return b""

    def write(self, data: bytes | bytearray) -> int:
        """How many bytes of ``data`` are on their way; raises OSError when the stream broke."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    async def writable(self) -> None:
        """Returns when more may be written."""
        await anyio.wait_writable(self._socket)


class Listener:
    """A listening socket at ``path``, mode 0600. Making it blocks, and so does closing it: both are for threads.

    Raises OSError: FileExistsError where there is something else already, a socket that somebody
    listens at included. One that nobody listens at any more is replaced. With ``handed_over``, that socket listens there
    already: it is ours to close, and its file stays.
    """

    def __init__(self, path: str, *, backlog: int = BACKLOG, handed_over: socket.socket | None = None) -> None:
        self.last_words = b""
        """Said to whoever is disconnected as there is no descriptor left."""
        self._path = path
        self._is_crowded = False
        self._stays = handed_over is not None
        if handed_over is None:
            _claim(path)
        self._spare = _new_spare()
        try:
            self._socket = not_for_children(handed_over or listen_unix(path, backlog=backlog), socket.socket.close)
        except BaseException:
            self._spare.close()
            raise
        self._socket.setblocking(False)
        try:
            self._identity = _identity_of(path)
        except BaseException:  # somebody has taken it away already
            self._spare.close()
            self._socket.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether who looks for it at its path finds it. Blocks for a moment."""
        try:
            return _identity_of(self._path) == self._identity
        except FileNotFoundError:
            return False

    async def accept(self) -> Connection:
        """The next client. Where this process has no descriptor left for one, it is sent ``last_words`` and disconnected."""
        return Connection(await self._accept())

    async def accept_stream(self) -> UnixStream:
        """The same, to be read as it writes; its block is the caller's to enter."""
        return UnixStream(await self._accept())

    async def _accept(self) -> socket.socket:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                taken = not_for_children(self._socket.accept()[0], socket.socket.close)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in _CROWDED:
                    raise
                self._tell(error)
            else:
                self._keep_spare()
                self._tell(None)
                return taken
            if not self._turn_away():
                with anyio.move_on_after(PAUSE):  # nothing reports when there is a descriptor again
                    await anyio.sleep_forever()

    def _tell(self, error: OSError | None) -> None:
        """Once, that clients are refused, and once that they are not any more."""
        if error is not None and not self._is_crowded:
            log.error("clients are refused", why=str(error))
        elif error is None and self._is_crowded:
            log.warning("clients are accepted again")
        self._is_crowded = error is not None

    def _turn_away(self) -> bool:
        """A client that is left in the queue would be found there again at once, and for ever. Returns whether one was taken."""
        self._spare.close()
        taken = False
        with suppress(OSError), self._socket.accept()[0] as client:
            taken = True
            client.setblocking(False)
            client.send(self.last_words)
        self._keep_spare()
        return taken

    def _keep_spare(self) -> None:
        """There may be none now; then there will be."""
        if self._spare.fileno() < 0:
            with suppress(OSError):
                self._spare = _new_spare()

    def close(self) -> None:
        """Takes the file away, if it is still this one, and nobody more."""
        try:
            with suppress(FileNotFoundError):
                if not self._stays and _identity_of(self._path) == self._identity:  # no other has its number while the socket is open
                    os.unlink(self._path)
        finally:
            self._spare.close()
            self._socket.close()


def _new_spare() -> socket.socket:
    """A descriptor to be closed for a client that cannot be served."""
    return not_for_children(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), socket.socket.close)


def _claim(path: str) -> None:
    """Raises FileExistsError when what is at ``path`` may not be replaced."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something else already, which is no socket", path)
    try:
        connect_now(path).close()
    except ConnectionRefusedError:
        return
    except BlockingIOError:
        pass  # so many wait there already
    raise FileExistsError(errno.EEXIST, "somebody else listens there already", path)


def _identity_of(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
