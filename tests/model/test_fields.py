"""A domain's description refuses what is of another type when it is made, and takes what is naturally meant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from aiovirt.errors import InvalidArgument
from aiovirt.model.spec import Action, Chardev, DiskBus, DiskSpec, DomainSpec, OsSpec, SerialSpec, VirtType
from aiovirt.model.units import GiB, MiB

DISK = DiskSpec(source="/a.img", target="vda")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (DomainSpec, {"name": 5}),
        (DomainSpec, {"name": None}),
        (DomainSpec, {"memory": "512"}),
        (DomainSpec, {"memory": 0.5 * GiB}),
        (DomainSpec, {"memory": True}),
        (DomainSpec, {"memory": ()}),
        (DomainSpec, {"vcpus": "2"}),
        (DomainSpec, {"uuid": str(UUID(int=1))}),
        (DomainSpec, {"type": "xen"}),
        (DomainSpec, {"title": b"title"}),
        (DomainSpec, {"os": "linux"}),
        (DomainSpec, {"acpi": "yes"}),
        (DomainSpec, {"on_crash": "explode"}),
        (DomainSpec, {"disks": DISK}),
        (DomainSpec, {"disks": "/a.img"}),
        (DomainSpec, {"disks": ["/a.img"]}),
        (DomainSpec, {"disks": {DISK: DISK}}),
        (DomainSpec, {"serials": [DISK]}),
        (DiskSpec, {"source": 5}),
        (DiskSpec, {"bus": "scsi-ish"}),
        (DiskSpec, {"readonly": 1}),
        (SerialSpec, {"type": 5}),
        (SerialSpec, {"path": 5}),
        (OsSpec, {"boot": "hd"}),
        (OsSpec, {"boot": ("hd", 5)}),
        (OsSpec, {"kernel": 5}),
    ],
)
def test_a_wrong_type_is_refused_at_once(kind: type[Any], wrong: dict[str, Any]) -> None:
    whole: dict[type[Any], dict[str, Any]] = {
        DomainSpec: {"name": "web", "memory": 64 * MiB},
        DiskSpec: {"source": "/a.img", "target": "vda"},
        SerialSpec: {},
        OsSpec: {},
    }
    kind(**whole[kind])
    with pytest.raises(InvalidArgument, match=next(iter(wrong))) as refused:
        kind(**whole[kind] | wrong)
    assert len(str(refused.value)) < 200


def test_text_is_an_enums_member_and_a_list_a_tuple() -> None:
    natural: dict[str, Any] = {
        "type": "kvm",
        "on_crash": "restart",
        "os": OsSpec(boot=["cdrom", "hd"]),  # type: ignore[arg-type]
        "disks": [DiskSpec(source="/a.img", target="hda", bus="ide")],  # type: ignore[arg-type]
        "serials": [SerialSpec(type="pty")],  # type: ignore[arg-type]
    }
    spec = DomainSpec(name="web", memory=64 * MiB, **natural)
    assert spec == DomainSpec(
        name="web",
        memory=64 * MiB,
        type=VirtType.KVM,
        on_crash=Action.RESTART,
        os=OsSpec(boot=("cdrom", "hd")),
        disks=(DiskSpec(source="/a.img", target="hda", bus=DiskBus.IDE),),
        serials=(SerialSpec(type=Chardev.PTY),),
    )
    assert isinstance(spec.type, VirtType)
    assert isinstance(spec.disks[0].bus, DiskBus)
    assert hash(spec) == hash(DomainSpec(name="web", memory=64 * MiB, **natural))
