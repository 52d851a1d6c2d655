"""The URI schemes that there are: our own, and those that packages register as entry points of the group ``aiovirt.drivers``.

Our own are found without a look at what is installed, which takes longer than listing domains. A package cannot take their names.
"""

from __future__ import annotations

import importlib
from functools import reduce
from typing import TYPE_CHECKING, Final

from aiovirt.drivers.scheme import Scheme
from aiovirt.errors import NoConnect

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["GROUP", "OWN", "find_scheme", "installed", "is_loaded"]

GROUP: Final = "aiovirt.drivers"
OWN: Final = {"qemu": "aiovirt.drivers.qemu:SCHEME", "test": "aiovirt.drivers.test:SCHEME"}
"""As pyproject.toml registers them."""

_loaded: Final[dict[str, Scheme]] = {}


def is_loaded(name: str) -> bool:
    """Whether :func:`find_scheme` answers at once: otherwise it reads files, and imports what it finds."""
    return name in _loaded or name in OWN


def find_scheme(name: str) -> Scheme | None:
    """The scheme of this name, or None where nobody registers one. Raises NoConnect with the reason where it cannot be loaded."""
    if name not in _loaded:
        if name in OWN:
            _loaded[name] = _load(name, OWN[name], "aiovirt")
        elif found := _registered(name):
            _loaded[name] = _load(name, *found)
        else:
            return None
    return _loaded[name]


def installed() -> list[str]:
    """The names of all schemes, our own first."""
    return [*OWN, *sorted({point.name for point, _ in _entry_points()} - OWN.keys())]


def _registered(name: str) -> tuple[str, str] | None:
    """(value, package) of the entry point of this name."""
    found = sorted({(point.value, package) for point, package in _entry_points() if point.name == name})
    if len(found) > 1:
        raise NoConnect(f"the driver {name} is registered by more than one package: {', '.join(package for _, package in found)}")
    return found[0] if found else None


def _entry_points() -> list[tuple[EntryPoint, str]]:
    from importlib.metadata import distributions

    found: list[tuple[EntryPoint, str]] = []
    seen: set[str] = set()
    for distribution in distributions():
        name = _name_of(distribution)
        if name in seen:  # of two that are installed the first on sys.path is imported
            continue
        seen.add(name)
        try:
            found += [(point, name) for point in distribution.entry_points if point.group == GROUP]
        except Exception as error:  # noqa: BLE001 - of a package that may have nothing to do with us
            from aiovirt.system.log import get_logger

            get_logger("engine").warning("the entry points of a package cannot be read", package=name, error=repr(error))
    return found


def _name_of(distribution: Distribution) -> str:
    try:
        return str(distribution.metadata["Name"])
    except Exception:  # noqa: BLE001 - as above
        return "(a package without a name)"


def _load(name: str, value: str, package: str) -> Scheme:
    module, _, path = value.partition("[")[0].replace(" ", "").partition(":")
    where = f"the driver {name} of the package {package} ({value})"
    try:
        scheme: object = reduce(getattr, filter(None, path.split(".")), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise NoConnect(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(scheme, Scheme):
        raise NoConnect(f"{where} is not a Scheme but {scheme!r:.80}")
    return scheme
