"""Sound cards: read, written, and as QEMU's argv. tests/real/test_libvirtxml_virsh.py holds that against libvirt's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiovirt.drivers.qemu.command_line import check
from aiovirt.drivers.qemu.defaults import Capabilities, fill
from aiovirt.drivers.qemu.devices import arguments
from aiovirt.errors import ConfigUnsupported
from aiovirt.libvirtxml import parse, render
from aiovirt.model.devices.audio import Audio, AudioType
from aiovirt.model.spec import DomainSpec
from tests.drivers.qemu.test_panic import domain


def options(spec: DomainSpec) -> list[dict[str, Any]]:
    """Those of sound, by their order."""
    words = [json.loads(word) for word in arguments(fill(spec, Capabilities())) if word.startswith("{")]
    return [word for word in words if "audio" in json.dumps(word) or "hda" in str(word["driver"])]


NOWHERE = {"id": "audio1", "driver": "none"}


@pytest.mark.parametrize(
    ("xml", "card"),
    [
        ("<sound model='ac97'/>", {"driver": "AC97", "id": "sound0", "audiodev": "audio1"}),
        ("<sound model='es1370'/>", {"driver": "ES1370", "id": "sound0", "audiodev": "audio1"}),
        ("<sound model='sb16'/>", {"driver": "sb16", "id": "sound0", "audiodev": "audio1"}),
        ("<sound model='usb'/>", {"driver": "usb-audio", "id": "sound0", "audiodev": "audio1", "bus": "usb.0"}),
    ],
)
def test_a_card_is_read_written_and_asked_for(xml: str, card: dict[str, str]) -> None:
    spec = domain(xml)
    assert xml in render(spec)
    assert parse(render(spec)) == spec
    check(spec)
    assert fill(spec, Capabilities()).of(Audio) == (Audio(type=AudioType.NONE),)
    assert options(spec) == [card, NOWHERE]


def test_an_hda_card_has_codecs() -> None:
    spec = domain("<sound model='ich9'><codec type='micro'/><codec type='output'/><audio id='1'/></sound>", "<sound model='ich6'/>")
    assert parse(render(spec)) == spec
    check(spec)
    assert options(spec) == [
        {"driver": "ich9-intel-hda", "id": "sound0"},
        {"driver": "hda-micro", "id": "sound0-codec0", "bus": "sound0.0", "cad": 0, "audiodev": "audio1"},
        {"driver": "hda-output", "id": "sound0-codec1", "bus": "sound0.0", "cad": 1, "audiodev": "audio1"},
        {"driver": "intel-hda", "id": "sound1"},
        {"driver": "hda-duplex", "id": "sound1-codec0", "bus": "sound1.0", "cad": 0, "audiodev": "audio1"},
        NOWHERE,
    ]


def test_without_a_card_there_is_nothing() -> None:
    assert options(domain("<audio id='1' type='none'/>")) == []
    assert fill(domain(), Capabilities()).of(Audio) == ()


@pytest.mark.parametrize(
    ("devices", "path"),
    [
        (["<sound model='pcspk'/>"], "/domain/devices/sound/@model"),
        (["<sound model='ac97'><codec type='micro'/></sound>"], "/domain/devices/sound[1]/codec"),
        (["<sound model='ich9'><audio id='2'/></sound>"], "/domain/devices/sound[1]/audio/@id"),
        (["<sound model='sb16'/>", "<sound model='sb16'/>"], "/domain/devices/sound[2]/@model"),
        (["<sound model='usb'><address type='pci' slot='0x2'/></sound>"], "/domain/devices/sound[1]/address"),
    ],
)
def test_what_it_cannot_give_is_refused(devices: list[str], path: str) -> None:
    with pytest.raises(ConfigUnsupported) as caught:
        check(domain(*devices))
    assert path in [place.path for place in caught.value.places]
