"""What devices a domain can have, a file for each kind: what it is, and where it stands in libvirt's XML. No I/O.

A kind is known by its file being here.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

__all__: list[str] = []

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
