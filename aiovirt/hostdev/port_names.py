"""The grammar of phys_port_name: what the kernel calls a card's ports and the switch's ends of its functions.

Pure. What a name means for one card among others is not decided here: see :mod:`aiovirt.hostdev.ports`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

__all__ = ["PortKind", "PortName", "parse_port_name"]


class PortKind(StrEnum):
    """What a name stands for: a physical port, or a representor, the switch's end of a function."""

    UPLINK = "p"
    PF = "pf"
    VF = "vf"
    SF = "sf"


class PortName(Struct, frozen=True, kw_only=True, gc=False):
    """A phys_port_name, taken apart (``__devlink_port_phys_port_name_get()`` in net/devlink/port.c); its str is the name again.

    An uplink is ``pN``, and ``pNsM`` where the port is split, in a modular switch with ``lK`` before it (its line card):
    ``number`` is N, ``sub`` M or None. A representor is ``pfN``, ``pfNvfM`` or ``pfNsfM``: ``number`` is that of the physical
    function, ``sub`` that of the virtual or sub-function; ``cK`` before it is the ``controller``, where that is
    outside (the host, as the card's own processor sees it).
    """

    kind: PortKind
    number: int
    sub: int | None = None
    controller: int | None = None
    line_card: int | None = None

    @property
    def is_representor(self) -> bool:
        """Whether it is the switch's end of a function, and no port of its own."""
        return self.kind is not PortKind.UPLINK

    def __str__(self) -> str:
        head, letter = (("l", self.line_card), "s") if self.kind is PortKind.UPLINK else (("c", self.controller), self.kind.value)
        stem = "p" if self.kind is PortKind.UPLINK else "pf"
        return _numbered(*head) + f"{stem}{self.number}" + _numbered(letter, self.sub)


def _numbered(letter: str, number: int | None) -> str:
    return "" if number is None else f"{letter}{number}"


_NUMBER: Final = "(0|[1-9][0-9]{0,9})"  # the kernel prints u32, without leading zeros
_UPLINK: Final = re.compile(f"(?:l{_NUMBER})?p{_NUMBER}(?:s{_NUMBER})?", re.ASCII)
_REPRESENTOR: Final = re.compile(f"(?:c{_NUMBER})?pf{_NUMBER}(?:(vf|sf){_NUMBER})?", re.ASCII)


def parse_port_name(text: str) -> PortName | None:
    """The name taken apart; None for what is not of this grammar (drivers may call their ports what they like)."""
    if found := _UPLINK.fullmatch(text):
        line_card, number, sub = found.groups()
        return PortName(kind=PortKind.UPLINK, number=int(number), sub=_int(sub), line_card=_int(line_card))
    if found := _REPRESENTOR.fullmatch(text):
        controller, number, kind, sub = found.groups()
        return PortName(kind=PortKind(kind or "pf"), number=int(number), sub=_int(sub), controller=_int(controller))
    return None


def _int(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
