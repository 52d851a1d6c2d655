"""libvirt's numbers are those of libvirt-python, whose constants are made from libvirt's headers."""

from __future__ import annotations

from enum import IntEnum

import pytest

from aiovirt.events.libvirt_ids import DomainEventID, NodeDeviceEventID, named
from benchmarks.qmp_libvirt import libvirt_module

KINDS: list[tuple[type[IntEnum], str]] = [
    (DomainEventID, "VIR_DOMAIN_EVENT_ID_"),
    (NodeDeviceEventID, "VIR_NODE_DEVICE_EVENT_ID_"),
]


@pytest.mark.parametrize(("kind", "prefix"), KINDS)
def test_they_are_numbered_as_in_libvirt_python(kind: type[IntEnum], prefix: str) -> None:
    theirs = {name.removeprefix(prefix): value for name, value in vars(libvirt_module("libvirt")).items() if name.startswith(prefix)}
    ours = {member.name: member.value for member in kind}
    assert {name: ours.get(name) for name in theirs} == theirs
    assert min(set(ours.values()) - set(theirs.values()), default=len(theirs)) >= len(theirs)  # those of a later libvirt


def test_they_are_written_as_in_its_documentation() -> None:
    assert named(DomainEventID.BLOCK_JOB, DomainEventID.BLOCK_JOB_2) == "VIR_DOMAIN_EVENT_ID_BLOCK_JOB (8), BLOCK_JOB_2 (16)"
    assert named(NodeDeviceEventID.UPDATE) == "VIR_NODE_DEVICE_EVENT_ID_UPDATE (1)"
