"""The kernel's uevents: one datagram of NETLINK_KOBJECT_UEVENT's group 1 becomes one value.

The form is the kernel's (``lib/kobject_uevent.c``): ``ACTION@DEVPATH``, then ``KEY=VALUE`` entries,
each ended by a NUL. No I/O lives here, and no opinion on what an event means.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from aiovirt.errors import ProtocolError

__all__ = ["MAX_DATAGRAM", "Uevent", "parse"]

MAX_DATAGRAM: Final = 16 * 1024
"""Bytes. The kernel's environment buffer is 2 KiB (``UEVENT_BUFFER_SIZE``), beside one device path."""

_SYNTHETIC: Final = "SYNTH_UUID"  # 0 where the writer gave none
_LIBUDEV_MAGIC: Final = b"libudev\0"
_MAX_SEQNUM_DIGITS: Final = 20  # of a u64


class Uevent(Struct, frozen=True, kw_only=True, gc=False):
    r"""What happened to one kernel object.

    ``action`` is ``add``, ``remove``, ``change``, ``move``, ``bind``, ``unbind``, ``online`` or
    ``offline``; ``devpath`` its path under ``/sys``; ``seqnum`` grows over all namespaces, so a reader of
    one sees holes. ``env`` has every key, those four included; bytes that are no UTF-8 are escaped (``\xff``).

    Anybody who may write a device's ``uevent`` file can have one sent, with any action (``udevadm trigger``): nothing need
    have happened then, and it is ``is_synthetic``.
    """

    action: str
    devpath: str
    subsystem: str
    seqnum: int
    env: dict[str, str]

    @property
    def is_synthetic(self) -> bool:
        """Whether it was sent on request (Documentation/ABI/testing/sysfs-uevent): no more than a reason to look."""
        return _SYNTHETIC in self.env


def parse(datagram: bytes) -> Uevent | None:
    """The uevent of a whole datagram, or None for one in libudev's own format (not the kernel's word).

    Raises ProtocolError on anything else.
    """
    if datagram.startswith(_LIBUDEV_MAGIC):
        return None
    if len(datagram) > MAX_DATAGRAM:
        raise ProtocolError(f"uevent: {len(datagram)} bytes are more than {MAX_DATAGRAM}")
    if not datagram.endswith(b"\0"):
        raise ProtocolError("uevent: the last entry is cut off")
    header, *entries = datagram[:-1].decode(errors="backslashreplace").split("\0")
    env = dict(_entry(entry) for entry in entries)
    action, devpath = _required(env, "ACTION"), _required(env, "DEVPATH")
    if header != f"{action}@{devpath}":
        raise ProtocolError(f"uevent: the header {header[:80]!r} is not that of {action[:80]}@{devpath[:80]}")
    return Uevent(action=action, devpath=devpath, subsystem=_required(env, "SUBSYSTEM"), seqnum=_seqnum(env), env=env)


def _entry(entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise ProtocolError(f"uevent: {entry[:80]!r} is not KEY=VALUE")
    return key, value


def _required(env: dict[str, str], key: str) -> str:
    if value := env.get(key):
        return value
    raise ProtocolError(f"uevent: {key} is missing")


def _seqnum(env: dict[str, str]) -> int:
    text = _required(env, "SEQNUM")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_SEQNUM_DIGITS):
        raise ProtocolError(f"uevent: SEQNUM {text[:80]!r} is not a number")
    return int(text)
