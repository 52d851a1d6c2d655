"""Sound cards: those of Intel's HDA are a controller, with codecs on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on, check_on_pci, check_x86
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.controller import ControllerType
from aiovirt.model.devices.device import AddressType
from aiovirt.model.devices.sound import Codec, Sound, SoundModel

__all__ = ["arguments", "check", "needs"]

BACKEND: Final = "audio1"
_DRIVERS: Final = {
    SoundModel.AC97: "AC97",
    SoundModel.ES1370: "ES1370",
    SoundModel.ICH6: "intel-hda",
    SoundModel.ICH9: "ich9-intel-hda",
    SoundModel.SB16: "sb16",
    SoundModel.USB: "usb-audio",
}
_HDA: Final = (SoundModel.ICH6, SoundModel.ICH9)


def needs(sound: Sound) -> tuple[ControllerType, int] | None:
    """A USB controller, on USB."""
    return (ControllerType.USB, 0) if sound.model is SoundModel.USB else None


def check(sound: Sound, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    if sound.audio not in (None, 1):
        yield "audio/@id", f"an id of {sound.audio}"
    if sound.codecs and sound.model not in _HDA:
        yield "codec", f"a card of model {sound.model} has none"
    match sound.model:
        case SoundModel.USB:
            yield from check_on(sound, AddressType.USB)
        case SoundModel.SB16:
            yield from check_x86(context.spec)
            if any(other.model is sound.model for other in context.spec.of(Sound)[: context.number]):
                yield "@model", "a guest has one sound card of model sb16"
            yield from check_on(sound, AddressType.ISA)
        case _:
            yield from check_on_pci(sound)


def arguments(sound: Sound, context: Context) -> Iterator[str]:
    """A ``-device``, and one for each codec, with the ids that libvirt gives them."""
    name = f"sound{context.number}"
    driver = _DRIVERS[sound.model]
    if sound.model not in _HDA:
        bus = {"bus": "usb.0"} if sound.model is SoundModel.USB else {}
        yield from ("-device", json_of(driver=driver, id=name, audiodev=BACKEND, **bus))
        return
    yield from ("-device", json_of(driver=driver, id=name))
    for number, codec in enumerate(sound.codecs or (Codec.DUPLEX,)):
        codec_name = f"{name}-codec{number}"
        yield from ("-device", json_of(driver=f"hda-{codec}", id=codec_name, bus=f"{name}.0", cad=number, audiodev=BACKEND))
