"""A device's argv as commands for a QEMU that runs: each option is a step, with what undoes it. Pure.

``-blockdev``, ``-object`` and ``-device`` take the very JSON that their commands take. What has no command, as ``-action``,
cannot be plugged in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from aiovirt.errors import OperationInvalid
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.serial import CharacterDevice, Chardev

__all__ = ["Command", "Step", "steps"]

Members = dict[str, object]


class Command(NamedTuple):
    """A QMP command and its arguments."""

    name: str
    arguments: Members


class Step(NamedTuple):
    """What is done, and what undoes it. ``device`` is the id of what only goes when the guest lets it."""

    do: Command
    undo: Command
    device: str | None = None


def steps(device: Device, argv: Sequence[str]) -> Iterator[Step]:
    """The steps by which ``device``, whose argv that is, is plugged in; in reverse, undone, they unplug it.

    Raises OperationInvalid for one that is there from the start or never.
    """
    if not argv:
        raise OperationInvalid(f"a {device.tag} like this one is part of the machine")
    for option, value in zip(argv[::2], argv[1::2], strict=True):
        if option == "-chardev":
            yield _chardev(device, value)
        elif option in _COMMANDS:
            yield _step(device, option, msgspec.json.decode(value, type=Members))
        else:
            raise OperationInvalid(f"a {device.tag} like this one is there from the start or never: QEMU has {option} at a start only")


_COMMANDS: Final = {
    "-blockdev": ("blockdev-add", "blockdev-del", "node-name"),
    "-netdev": ("netdev_add", "netdev_del", "id"),
    "-object": ("object-add", "object-del", "id"),
    "-device": ("device_add", "device_del", "id"),
}


def _step(device: Device, option: str, members: Members) -> Step:
    add, remove, key = _COMMANDS[option]
    if (name := members.get(key)) is None:
        raise OperationInvalid(f"a {device.tag} like this one is there from the start or never: it has no {key} to unplug it by")
    return Step(Command(add, members), Command(remove, {key: name}), str(name) if option == "-device" else None)


def _chardev(device: Device, value: str) -> Step:
    assert isinstance(device, CharacterDevice), device.tag
    name = value.rpartition(",id=")[2]
    return Step(Command("chardev-add", {"id": name, "backend": _backend(device)}), Command("chardev-remove", {"id": name}))


def _backend(device: CharacterDevice) -> Members:
    """QAPI's ChardevBackend (char.json)."""
    match device.type:
        case Chardev.FILE:
            return {"type": "file", "data": {"out": device.path, "append": device.append}}
        case Chardev.UNIX:
            waits = {"wait": False} if device.listen else {}
            address = {"type": "unix", "data": {"path": device.path}}
            return {"type": "socket", "data": {"addr": address, "server": device.listen, **waits}}
        case other:
            return {"type": str(other), "data": {}}
