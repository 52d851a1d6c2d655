"""The XML of a guest that a newer version has started: what of it is known here, for looking after the guest. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiovirt.domainxml.document import read
from aiovirt.domainxml.node import Node
from aiovirt.domainxml.parse import OWN_READERS
from aiovirt.errors import Error
from aiovirt.model.spec import DomainSpec

__all__ = ["parse_partly"]

Reader = Callable[[Node], Any]


def parse_partly(xml: str) -> DomainSpec:
    """The domain that ``xml`` describes, without its devices and without whatever else cannot be read.

    It is no definition to start anything from. Raises XMLInvalid for what is no XML, or has no name or memory.
    """
    root = Node(read(xml))
    known = {field: root.need(field, OWN_READERS[field]) for field in _NEEDED}
    for field in OWN_READERS.keys() - _NEEDED:
        try:
            value = root.child(field, OWN_READERS[field])
        except Error:
            continue  # it is the newer version's, and stays in the text that is kept
        if value is not None:
            known[field] = value
    return DomainSpec(**known)


_NEEDED: Final = frozenset({"name", "memory"})
