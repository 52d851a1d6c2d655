"""One look at the domains of a host that somebody holds, without a loop: for a program that reads, prints and leaves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from aiovirt.engine.paths import find_folders
from aiovirt.engine.uri import default_uri, parse_uri
from aiovirt.errors import ProtocolError
from aiovirt.model.view import DomainView
from aiovirt.system.sockets import connect_now, peer_of
from aiovirt.wire.attach import VERSION, Frames, framed
from aiovirt.wire.attach.messages import ENGINE_LIMIT, Glance, Seen, decode_from_engine, encode

__all__ = ["glance"]

PATIENCE: Final = 2.0
CHUNK: Final = 65_536


def glance(uri: str | None, environment: Mapping[str, str]) -> tuple[DomainView, ...] | None:
    """Every domain by name, as the holder has it now; None where that cannot be had so simply, whatever the reason. Blocks."""
    address = parse_uri(uri or default_uri(environment.get("AIOVIRT_DEFAULT_URI"), is_root=os.geteuid() == 0))
    if address.path not in {"/session", "/system"}:
        return None
    folders = find_folders(address, environment, {})
    try:
        with connect_now(str(folders.socket)) as sock:
            if peer_of(sock)[1] not in {0, os.geteuid()}:
                return None
            sock.settimeout(PATIENCE)
            sock.sendall(framed(encode(Glance(VERSION, folders.place))))
            frames = Frames(ENGINE_LIMIT)
            while data := sock.recv(CHUNK):
                for frame in frames.feed(data):
                    seen = decode_from_engine(frame)
                    return tuple(sorted(seen.domains, key=lambda view: view.name)) if isinstance(seen, Seen) else None
    except (OSError, ProtocolError):
        return None
    return None
