"""Node devices: this host's, by libvirt's names."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING, Final

from aiovirt.cli.verb import argument, flag, one_of, option, verb

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host

_CAPABILITIES: Final = """
    system pci usb_device usb net scsi_host scsi_target scsi storage fc_host vports scsi_generic drm
    mdev_types mdev ccw css vdpa ap_card ap_queue ap_matrix vpd ccwgroup ccwgroup_member"""
"""All of libvirt's. Devices that can another than system, pci and net are not listed: of those there are none."""


def _capabilities(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in _CAPABILITIES.split():
            raise argparse.ArgumentTypeError(f"{name!r} is no capability; there are {', '.join(_CAPABILITIES.split())}")
    return names


DEVICE: Final = argument("device", "libvirt's name for it, a network device's own name, or a PCI address", words="device")


@verb(
    "nodedev-list",
    "list this host's devices by libvirt's names",
    *one_of(
        flag("--tree", "as a tree, each below what it hangs from"),
        flag("--ports", "as ports of network cards, with PF and VFs, and how it is known who is on them"),
        flag("--details", "a table of the network devices"),
    ),
    option("--cap", "only devices that can this: system, pci, net", type=_capabilities, metavar="NAME,…"),
    reads=True,
)
async def nodedev_list(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.nodedevs import list_devices

    await list_devices(host, args, out)


@verb("nodedev-info", "what is known of a device", DEVICE, reads=True)
async def nodedev_info(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.nodedevs import info

    await info(host, args, out)


@verb("nodedev-dumpxml", "print a device's XML, as libvirt has it", DEVICE, reads=True)
async def nodedev_dumpxml(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.nodedevs import dump

    await dump(host, args, out)


@verb(
    "nodedev-event",
    "print a device's event when it comes",
    argument("device", f"of one device: {DEVICE.keywords['help']}", words="device", nargs="?"),
    *one_of(
        flag("--all", "events of both types, which is what is shown without this too"),
        option("--event", "of this type only", choices=["lifecycle", "update"]),
    ),
    flag("--loop", "go on until interrupted"),
    flag("--timestamp", "each with its time"),
    reads=True,
)
async def nodedev_event(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.nodedevs import follow

    await follow(host, args, out)
