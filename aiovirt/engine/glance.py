"""One look at the domains of a host that somebody holds, without a loop: for a program that reads, prints and leaves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from aiovirt.drivers.scheme import LocalScheme
from aiovirt.engine.paths import Folders, find_folders
from aiovirt.engine.uri import Address, find_address
from aiovirt.errors import HostHeld, ProtocolError, SystemFailure
from aiovirt.model.view import DomainView
from aiovirt.system.sockets import connect_now, peer_of
from aiovirt.wire.attach import VERSION, Frames, framed
from aiovirt.wire.attach.messages import ENGINE_LIMIT, Glance, Seen, decode_from_engine, encode

__all__ = ["PATIENCE", "glance", "silent", "unanswered"]

PATIENCE: Final = 2.0
CHUNK: Final = 65_536


def glance(uri: str | None, environment: Mapping[str, str], *, patience: float = PATIENCE) -> tuple[DomainView, ...] | None:
    """Every domain by name, as the holder has it now; None where that cannot be had so simply, whatever the reason. Blocks.

    The holder has ``patience`` seconds for its answer, and above 0.
    """
    address = _address(uri, environment)
    if not _is_shared(address):
        return None
    folders = find_folders(address, environment, {})
    try:
        with connect_now(str(folders.socket)) as sock:
            if peer_of(sock)[1] not in {0, os.geteuid()}:
                return None
            sock.settimeout(patience)
            sock.sendall(framed(encode(Glance(VERSION, folders.place))))
            frames = Frames(ENGINE_LIMIT)
            while data := sock.recv(CHUNK):
                for frame in frames.feed(data):
                    seen = decode_from_engine(frame)
                    return tuple(sorted(seen.domains, key=lambda view: view.name)) if isinstance(seen, Seen) else None
    except (OSError, ProtocolError):
        return None
    return None


def unanswered(uri: str | None, environment: Mapping[str, str], seconds: float) -> str:
    """Why nobody has answered for ``seconds``, as far as that can be seen, and what to do. Blocks for a moment."""
    address = _address(uri, environment)
    if not _is_shared(address):
        return f"{address.uri} was not there within {seconds:g} s"
    from aiovirt.system.files import FileLock

    folders = find_folders(address, environment, {})
    try:
        FileLock(folders.locks[0]).look()
    except HostHeld as held:
        return silent(address.uri, held.pid, folders, seconds)
    except SystemFailure:
        pass
    return f"no engine of {address.uri} was there within {seconds:g} s: see {folders.engine_log}"


def silent(uri: str, pid: int | None, folders: Folders, seconds: float) -> str:
    """The same of a host that the process ``pid`` holds."""
    if pid is None:
        return f"the engine of {uri} has not answered within {seconds:g} s: see {folders.engine_log}"
    from aiovirt.system.proc import is_stopped

    if is_stopped(pid):
        return f"the engine of {uri}, process {pid}, does not answer, as a signal has stopped it: kill -CONT {pid} lets it go on"
    return (
        f"the engine of {uri}, process {pid}, does not answer within {seconds:g} s: see {folders.engine_log}; "
        f"kill {pid} ends it, and its guests run on for the next one"
    )


def _is_shared(address: Address) -> bool:
    """Whether other processes may hold it."""
    return isinstance(address.scheme, LocalScheme) and address.scheme.keeps and address.path != "/embed"


def _address(uri: str | None, environment: Mapping[str, str]) -> Address:
    return find_address(uri, environment, is_root=os.geteuid() == 0)
