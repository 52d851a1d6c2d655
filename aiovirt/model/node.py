"""What a host's machine is and does, in the words of libvirt's API: virNodeInfo, virNodeCPUStats, virNodeMemoryStats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

__all__ = ["CPULocation", "Hypervisor", "NodeCPUStats", "NodeInfo", "NodeMemoryStats", "node_info"]


class NodeInfo(Struct, frozen=True, kw_only=True):
    """``virNodeInfo``: ``model`` of the CPUs (``x86_64``), ``memory`` in bytes, active ``cpus``, ``mhz``, NUMA ``nodes``.

    ``sockets`` of a node, ``cores`` of a socket, ``threads`` of a core. Where the machine is not that regular, as when CPUs are
    offline, it is one node with one socket that has all CPUs as its cores.
    """

    model: str
    memory: int
    cpus: int
    mhz: int
    nodes: int
    sockets: int
    cores: int
    threads: int


class NodeCPUStats(Struct, frozen=True, kw_only=True):
    """``virNodeCPUStats``: nanoseconds since the boot, of one CPU or of all together."""

    kernel: int
    user: int
    idle: int
    iowait: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.kernel + self.user + self.idle + self.iowait


class NodeMemoryStats(Struct, frozen=True, kw_only=True):
    """``virNodeMemoryStats``, in bytes. Of one NUMA node, ``buffers`` and ``cached`` are None."""

    total: int
    free: int
    buffers: int | None = None
    cached: int | None = None


class Hypervisor(Struct, frozen=True):
    """What runs the guests (virConnectGetType, virConnectGetVersion): ``QEMU`` and ``7.2.22``."""

    type: str
    version: str


CPULocation = tuple[int, int, int]
"""Where a CPU is: NUMA node, socket, core."""


def node_info(places: Iterable[CPULocation], *, model: str, memory: int, mhz: int) -> NodeInfo:
    """What a machine is whose active CPUs are at ``places``, as libvirt counts (virHostCPUGetInfoPopulateLinux)."""
    threads = Counter(places)
    cores = Counter((node, socket) for node, socket, _ in threads)
    sockets = Counter(node for node, _ in cores)
    shape = (len(sockets), *(max(counted.values(), default=1) for counted in (sockets, cores, threads)))
    cpus = threads.total()
    if shape[0] * shape[1] * shape[2] * shape[3] != cpus:
        shape = (1, 1, cpus, 1)
    return NodeInfo(model=model, memory=memory, cpus=cpus, mhz=mhz, nodes=shape[0], sockets=shape[1], cores=shape[2], threads=shape[3])
