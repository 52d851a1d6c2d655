"""libvirt's XML to and from values of :mod:`aiovirt.model`, by one table for each class of element. Pure: text in, values out.

What is known to libvirt and not to aiovirt is refused, all of it at once, with path and line; what libvirt does not know either
is kept and written again. Nothing is dropped in silence. No file is opened but our own list of names, and no host is asked.
"""

from __future__ import annotations

from aiovirt.libvirtxml.domain import parse, parse_partly, render

__all__ = ["parse", "parse_partly", "render"]
