"""A service of systemd's: sockets that it hands over, and what it is notified of. Where it is not there, nothing happens.

What is said is in sd_notify(3), what is handed over in sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

__all__ = ["handed_over", "tell_service"]

_FIRST: Final = 3  # SD_LISTEN_FDS_START


def handed_over(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that are for this process; they are taken out of the environment, so that no child takes them for its own."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = [socket.socket(fileno=number) for number in range(_FIRST, _FIRST + int(count))]
    for opened in sockets:
        opened.set_inheritable(False)
    return sockets


def tell_service(words: str) -> None:
    """Says ``READY=1``, ``STOPPING=1``, ``STATUS=…`` to the service manager that started us, if one did."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as opened, contextlib.suppress(OSError):
        opened.setblocking(False)
        opened.sendto(words.encode(), address)  # one that does not listen misses it
