"""``demo``: what aiovirt is for, in half a minute.

Two real guests boot, a network device comes, changes and goes, the guests power off; meanwhile one
reader prints everything as it happens, in one order. On asyncio, then on trio.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, TaskStatus
from msgspec.structs import replace

import aiovirt
from aiovirt.cli.demo_device import plug
from aiovirt.cli.output import WHO, Output
from aiovirt.cli.running import run_on
from aiovirt.drivers.qemu.tinyguest import UP, image, tiny_guest
from aiovirt.events import DomainQMP, Event, NetdevEvent
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.words import portrait
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import VirtType
from aiovirt.model.state import DomainState
from aiovirt.system import namespace
from aiovirt.text import padded, plain

__all__ = ["demo"]

GUESTS: Final = ("web", "db")
PATIENCE: Final = 30.0


def demo(args: argparse.Namespace, out: Output) -> int:
    """``demo``: inside namespaces of its own where they can be had; returns the exit status."""
    if sys.platform != "linux" or shutil.which("qemu-system-x86_64") is None:
        raise aiovirt.SystemFailure("the demo needs Linux and QEMU (on Debian: apt-get install qemu-system-x86)")
    if args.inside:
        namespace.furnish()
        return _on_both(out, devices=True)
    why = namespace.why_refused()
    if why is None:
        again = [sys.executable, "-m", "aiovirt", *(["--json"] if args.json else []), "demo", "--inside"]
        return namespace.run_inside(again)
    _say(out, f"No network namespace here ({why}): the guests are shown, the network device is not.")
    return _on_both(out, devices=False)


def _on_both(out: Output, *, devices: bool) -> int:
    for backend in ("asyncio", "trio"):
        _say(out, f"== on {backend} ==")
        with tempfile.TemporaryDirectory(prefix="aiovirt-demo-") as folder:
            status = run_on(backend, functools.partial(_show, Path(folder), out, devices=devices))
        if status:
            return status
    return 0


async def _show(folder: Path, out: Output, *, devices: bool) -> int:
    async with aiovirt.connect(f"qemu:///embed?root={folder}") as host:
        _say(out, "-- what is there")
        for device in host.devices.netdevs():
            _say(out, f"{'':12}  {padded(plain(device.name), WHO)}  {'present':<9}  {portrait(device)}", "dim")
        _say(out, "-- two guests boot")
        reader = _Reader(out)
        async with anyio.create_task_group() as tasks:
            await tasks.start(reader.read, host)
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as guests:
                    async with anyio.create_task_group() as booting:
                        for name in GUESTS:
                            booting.start_soon(guests.start, functools.partial(_guest, host, folder, name, out))
                    if devices:
                        await plug(host, functools.partial(_say, out), reader.read_up_to)
                    _say(out, "-- the guests' power buttons are pressed")
                    for name in GUESTS:
                        await host.domain(name).shutdown()
            await reader.read_up_to(host.events.cursor)
            tasks.cancel_scope.cancel()
    return reader.sum_up()


class _Reader:
    """The one reader: counts every event, and prints all but QEMU's raw words."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._seen: list[int] = []
        self._kinds: Counter[str] = Counter()
        self._cursor = ""
        self._news = anyio.Event()

    async def read(self, host: aiovirt.Host, *, task_status: TaskStatus[None]) -> None:
        async with host.events.subscribe() as events:
            task_status.started()
            async for event in events:
                self._take(event)

    def _take(self, event: Event) -> None:
        if not isinstance(event, DomainQMP):
            self._out.event(event)
        self._cursor = event.cursor
        self._seen.append(parse_cursor(event.cursor)[1])
        self._kinds[event.describe()[1] if not isinstance(event, NetdevEvent) else f"netdev {event.describe()[1]}"] += 1
        self._news.set()
        self._news = anyio.Event()

    async def read_up_to(self, cursor: str) -> None:
        """Returns when all up to ``cursor`` is printed."""
        while self._cursor < cursor:
            await self._news.wait()

    def sum_up(self) -> int:
        """The last line; returns the exit status."""
        first, last = self._seen[0], self._seen[-1]
        contiguous = self._seen == list(range(first, last + 1))
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(self._kinds.items()))
        order = "contiguous, nothing missing" if contiguous else "NOT CONTIGUOUS"
        _say(self._out, f"{len(self._seen)} events: {counts}. Sequence {first} to {last}: {order}.", "green" if contiguous else "red")
        return 0 if contiguous else 1


async def _guest(host: aiovirt.Host, folder: Path, name: str, out: Output, *, task_status: TaskStatus[None]) -> None:
    """One guest's life; started once it has said on its serial port that it is up."""
    disk, serial = folder / f"{name}.img", folder / f"{name}.com1"
    await anyio.Path(disk).write_bytes(image())
    port = Serial(type=Chardev.UNIX, path=str(serial), listen=False)
    spec = replace(tiny_guest(str(disk), name=name, serial=port), type=VirtType.QEMU)
    async with await anyio.create_unix_listener(serial) as com1, anyio.create_task_group() as tasks:
        up = anyio.Event()
        tasks.start_soon(com1.serve, functools.partial(_listen, up))
        async with host.run(spec) as domain:
            await up.wait()
            _say(out, f"-- {name} says on its serial port: {UP.decode()}")
            task_status.started()
            await domain.wait_for_state(DomainState.SHUTOFF)
        tasks.cancel_scope.cancel()


async def _listen(up: anyio.Event, stream: ByteReceiveStream) -> None:
    """A guest's serial line: sets ``up`` when it has said so, and reads on."""
    said = b""
    async with stream:
        async for part in stream:
            said = (said + part)[-200:]
            if UP in said:
                up.set()


def _say(out: Output, words: str, colour: str = "bold") -> None:
    """A line between the events; programs get events only."""
    if not out.json:
        out.line(out.paint(words, colour))
