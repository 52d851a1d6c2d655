"""What aiovirt is for, in half a minute: guests and devices on one stream of events.

    python examples/demo.py [--json]

Two real guests boot, a network device comes, changes and goes, the guests power off; meanwhile one
reader prints every event, in one order. On asyncio, then on trio. Each guest is a boot sector of 512
bytes (``aiovirt.testing.tinyguest``).

The network device is made in a network namespace of the demo's own, by unshare(1); where there is none
to be had, the guests alone are shown. With ``--json`` events are all that is printed, one a line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, TaskStatus
from msgspec import Struct
from msgspec.structs import replace

import aiovirt
from aiovirt import Chardev, DomainState, Serial, VirtType
from aiovirt.events import DomainQMP, Event, NetdevAdded, NetdevChanged, NetdevEvent, NetdevRemoved, NetdevRenamed, encode
from aiovirt.testing.tinyguest import UP, image, tiny_guest

Say = Callable[[str], None]

GUESTS: Final = ("web", "db")
PATIENCE: Final = 30.0
NIC, PEER, RENAMED = "demo0", "demo1", "lan0"


class Step(Struct, frozen=True):
    """What is done, by ip(8), and by which event it is known to have happened."""

    words: str
    kind: type[NetdevEvent]
    seen: Callable[[Any], bool]
    commands: tuple[str, ...]


STEPS: Final = (
    Step("a network device is plugged in", NetdevAdded, lambda event: event.device.name == NIC, (f"add {NIC} type veth peer name {PEER}",)),
    Step(f"it is renamed to {RENAMED}", NetdevRenamed, lambda event: event.new.name == RENAMED, (f"set {NIC} name {RENAMED}",)),
    Step("it gets another MAC", NetdevChanged, lambda event: "mac" in event.changes, (f"set {RENAMED} address 52:54:00:de:40:01",)),
    Step("and another MTU", NetdevChanged, lambda event: "mtu" in event.changes, (f"set {RENAMED} mtu 9000",)),
    Step(
        "both ends go up: it has a carrier",
        NetdevChanged,
        lambda event: event.new.name == RENAMED and event.new.carrier,
        (f"set {RENAMED} up", f"set {PEER} up"),
    ),
    Step(
        "its peer goes down: the carrier is lost",
        NetdevChanged,
        lambda event: event.new.name == RENAMED and not event.new.carrier,
        (f"set {PEER} down",),
    ),
    Step("it is unplugged", NetdevRemoved, lambda event: event.device.name == RENAMED, (f"del {RENAMED}",)),
)


class Reader:
    """The one reader: counts every event, and prints all but QEMU's raw ones; with ``json`` these, too."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._sequence: list[int] = []
        self._kinds: Counter[str] = Counter()
        self._cursor = ""
        self._more = anyio.Event()

    async def read(self, host: aiovirt.Host, *, task_status: TaskStatus[None]) -> None:
        async with host.events.subscribe() as events:
            task_status.started()
            async for event in events:
                self._take(event)

    def _take(self, event: Event) -> None:
        if self._json:
            print(encode(event).decode(), flush=True)
        elif not isinstance(event, DomainQMP):
            print(event, flush=True)
        _, what, _ = event.describe()
        self._kinds[f"netdev {what}" if isinstance(event, NetdevEvent) else what] += 1
        self._sequence.append(int(event.cursor.partition(":")[2]))
        self._cursor = event.cursor
        self._more.set()
        self._more = anyio.Event()

    async def read_up_to(self, cursor: str) -> None:
        """Returns when all up to ``cursor`` is printed."""
        while self._cursor < cursor:
            await self._more.wait()

    def sum_up(self, say: Say) -> int:
        """The last line; returns the exit status."""
        first, last = self._sequence[0], self._sequence[-1]
        contiguous = self._sequence == list(range(first, last + 1))
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(self._kinds.items()))
        order = "contiguous, nothing missing" if contiguous else "NOT CONTIGUOUS"
        say(f"{len(self._sequence)} events: {counts}. Sequence {first} to {last}: {order}.")
        return 0 if contiguous else 1


async def show(folder: Path, *, json: bool, devices: bool) -> int:
    """The demo, once, in ``folder``; returns the exit status."""
    say = partial(heading, json=json)
    async with aiovirt.connect(f"qemu:///embed?root={folder}") as host:
        say(f"-- network devices here: {', '.join(device.name for device in host.devices.netdevs())}")
        say("-- two guests boot")
        reader = Reader(json=json)
        async with anyio.create_task_group() as tasks:
            await tasks.start(reader.read, host)
            with anyio.fail_after(PATIENCE):
                await run_guests(host, folder, say, partial(plug, host, say, reader) if devices else None)
            await reader.read_up_to(host.events.cursor)
            tasks.cancel_scope.cancel()
    return reader.sum_up(say)


async def run_guests(host: aiovirt.Host, folder: Path, say: Say, meanwhile: Callable[[], Awaitable[None]] | None) -> None:
    """Returns when all guests have booted, ``meanwhile`` is done, and they have powered off."""
    async with anyio.create_task_group() as guests:
        async with anyio.create_task_group() as booting:
            for name in GUESTS:
                booting.start_soon(guests.start, partial(run_guest, host, folder, name, say))
        if meanwhile is not None:
            await meanwhile()
        say("-- the guests' power buttons are pressed")
        for name in GUESTS:
            await host.domain(name).shutdown()


async def run_guest(host: aiovirt.Host, folder: Path, name: str, say: Say, *, task_status: TaskStatus[None]) -> None:
    """One guest's life; started once it has said on its serial port that it is up."""
    disk, serial = folder / f"{name}.img", folder / f"{name}.com1"
    await anyio.Path(disk).write_bytes(image())
    port = Serial(type=Chardev.UNIX, path=str(serial), listen=False)
    spec = replace(tiny_guest(str(disk), name=name, serial=port), type=VirtType.QEMU)
    async with await anyio.create_unix_listener(serial) as com1, anyio.create_task_group() as tasks:
        up = anyio.Event()
        tasks.start_soon(com1.serve, partial(listen, up))
        async with host.run(spec) as domain:
            await up.wait()
            say(f"-- {name} says on its serial port: {UP.decode()}")
            task_status.started()
            await domain.wait_for_state(DomainState.SHUTOFF)
        tasks.cancel_scope.cancel()


async def listen(up: anyio.Event, stream: ByteReceiveStream) -> None:
    """A guest's serial line: sets ``up`` when it has said so, and reads on."""
    said = b""
    async with stream:
        async for part in stream:
            said = (said + part)[-200:]
            if UP in said:
                up.set()


async def plug(host: aiovirt.Host, say: Say, reader: Reader) -> None:
    """A veth pair comes, changes and goes; each step is seen and printed before the next is taken."""
    for step in STEPS:
        say(f"-- {step.words}")
        async with host.events.expect(step.kind, where=step.seen) as seen:
            for command in step.commands:
                await anyio.run_process(["ip", "link", *command.split()])
        await reader.read_up_to(seen.value.cursor)


def heading(words: str, *, json: bool) -> None:
    """A line between the events, for people."""
    if not json:
        print(words, flush=True)


def on_both(*, json: bool, devices: bool) -> int:
    """The demo on asyncio, then on trio; returns the exit status."""
    for backend in ("asyncio", "trio"):
        heading(f"== on {backend} ==", json=json)
        with tempfile.TemporaryDirectory(prefix="aiovirt-demo-") as folder:
            status = anyio.run(partial(show, Path(folder), json=json, devices=devices), backend=backend)
        if status:
            return status
    return 0


def unshare(*command: str) -> list[str]:
    """``command`` in namespaces of its own; no root is needed where the system lets users have these."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--", *command]


def why_no_namespace() -> str | None:
    """None where namespaces can be had here, else the system's words."""
    try:
        tried = subprocess.run(unshare("true"), capture_output=True, text=True, check=False)  # noqa: S603, TID251 - no loop runs
    except OSError as error:
        return f"unshare: {error.strerror}"
    return tried.stderr.strip() or "refused" if tried.returncode else None


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="two real guests and a network device on one stream of events")
    parser.add_argument("--json", action="store_true", help="print events only, one JSON object a line")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if sys.platform != "linux" or shutil.which("qemu-system-x86_64") is None:
        sys.exit("error: the demo needs Linux and QEMU (on Debian: apt-get install qemu-system-x86)")
    if args.inside:
        subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)  # noqa: S607, TID251 - no loop runs
        return on_both(json=args.json, devices=True)
    if (why := why_no_namespace()) is None:
        again = unshare(sys.executable, *sys.argv, "--inside")
        return subprocess.run(again, check=False).returncode  # noqa: S603, TID251 - no loop runs
    heading(f"No network namespace here ({why}): the guests are shown, the network device is not.", json=args.json)
    return on_both(json=args.json, devices=False)


if __name__ == "__main__":
    sys.exit(main())
