"""Who asks for something: from where, and with which permissions."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["ENGINE", "Caller"]


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks, from where, and what it may ask.

    ``origin`` is from where: ``engine`` for what an engine does by itself, ``process`` for a caller in the engine's own
    process, ``attached`` for one behind the engine's socket. ``pid`` and ``uid`` are of its process, where they are known, and
    ``program`` is what it says that it is.

    ``permissions`` are libvirt's, as ``object:permission``; None is all of them.
    """

    origin: str = "process"
    pid: int | None = None
    uid: int | None = None
    program: str = ""
    permissions: frozenset[str] | None = None

    def lacks(self, needed: tuple[str, ...]) -> str | None:
        """The first of the needed permissions that it has not, or None when it has them all."""
        if self.permissions is None:
            return None
        return next((each for each in needed if each not in self.permissions), None)


ENGINE = Caller(origin="engine")
"""The engine itself, as for what is started with the host."""
