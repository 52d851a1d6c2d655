"""Where a host's files are: DESIGN's folders, the arguments and the environment that move them. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final

from msgspec import Struct

from aiovirt.engine.uri import Address
from aiovirt.errors import InvalidArgument

__all__ = ["AUTOSTART", "FILLED", "Claim", "Folders", "Role", "definition_folders", "find_folders"]

AUTOSTART: Final = "autostart"
"""In a folder of definitions: links to those that are to be started with the host."""
FILLED: Final = "filled"
"""In a folder of definitions: them with what their writers left open, see :mod:`aiovirt.engine.filled`."""

_SYSTEM: Final = {"config": "/etc/aiovirt", "state": "/var/lib/aiovirt", "runtime": "/run/aiovirt"}

PathLike = str | os.PathLike[str]


class Role(Enum):
    """What a connection to a host of this machine is to be."""

    ANY = auto()
    """Attached to whoever holds the host, else its holder."""
    HOLDER = auto()
    """The holder, or refused."""
    ATTACHED = auto()
    """Attached; an engine is started in a process of its own where there is none."""
    NEXT = auto()
    """Attached to whoever holds the host next, however long that takes; none is started."""


class Claim(Struct, frozen=True):
    """How much one who is to be the holder wants that: the holder is asked to hand over, its end is waited for."""

    take_over: bool = False
    wait: bool = False


class Folders(Struct, frozen=True):
    """``config`` has the definitions, ``state`` run records and logs, ``runtime`` sockets and the lock.

    ``guests`` has a lock for each uuid that runs: all engines of one user share it, wherever their other folders are.
    Where the others are not moved, those of each driver but QEMU are inside of QEMU's.
    """

    config: Path
    state: Path
    runtime: Path
    guests: Path
    driver: str = "qemu"

    @property
    def definitions(self) -> Path:
        return self.config / self.driver

    @property
    def autostart_mark(self) -> Path:
        """There once they were, in this boot."""
        return self.runtime / "autostarted"

    @property
    def runs(self) -> Path:
        return self.state / "run"

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def journal_mark(self) -> Path:
        return self.runtime / "journal.failed"

    @property
    def journal_seen(self) -> Path:
        """The cursor of an event that was seen: a journal without it is an older copy."""
        return self.runtime / "journal.seen"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def engine_log(self) -> Path:
        """What an engine says that was started for others."""
        return self.state / "engine.log"

    @property
    def sockets(self) -> Path:
        return self.runtime / self.driver

    @property
    def socket(self) -> Path:
        """Where others attach to the engine."""
        return self.runtime / "engine.sock"

    @property
    def place(self) -> tuple[str, str]:
        """What distinguishes an engine's host from another one's: (config, state)."""
        return _text(self.config if self.driver == "qemu" else self.definitions), _text(self.state)

    @property
    def locks(self) -> tuple[Path, ...]:
        """One in each folder that can be moved alone: two engines share none of them. Who has the first is at :attr:`socket`."""
        return self.runtime / "engine.lock", self.state / "engine.lock", self.config / "engine.lock"

    def all(self) -> tuple[Path, ...]:
        """Every folder that has to be there, outer ones first."""
        return (
            self.config,
            *definition_folders(self.definitions),
            self.state,
            self.runs,
            self.logs,
            self.runtime,
            self.sockets,
            self.guests,
        )


def definition_folders(folder: Path) -> tuple[Path, ...]:
    """``folder``, which has the definitions of one kind of object, and those in it that have to be there, too."""
    return folder, folder / FILLED, folder / AUTOSTART


def find_folders(address: Address, environment: Mapping[str, str], given: Mapping[str, PathLike | None]) -> Folders:
    """The folders of ``address``: what is ``given`` first, then the URI's root, then AIOVIRT_*_DIR, then the usual places."""
    places = _places(address, environment)
    surroundings: Mapping[str, str] = environment if address.root is None else {}
    for which in places:
        moved = given.get(which) or surroundings.get(f"AIOVIRT_{which.upper()}_DIR")
        if moved:
            places[which] = Path(moved)
        if not places[which].is_absolute() or "\0" in os.fspath(places[which]):
            raise InvalidArgument(f"the {which} folder must be an absolute path, not {os.fspath(places[which])!r}")
    return Folders(**places, guests=_guests(environment), driver=address.driver)


def _places(address: Address, environment: Mapping[str, str]) -> dict[str, Path]:
    if address.root is not None:
        return {which: address.root / which for which in _SYSTEM}
    usual = _usual(address, environment)
    return usual if address.driver == "qemu" else {which: place / address.driver for which, place in usual.items()}


def _usual(address: Address, environment: Mapping[str, str]) -> dict[str, Path]:
    if address.path == "/system":
        return {which: Path(place) for which, place in _SYSTEM.items()}
    home = Path(environment.get("HOME") or "/")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    runtime = environment.get("XDG_RUNTIME_DIR")
    return {
        "config": Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "aiovirt",
        "state": Path(environment.get("XDG_STATE_HOME") or home / ".local/state") / "aiovirt",
        "runtime": Path(runtime) / "aiovirt" if runtime else cache / "aiovirt/run",
    }


def _guests(environment: Mapping[str, str]) -> Path:
    """Where there is one for this user: it must not depend on what moves an engine's own folders."""
    if os.geteuid() == 0:
        return Path("/run/aiovirt-guests")
    home = Path(environment.get("HOME") or "/")
    return Path(environment.get("XDG_RUNTIME_DIR") or home / ".cache") / "aiovirt-guests"


def _text(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
