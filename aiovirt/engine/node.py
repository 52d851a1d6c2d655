"""What is asked of a host's machine: the machine that is here, or the made-up one of ``test:///default``.

Every engine is of this machine, so it is read here, whichever process asks.
"""

from __future__ import annotations

from aiovirt.engine.uri import parse_uri
from aiovirt.errors import InvalidArgument, Unsupported
from aiovirt.model.node import Hypervisor, NodeCPUStats, NodeInfo, NodeMemoryStats
from aiovirt.system import to_thread

__all__ = ["cpu_stats", "hypervisor", "info", "memory_stats"]


async def info(uri: str) -> NodeInfo:
    """virNodeGetInfo. Raises SystemFailure."""
    if _is_test(uri):
        from aiovirt.drivers.test.node import INFO

        return INFO
    from aiovirt.system.node import read_node_info

    return await to_thread.run_sync(read_node_info)


async def cpu_stats(uri: str, cpu: int | None) -> NodeCPUStats:
    """virNodeGetCPUStats. Raises InvalidArgument where there is no such CPU, SystemFailure."""
    _check(cpu)
    if _is_test(uri):
        from aiovirt.drivers.test.node import CPU_STATS, INFO

        if cpu is not None and cpu >= INFO.cpus:
            raise InvalidArgument(f"there is no CPU {cpu} that is online")
        return CPU_STATS
    from aiovirt.system.node import read_cpu_stats

    return await to_thread.run_sync(read_cpu_stats, cpu)


async def memory_stats(uri: str, cell: int | None) -> NodeMemoryStats:
    """virNodeGetMemoryStats. Raises Unsupported for ``test:///default``, InvalidArgument for no such cell, SystemFailure."""
    _check(cell)
    if _is_test(uri):
        raise Unsupported("the machine of test:///default has no memory statistics")
    from aiovirt.system.node import read_memory_stats

    return await to_thread.run_sync(read_memory_stats, cell)


async def hypervisor(uri: str) -> Hypervisor:
    """virConnectGetType and virConnectGetVersion. Raises SystemFailure where no emulator is installed."""
    if _is_test(uri):
        from aiovirt.drivers.test.node import HYPERVISOR

        return HYPERVISOR
    from aiovirt.drivers.qemu.emulator import hypervisor

    return await to_thread.run_sync(hypervisor)


def _check(number: int | None) -> None:
    if number is not None and number < 0:
        raise InvalidArgument(f"{number} is not the number of a CPU or a NUMA cell")


def _is_test(uri: str) -> bool:
    return parse_uri(uri).driver == "test"
