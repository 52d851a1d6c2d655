"""A host in a child that was forked: it is the parent's, and all use of it raises at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from aiovirt.errors import HostForked

if TYPE_CHECKING:
    from aiovirt.engine.host import Host

__all__ = ["take_away"]


class _Forked:
    """Stands where the bus and the events of a host were: whatever is asked of it raises HostForked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise HostForked(_WHY)


_WHY: Final = "this process was forked from the one that connected to the host: it has to connect itself"
_FORKED: Final = _Forked()


async def _refuse(request: object) -> NoReturn:  # noqa: ARG001 - whatever it is
    raise HostForked(_WHY)


def take_away(host: Host) -> None:
    """Makes ``host``, its handles and its devices raise HostForked."""
    vars(host.engine).update(bus=_FORKED, call=_refuse)
    vars(host).update(_events=_FORKED)
