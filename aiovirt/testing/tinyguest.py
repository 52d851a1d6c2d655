"""A guest of 512 bytes, ours to the last one: what the demo and tests boot.

It is a boot sector for QEMU's machine ``pc`` with ACPI on, in real mode from its first instruction
to its last. Its whole life: arm the power button, say ``aiovirt guest: up`` on COM1, halt. Each
tick of the BIOS timer (18.2 a second) wakes it for a look at the button. When that was pressed it
says ``aiovirt guest: power button, off`` and powers off. A reset begins that life again.

The button is armed before the guest speaks: who has read :data:`UP` may press it.
(Pressed earlier, it is not: QEMU drops a press that the guest did not ask for.) Sources: SeaBIOS
places the PM block at port 0x600; ACPI 6.5, section 4.8.3 gives its registers; PIIX4's S5 is
sleep type 0. Without ACPI those ports read as ones: it says both lines at once, and stays.

Nothing here does I/O: the caller writes :func:`image` to a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.devices.serial import Serial
from aiovirt.model.spec import DomainSpec, OsSpec
from aiovirt.model.units import MiB

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LISTING", "OFF", "ORIGIN", "UP", "image", "listing", "tiny_guest"]

UP: Final = b"aiovirt guest: up"
OFF: Final = b"aiovirt guest: power button, off"

ORIGIN: Final = 0x7C00
"""Where a BIOS loads a boot sector, and jumps to."""

SHOWN: Final = 8
"""How many bytes of a row :func:`listing` prints."""


def _line(words: bytes) -> tuple[str, str, str]:
    return (words + b"\r\n\0").hex(" "), f'db "{words.decode()}", 13, 10, 0', ""


def _binary(rows: Iterable[tuple[str, str, str]]) -> bytes:
    return bytes.fromhex("".join(code for code, _, _ in rows))


_PROGRAM: Final = (
    ("FC", "cld", "strings are read forwards"),
    ("31 C0", "xor ax, ax", "data and stack live in segment 0"),
    ("8E D8", "mov ds, ax", ""),
    ("8E D0", "mov ss, ax", "(no interrupt comes before the next is done)"),
    ("BC 00 7C", "mov sp, 0x7c00", "the stack grows down from below this code"),
    ("BA 02 06", "mov dx, 0x602", "PM1_EN:"),
    ("B8 00 01", "mov ax, 0x100", "PWRBTN_EN, bit 8"),
    ("EF", "out dx, ax", "the power button is armed"),
    ("BE 4D 7C", "mov si, up", ""),
    ("E8 1B 00", "call print", ""),
    ("FB", "sti", "let the timer tick"),
    ("", "idle:", ""),
    ("F4", "hlt", "until the next interrupt"),
    ("BA 00 06", "mov dx, 0x600", "PM1_STS:"),
    ("ED", "in ax, dx", ""),
    ("A9 00 01", "test ax, 0x100", "PWRBTN_STS, bit 8: pressed?"),
    ("74 F6", "jz idle", "no"),
    ("BE 61 7C", "mov si, off", ""),
    ("E8 0A 00", "call print", ""),
    ("BA 04 06", "mov dx, 0x604", "PM1_CNT:"),
    ("B8 00 20", "mov ax, 0x2000", "SLP_EN, bit 13; SLP_TYP 0 is S5"),
    ("EF", "out dx, ax", "power off"),
    ("", "dead:", ""),
    ("F4", "hlt", "for ever"),
    ("EB FD", "jmp dead", ""),
    ("", "print:", "the text at ds:si, up to its zero, to COM1"),
    ("AC", "lodsb", ""),
    ("84 C0", "test al, al", ""),
    ("74 15", "jz printed", ""),
    ("88 C4", "mov ah, al", "keep the character"),
    ("B9 00 10", "mov cx, 0x1000", "look 4096 times at most"),
    ("BA FD 03", "mov dx, 0x3fd", "LSR, the line's status:"),
    ("", "busy:", ""),
    ("EC", "in al, dx", ""),
    ("A8 20", "test al, 0x20", "THRE, bit 5: may it take a character?"),
    ("E1 FB", "loopz busy", "not yet"),
    ("88 E0", "mov al, ah", ""),
    ("BA F8 03", "mov dx, 0x3f8", "THR, what to send:"),
    ("EE", "out dx, al", ""),
    ("EB E6", "jmp print", ""),
    ("", "printed:", ""),
    ("C3", "ret", ""),
    ("", "up:", ""),
    _line(UP),
    ("", "off:", ""),
    _line(OFF),
)

LISTING: Final = (
    *_PROGRAM,
    ("00" * (510 - len(_binary(_PROGRAM))), "times 510-($-$$) db 0", "no partitions"),
    ("55 AA", "dw 0xaa55", "a BIOS boots what ends in this"),
)
"""The guest, row by row: its bytes in hex, the same in NASM's language, and why."""


def image() -> bytes:
    """The disk: one sector of 512 bytes, always the same."""
    return _binary(LISTING)


def listing() -> str:
    """The guest as an assembler prints it: address, bytes (the first 8 of a row), text, comment.

    What stands from column 35 on is source that NASM takes, given ``bits 16`` and ``org 0x7c00``.
    """
    lines: list[str] = []
    address = ORIGIN
    for code, text, note in LISTING:
        binary = bytes.fromhex(code)
        shown = binary[:SHOWN].hex(" ").upper() + (" .." if len(binary) > SHOWN else "")
        source = text if text.endswith(":") else f"    {text}"
        lines.append(f"{address:04X}  {shown:<26}  {source:<26}{note and f'; {note}'}".rstrip())
        address += len(binary)
    return "\n".join(lines) + "\n"


def tiny_guest(disk: str, *, name: str, serial: Serial | None = None, memory: int = 16 * MiB) -> DomainSpec:
    """A domain ``name`` that boots :func:`image` from the file ``disk`` and has ``serial`` as COM1.

    The disk is never written to; it is writable all the same, since QEMU refuses a read-only IDE
    disk. So QEMU locks the file: guests that run at the same time need a file each.

    Raises InvalidArgument where ``disk``, ``name`` or ``memory`` cannot be meant.
    """
    return DomainSpec(
        name=name,
        memory=memory,
        os=OsSpec(machine="pc", boot=("hd",)),
        acpi=True,
        devices=(Disk(source=disk, target="hda", bus=DiskBus.IDE), *(() if serial is None else (serial,))),
    )
