"""What the kernel says of this machine as a whole, below a movable root. All of it blocks for a moment: for threads."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from aiovirt.errors import InvalidArgument, SystemFailure
from aiovirt.model.node import CPULocation, NodeCPUStats, NodeInfo, NodeMemoryStats, node_info
from aiovirt.model.units import KiB

__all__ = ["hostname", "read_cpu_stats", "read_memory_stats", "read_node_info"]

_NODES: Final = "sys/devices/system/node"
_CPUS: Final = "sys/devices/system/cpu"
_CELL: Final = re.compile(r"node(\d+)")
_FIELD: Final = re.compile(r"^(?:Node \d+ )?(\w+): +(\d+) kB$", re.MULTILINE)
_MHZ: Final = re.compile(r"^cpu MHz\s*: (\d+)", re.MULTILINE)


def read_node_info(root: Path = Path("/")) -> NodeInfo:
    """The machine, as ``virsh nodeinfo`` has it. Raises SystemFailure."""
    mhz = _MHZ.search(_read(root / "proc/cpuinfo"))
    return node_info(_places(root), model=os.uname().machine, memory=_memory(root), mhz=int(mhz[1]) if mhz else 0)


def read_cpu_stats(cpu: int | None = None, root: Path = Path("/")) -> NodeCPUStats:
    """The times of one CPU, or of all together (proc_stat(5)). Raises InvalidArgument where there is no such CPU, SystemFailure."""
    name = "cpu" if cpu is None else f"cpu{cpu}"
    for line in _read(root / "proc/stat").splitlines():
        words = line.split()
        if words[:1] == [name]:
            user, nice, system, idle, iowait, irq, softirq, *_ = (int(word) * 10**9 // os.sysconf("SC_CLK_TCK") for word in words[1:])
            return NodeCPUStats(kernel=system + irq + softirq, user=user + nice, idle=idle, iowait=iowait)
    raise InvalidArgument(f"there is no CPU {cpu} that is online")


def read_memory_stats(cell: int | None = None, root: Path = Path("/")) -> NodeMemoryStats:
    """The memory of one NUMA node, or of all together (proc_meminfo(5)). Raises InvalidArgument for no such node, SystemFailure."""
    file = root / ("proc/meminfo" if cell is None else f"{_NODES}/node{cell}/meminfo")
    if cell is not None and not file.exists():
        raise InvalidArgument(f"there is no NUMA cell {cell}")
    fields = {name: int(number) * KiB for name, number in _FIELD.findall(_read(file))}
    total, free = fields.get("MemTotal", 0), fields.get("MemFree", 0)
    if cell is not None:
        return NodeMemoryStats(total=total, free=free)
    return NodeMemoryStats(total=total, free=free, buffers=fields.get("Buffers", 0), cached=fields.get("Cached", 0))


def hostname() -> str:
    """This host's name: fully qualified where the resolver knows that (virGetHostname)."""
    name = socket.gethostname()
    if "." in name or name.startswith("localhost"):
        return name
    with suppress(OSError):
        found = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)[0][3]
        if found and not found.startswith("localhost"):
            return found
    return name


def _memory(root: Path) -> int:
    """That of all NUMA nodes, as libvirt adds it up; all there is where the kernel knows no nodes."""
    return sum(read_memory_stats(cell, root).total for cell in _cells(root)) or read_memory_stats(None, root).total


def _cells(root: Path) -> list[int]:
    """The NUMA nodes; none where the kernel knows none."""
    try:
        names = os.listdir(root / _NODES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SystemFailure(f"cannot list {root / _NODES}: {error.strerror}") from error
    return [int(found[1]) for name in names if (found := _CELL.fullmatch(name))]


def _places(root: Path) -> Iterator[CPULocation]:
    """Where each CPU is that is online."""
    nodes = {cpu: cell for cell in _cells(root) for cpu in _numbers(_read(root / _NODES / f"node{cell}/cpulist"))}
    for cpu in _numbers(_read(root / _CPUS / "online")):
        topology = root / _CPUS / f"cpu{cpu}/topology"
        yield nodes.get(cpu, 0), int(_read(topology / "physical_package_id")), int(_read(topology / "core_id"))


def _numbers(text: str) -> Iterator[int]:
    """Those of a list as the kernel writes it: ``0-3,8``."""
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            yield from range(int(first), int(last or first) + 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SystemFailure(f"cannot read {path}: {error.strerror}") from error
