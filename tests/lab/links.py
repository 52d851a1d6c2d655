"""Links as ip(8) has them, beside what an inventory has of them; all within a sandbox."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from tempfile import TemporaryFile
from typing import Any

from aiovirt.model.netdev import LinkFlags, Netdev

__all__ = ["Portrait", "as_known", "as_told_by_ip", "ip_batch"]

Portrait = dict[str, object]


def ip_batch(lines: Iterable[str]) -> subprocess.Popen[bytes]:
    """A process that carries out lines of ip-link(8), as fast as it can."""
    with TemporaryFile() as file:  # a pipe would make us wait until it has read all but the last of them
        file.write("".join(f"link {line}\n" for line in lines).encode())
        file.seek(0)
        return subprocess.Popen(["ip", "-batch", "-"], stdin=file)


def as_known(netdevs: Iterable[Netdev]) -> dict[int, Portrait]:
    """ifindex -> all that ip tells too."""
    return {
        netdev.ifindex: {
            "name": netdev.name,
            "mac": netdev.mac,
            "mtu": netdev.mtu,
            "operstate": str(netdev.operstate),
            "flags": _in_ips_words(netdev.flags),
            "master": netdev.master,
            "kind": netdev.kind,
            "altnames": set(netdev.altnames),
            "link": netdev.link,
        }
        for netdev in netdevs
    }


def as_told_by_ip() -> dict[int, Portrait]:
    """The same, as ``ip -j -d link`` tells it now."""
    done = subprocess.run(["ip", "-j", "-d", "link"], check=True, capture_output=True)
    links: list[dict[str, Any]] = json.loads(done.stdout)
    numbers = {link["ifname"]: link["ifindex"] for link in links}
    return {
        link["ifindex"]: {
            "name": link["ifname"],
            "mac": link.get("address", ""),
            "mtu": link["mtu"],
            "operstate": link["operstate"].lower(),
            "flags": set(link["flags"]) - {"M-DOWN"},  # of what it lies upon
            "master": numbers.get(link.get("master")),
            "kind": link.get("linkinfo", {}).get("info_kind"),
            "altnames": set(link.get("altnames", ())),
            "link": numbers.get(link.get("link")),
        }
        for link in links
    }


def _in_ips_words(flags: int) -> set[str]:
    """ip has no word for a running link, only for one that should."""
    words = {str(flag.name) for flag in LinkFlags if flag & flags and flag is not LinkFlags.RUNNING}
    no_carrier = flags & LinkFlags.UP and not flags & LinkFlags.RUNNING
    return words | {"NO-CARRIER"} if no_carrier else words
