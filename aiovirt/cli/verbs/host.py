"""Host and hypervisor: what the machine is, and what runs its guests."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from aiovirt.cli.verb import flag, option, verb

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host
    from aiovirt.model.node import NodeCPUStats


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


@verb("hostname", "print the host's name", reads=True)
async def hostname(host: Host, args: Namespace, out: Output) -> None:
    _value(out, "hostname", await host.hostname())


@verb("uri", "print the host's URI", reads=True)
async def uri(host: Host, args: Namespace, out: Output) -> None:
    _value(out, "uri", host.uri)


def _value(out: Output, name: str, value: str) -> None:
    if out.json:
        out.object({name: value})
    else:
        out.line(value)
        out.note()


@verb("version", "print the versions of aiovirt and of the hypervisor", reads=True)
async def version(host: Host, args: Namespace, out: Output) -> None:
    from importlib.metadata import version

    from aiovirt.system import to_thread

    ours, runs = await to_thread.run_sync(version, "aiovirt"), await host.hypervisor()
    if out.json:
        out.object({"aiovirt": ours, "hypervisor": runs.type, "version": runs.version})
        return
    out.line(f"Using library: aiovirt {ours}")
    out.line(f"Using API: {runs.type} {ours}")
    out.line(f"Running hypervisor: {runs.type} {runs.version}")
    out.note()


@verb("nodeinfo", "what the host's machine is", reads=True)
async def nodeinfo(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.model.units import KiB

    info = await host.info()
    if out.json:
        out.object(info)
        return
    fields = {
        "CPU model": info.model,
        "CPU(s)": str(info.cpus),
        "CPU frequency": f"{info.mhz} MHz",
        "CPU socket(s)": str(info.sockets),
        "Core(s) per socket": str(info.cores),
        "Thread(s) per core": str(info.threads),
        "NUMA cell(s)": str(info.nodes),
        "Memory size": f"{info.memory // KiB} KiB",
    }
    for name, value in fields.items():
        out.line(f"{name + ':':<20} {value}")
    out.note()


@verb(
    "nodecpustats",
    "what the host's CPUs have done since the boot, in nanoseconds",
    option("--cpu", "one CPU only", type=_number, metavar="NUMBER"),
    flag("--percent", "what they do during one second from now, in percent"),
    reads=True,
)
async def nodecpustats(host: Host, args: Namespace, out: Output) -> None:
    import anyio

    before = await host.cpu_stats(args.cpu)
    if not args.percent:
        shown: dict[str, int | float] = {"user": before.user, "system": before.kernel, "idle": before.idle, "iowait": before.iowait}
    else:
        await anyio.sleep(1)  # noqa: TID251 - the second that is measured
        shown = _percent(before, await host.cpu_stats(args.cpu))
    if out.json:
        out.object(shown)
        return
    for name, value in shown.items():
        out.line(f"{name + ':':<8}{value:>13.1f}%" if args.percent else f"{name + ':':<15}{value:>21}")
    out.note()


def _percent(before: NodeCPUStats, after: NodeCPUStats) -> dict[str, int | float]:
    total = max(after.total - before.total, 1)
    user, system, idle, iowait = (
        100 * (getattr(after, name) - getattr(before, name)) / total for name in ("user", "kernel", "idle", "iowait")
    )
    return {"usage": user + system, "user": user, "system": system, "idle": idle, "iowait": iowait}


@verb(
    "nodememstats",
    "the host's memory now, in KiB",
    option("--cell", "one NUMA cell only", type=_number, metavar="NUMBER"),
    reads=True,
)
async def nodememstats(host: Host, args: Namespace, out: Output) -> None:
    from msgspec.structs import asdict

    from aiovirt.model.units import KiB

    stats = {name: value for name, value in asdict(await host.memory_stats(args.cell)).items() if value is not None}
    if out.json:
        out.object(stats)
        return
    for name, value in stats.items():
        out.line(f"{name:<7}: {value // KiB:>20} KiB")
    out.note()
