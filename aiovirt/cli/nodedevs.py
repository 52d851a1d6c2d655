"""The verbs about this host's devices."""

from __future__ import annotations

import argparse

from aiovirt import Host
from aiovirt.cli.output import Output, netdev_fields
from aiovirt.events.words import show

__all__ = ["nodedev_list"]


async def nodedev_list(host: Host, args: argparse.Namespace, out: Output) -> None:  # noqa: ARG001 - every verb's shape
    """``nodedev-list [--cap net]``"""
    devices = host.devices.netdevs()
    if out.json:
        for device in devices:
            out.object(netdev_fields(device))
        return
    rows = [
        (
            device.name,
            device.mac or "-",
            str(device.mtu),
            str(device.operstate),
            show("phys_port_id", device.phys_port_id),
            device.parent or "-",
            device.driver or device.kind or "-",
        )
        for device in devices
    ]
    out.table(("Name", "MAC", "MTU", "State", "phys_port_id", "Parent", "Driver"), rows)
