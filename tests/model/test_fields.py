"""A domain's description refuses what is of another type when it is made, and takes what is naturally meant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
from aiovirt.model.units import GiB, MiB

DISK = Disk(source="/a.img", target="vda")


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
        (DomainSpec, {"type": ""}),
        (DomainSpec, {"title": b"title"}),
        (DomainSpec, {"os": "linux"}),
        (DomainSpec, {"acpi": "yes"}),
        (DomainSpec, {"on_crash": "explode"}),
        (DomainSpec, {"devices": DISK}),
        (DomainSpec, {"devices": "/a.img"}),
        (DomainSpec, {"devices": ["/a.img"]}),
        (DomainSpec, {"devices": {DISK: DISK}}),
        (DomainSpec, {"devices": [OsSpec()]}),
        (Disk, {"source": 5}),
        (Disk, {"bus": "scsi-ish"}),
        (Disk, {"readonly": 1}),
        (Serial, {"type": 5}),
        (Serial, {"path": 5}),
        (OsSpec, {"boot": "hd"}),
        (OsSpec, {"boot": ("hd", 5)}),
        (OsSpec, {"kernel": 5}),
    ],
)
def test_a_wrong_type_is_refused_at_once(kind: type[Any], wrong: dict[str, Any]) -> None:
    whole: dict[type[Any], dict[str, Any]] = {
        DomainSpec: {"name": "web", "memory": 64 * MiB},
        Disk: {"source": "/a.img", "target": "vda"},
        Serial: {},
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
        "devices": [Disk(source="/a.img", target="hda", bus="ide"), Serial(type="pty")],  # type: ignore[arg-type]
    }
    spec = DomainSpec(name="web", memory=64 * MiB, **natural)
    assert spec == DomainSpec(
        name="web",
        memory=64 * MiB,
        type=VirtType.KVM,
        on_crash=Action.RESTART,
        os=OsSpec(boot=("cdrom", "hd")),
        devices=(Disk(source="/a.img", target="hda", bus=DiskBus.IDE), Serial(type=Chardev.PTY)),
    )
    assert isinstance(spec.type, VirtType)
    assert isinstance(spec.disks[0].bus, DiskBus)
    assert hash(spec) == hash(DomainSpec(name="web", memory=64 * MiB, **natural))
