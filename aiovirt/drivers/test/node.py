"""The machine of ``test:///default``: the one of libvirt's own test driver."""

from __future__ import annotations

from typing import Final

from aiovirt.model.node import Hypervisor, NodeCPUStats, NodeInfo
from aiovirt.model.units import GiB

__all__ = ["CPU_STATS", "HYPERVISOR", "INFO"]

INFO: Final = NodeInfo(model="i686", memory=3 * GiB, cpus=16, mhz=1400, nodes=2, sockets=2, cores=2, threads=2)
CPU_STATS: Final = NodeCPUStats(kernel=34_678_723_400_000, user=9_797_400_000, idle=87_264_900_000, iowait=763_600_000)
HYPERVISOR: Final = Hypervisor("TEST", "0.0.2")
