"""A panic device: read, written, filled in, and as QEMU's argv."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check
from aiovirt.drivers.qemu.defaults import Capabilities, fill
from aiovirt.drivers.qemu.devices import arguments
from aiovirt.errors import ConfigUnsupported
from aiovirt.libvirtxml import parse, render
from aiovirt.model.devices.panic import Panic, PanicModel
from aiovirt.model.spec import DomainSpec, VirtType
from tests.libvirtxml.documents import SMALL


def domain(*devices: str) -> DomainSpec:
    text = SMALL.replace("</domain>", f"<devices>{''.join(devices)}</devices></domain>")
    return replace(parse(text), type=VirtType.QEMU)


def options(spec: DomainSpec) -> list[dict[str, object]]:
    return [json.loads(word) for word in arguments(fill(spec, Capabilities())) if word.startswith("{")]


@pytest.mark.parametrize(
    ("xml", "panic", "driver"),
    [
        ("<panic/>", Panic(), "pvpanic"),
        ("<panic model='isa'/>", Panic(model=PanicModel.ISA), "pvpanic"),
        ("<panic model='pvpanic'/>", Panic(model=PanicModel.PVPANIC), "pvpanic-pci"),
    ],
)
def test_it_is_read_written_filled_in_and_asked_for(xml: str, panic: Panic, driver: str) -> None:
    spec = domain(xml)
    assert spec.devices == (panic,)
    assert parse(render(spec)) == spec
    assert xml in render(spec)
    check(spec)
    filled = fill(spec, Capabilities()).of(Panic)
    assert filled == (replace(panic, model=panic.model or PanicModel.ISA),)
    assert options(spec) == [{"driver": driver, "id": "panic0"}]


def test_a_guest_may_have_one_of_each() -> None:
    spec = domain("<panic model='isa'/>", "<panic model='pvpanic'/>")
    check(spec)
    assert [each["id"] for each in options(spec)] == ["panic0", "panic1"]


@pytest.mark.parametrize(
    ("devices", "path"),
    [
        (["<panic model='s390'/>"], "/domain/devices/panic/@model"),
        (["<panic/>", "<panic model='isa'/>"], "/domain/devices/panic[2]/@model"),
        (["<panic><address type='isa' iobase='0x500'/></panic>"], "/domain/devices/panic[1]/address/@iobase"),
        (["<panic model='pvpanic'><address type='isa' iobase='0x505'/></panic>"], "/domain/devices/panic[1]/address"),
    ],
)
def test_what_is_not_to_be_had_is_refused_where_it_stands(devices: list[str], path: str) -> None:
    with pytest.raises(ConfigUnsupported) as refused:
        check(domain(*devices))
    assert [place.path for place in refused.value.places] == [path]
    check(domain("<panic><address type='isa' iobase='0x505'/></panic>"))
