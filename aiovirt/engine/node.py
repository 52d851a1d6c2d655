"""What is asked of a host's machine: the machine that is here, or the made-up one of ``test:///default``.

The engine of guests that are not a remote's is of this machine, so it is read here, whichever process asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio

from aiovirt.drivers.scheme import LocalScheme, Machine
from aiovirt.engine.uri import parse_uri
from aiovirt.errors import InvalidArgument, OrderTimeout, Unsupported
from aiovirt.model.node import Hypervisor, NodeCPUStats, NodeInfo, NodeMemoryStats
from aiovirt.system import to_thread

__all__ = ["cpu_stats", "hostname", "hypervisor", "info", "memory_stats"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def info(uri: str, timeout: float) -> NodeInfo:
    """virNodeGetInfo. Raises SystemFailure."""
    if (machine := _machine(uri)) is not None:
        return machine.info
    from aiovirt.system.node import read_node_info

    return await _read(timeout, read_node_info)


async def cpu_stats(uri: str, cpu: int | None, timeout: float) -> NodeCPUStats:
    """virNodeGetCPUStats. Raises InvalidArgument where there is no such CPU, SystemFailure."""
    _check(cpu)
    if (machine := _machine(uri)) is not None:
        if cpu is not None and cpu >= machine.info.cpus:
            raise InvalidArgument(f"there is no CPU {cpu} that is online")
        return machine.cpu_stats
    from aiovirt.system.node import read_cpu_stats

    return await _read(timeout, read_cpu_stats, cpu)


async def memory_stats(uri: str, cell: int | None, timeout: float) -> NodeMemoryStats:
    """virNodeGetMemoryStats. Raises Unsupported for ``test:///default``, InvalidArgument for no such cell, SystemFailure."""
    _check(cell)
    if _machine(uri) is not None:
        raise Unsupported(f"the machine of {uri} has no memory statistics")
    from aiovirt.system.node import read_memory_stats

    return await _read(timeout, read_memory_stats, cell)


async def hypervisor(uri: str, timeout: float) -> Hypervisor:
    """virConnectGetType and virConnectGetVersion. Raises SystemFailure where no emulator is installed."""
    return await _read(timeout, _scheme(uri).hypervisor)


async def hostname(timeout: float) -> str:
    """virConnectGetHostname. Raises SystemFailure."""
    from aiovirt.system.node import hostname

    return await _read(timeout, hostname)


async def _read(timeout: float, read: Callable[[*Ts], T], *about: *Ts) -> T:
    """What ``read`` returns, in a thread. Raises InvalidArgument for a timeout that cannot be, OrderTimeout once it has passed."""
    if not timeout > 0:
        raise InvalidArgument(f"a timeout of {timeout:g} s is not possible")
    with anyio.move_on_after(timeout):
        return await to_thread.run_sync(read, *about, abandon_on_cancel=True)
    raise OrderTimeout(f"no answer within {timeout:g} s", sent=True)


def _check(number: int | None) -> None:
    if number is not None and number < 0:
        raise InvalidArgument(f"{number} is not the number of a CPU or a NUMA cell")


def _scheme(uri: str) -> LocalScheme:
    scheme = parse_uri(uri).scheme
    if not isinstance(scheme, LocalScheme):
        raise Unsupported(f"what the machine of {uri} is cannot be asked yet")
    return scheme


def _machine(uri: str) -> Machine | None:
    """The one that is made up, where it is not this one."""
    make = _scheme(uri).machine
    return make() if make else None
