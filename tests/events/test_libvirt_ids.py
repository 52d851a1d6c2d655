"""libvirt's numbers are those of libvirt-python, whose constants are made from libvirt's headers."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from aiovirt.events.libvirt_ids import DomainEventID, NodeDeviceEventID, named

LIBVIRT_PYTHON = Path("/usr/lib/python3/dist-packages/libvirt.py")
"""Debian's. It is read, not imported: its half in C is for Debian's own Python alone."""
KINDS: list[tuple[type[IntEnum], str]] = [
    (DomainEventID, "VIR_DOMAIN_EVENT_ID_"),
    (NodeDeviceEventID, "VIR_NODE_DEVICE_EVENT_ID_"),
]


@pytest.mark.parametrize(("kind", "prefix"), KINDS)
def test_they_are_numbered_as_in_libvirt_python(kind: type[IntEnum], prefix: str) -> None:
    found: list[tuple[str, str]] = re.findall(rf"^{prefix}(\w+) = (\d+)$", LIBVIRT_PYTHON.read_text(encoding="utf-8"), re.MULTILINE)
    theirs = {name: int(value) for name, value in found}
    assert theirs
    ours = {member.name: member.value for member in kind}
    assert {name: ours.get(name) for name in theirs} == theirs
    assert min(set(ours.values()) - set(theirs.values()), default=len(theirs)) >= len(theirs)  # those of a later libvirt


def test_they_are_written_as_in_its_documentation() -> None:
    assert named(DomainEventID.BLOCK_JOB, DomainEventID.BLOCK_JOB_2) == "VIR_DOMAIN_EVENT_ID_BLOCK_JOB (8), BLOCK_JOB_2 (16)"
    assert named(NodeDeviceEventID.UPDATE) == "VIR_NODE_DEVICE_EVENT_ID_UPDATE (1)"
