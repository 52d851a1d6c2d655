"""The tiny guest as bytes: what its listing says is what NASM makes of it."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.disk import DiskBus
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.units import MiB
from aiovirt.testing.tinyguest import ORIGIN, UP, image, listing, tiny_guest

if TYPE_CHECKING:
    from pathlib import Path

PROLOGUE = ["bits 16", "org 0x7c00"]


def nasm(source: list[str], folder: Path) -> tuple[bytes, list[int | None]]:
    """What NASM makes of ``source``: the binary, and for each line the address of its first byte."""
    (folder / "a.asm").write_text("\n".join(source) + "\n")
    subprocess.run(["nasm", "-f", "bin", "-l", "a.lst", "-o", "a.bin", "a.asm"], cwd=folder, check=True)
    addresses: dict[int, int] = {}
    for line in (folder / "a.lst").read_text().splitlines():
        if found := re.match(r" *(\d+) ([0-9A-F]{8}) ", line):
            addresses.setdefault(int(found[1]), ORIGIN + int(found[2], 16))
    return (folder / "a.bin").read_bytes(), [addresses.get(number) for number in range(1, len(source) + 1)]


def test_image_is_one_bootable_sector() -> None:
    assert len(image()) == 512
    assert image()[510:] == b"\x55\xaa"
    assert not any(image()[0x1BE:510]), "nothing may stand where a BIOS could see partitions"


def test_its_first_words() -> None:
    assert UP == b"aiovirt guest: up"
    assert image().count(b"aiovirt guest: up\r\n\0") == 1
    assert image().count(b"aiovirt guest: power button, off\r\n\0") == 1


def test_nasm_makes_the_same_bytes_of_the_listing(tmp_path: Path) -> None:
    rows = listing().splitlines()
    binary, addresses = nasm(PROLOGUE + [row[34:] for row in rows], tmp_path)
    assert binary.hex(" ") == image().hex(" ")
    shown = [int(row[:4], 16) if row[6:32].strip() else None for row in rows]
    assert shown == addresses[len(PROLOGUE) :]


def test_listing_prints_the_bytes_at_their_addresses() -> None:
    for row in listing().splitlines():
        start = int(row[:4], 16) - ORIGIN
        printed = bytes.fromhex(row[6:32].replace(" ..", ""))
        assert image()[start:].startswith(printed), row


def test_domain_boots_from_the_disk_with_acpi() -> None:
    com1 = Serial(type=Chardev.FILE, path="/srv/com1.log")
    spec = tiny_guest("/srv/tiny.img", name="tiny", serial=com1)
    (disk,) = spec.disks
    assert (disk.source, disk.bus, disk.format, disk.readonly) == ("/srv/tiny.img", DiskBus.IDE, "raw", False)
    assert (spec.name, spec.memory, spec.acpi) == ("tiny", 16 * MiB, True)
    assert (spec.os.machine, spec.os.boot, spec.serials) == ("pc", ("hd",), (com1,))


def test_domain_has_no_serial_port_unless_given_one() -> None:
    assert tiny_guest("/srv/tiny.img", name="tiny", memory=32 * MiB).serials == ()


def test_domain_with_a_relative_disk_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"absolute path, not 'tiny\.img'"):
        tiny_guest("tiny.img", name="tiny")
