"""An engine that is used hard for a long time holds no more at the end than after its first minutes.

    python -m tests.soak.run [BACKEND]

Within a sandbox of tests.lab, for AIOVIRT_SOAK_SECONDS, half an hour unless given: 20 guests that come and go, one whose
events never end, 200 attached clients that come and go, one that does not read, and a link that flaps. Now and then all of
it pauses. What the engine holds then (descriptors, tasks, threads) may not grow from the first third of the pauses after the
warm-up to the last, and its memory by no more than 5 %. The plot is build/soak.svg, of all that was measured in between.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
from anyio import to_thread
from msgspec import Struct

from aiovirt import Host
from aiovirt.errors import OperationInvalid
from tests.lab import sandbox
from tests.real.conftest import Place
from tests.soak.plot import svg
from tests.support.shortage_scenario import Starved
from tests.support.starved import Do

__all__ = ["main"]

GUESTS: Final = 20
CLIENTS: Final = 200
ROUND: Final = 20.0
"""Seconds between two pauses."""
WARM_UP: Final = 0.25
"""The part of the time after which nothing grows any more."""
GROWTH: Final = 1.05
PACE: Final = (0.5, 4.0)
"""Seconds between two orders to one guest, at least and at most."""


class Sample(Struct):
    """What the engine holds."""

    second: float
    descriptors: int
    tasks: int
    threads: int
    rss: int
    """KiB."""


class Soak:
    """One run of it."""

    def __init__(self, place: Place, engine: Starved, host: Host) -> None:
        self._place = place
        self._engine = engine
        self._host = host
        self._began = time.monotonic()
        self._asked = anyio.Lock()
        self.samples: list[Sample] = []
        self.paused: list[Sample] = []
        self.orders = 0

    async def run(self, seconds: float) -> None:
        """For so long, in rounds."""
        print("| pause at s | orders | events | descriptors | tasks | threads | KiB |\n|---|---|---|---|---|---|---|", flush=True)
        loud = await self._host.create(self._place.spec("loud"))
        for number in range(GUESTS):
            await self._host.define(self._place.spec(f"g{number}"))
        async with self._crowd() as crowd, self._reads_not():
            while time.monotonic() - self._began < seconds:
                with anyio.move_on_after(ROUND):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._make_noise, loud.name)
                        tasks.start_soon(self._flap)
                        tasks.start_soon(self._watch)
                        for number in range(GUESTS):
                            tasks.start_soon(self._churn, f"g{number}")
                await self._pause(crowd)
        await loud.destroy()

    async def _pause(self, crowd: anyio.abc.Process) -> None:
        """All go; what is left is what the engine holds."""
        await _tell(crowd)
        for domain in self._host.domains(active=True):
            if domain.name != "loud":
                await domain.destroy()
        await anyio.sleep(2)  # the last ends of what went come in their own time
        sample = await self._sample()
        self.paused.append(sample)
        events = self._host.events.cursor.partition(":")[2].lstrip("0")
        held = f"{sample.descriptors} | {sample.tasks} | {sample.threads} | {sample.rss:,}"
        print(f"| {sample.second:.0f} | {self.orders} | {events} | {held} |", flush=True)
        await _tell(crowd)

    async def _churn(self, name: str) -> None:
        dice, domain = random.Random(f"{name} {len(self.paused)}"), self._host.domain(name)  # noqa: S311 - a pace
        while True:
            await anyio.sleep(dice.uniform(*PACE))
            order = dice.choice((domain.start, domain.destroy, domain.suspend, domain.resume, domain.reset))
            try:
                await order(timeout=30)
            except OperationInvalid:
                continue  # it is not what it is for just now
            self.orders += 1

    async def _make_noise(self, name: str) -> None:
        loud = self._host.domain(name)
        while True:
            await loud.qmp("stop", timeout=30)
            await loud.qmp("cont", timeout=30)

    async def _flap(self) -> None:
        while True:
            for state in ("down", "up"):
                await to_thread.run_sync(partial(subprocess.run, ["ip", "link", "set", "flaps", state], check=True))
                await anyio.sleep(0.1)

    async def _watch(self) -> None:
        while True:
            self.samples.append(await self._sample())
            await anyio.sleep(1)

    async def _sample(self) -> Sample:
        with anyio.CancelScope(shield=True):  # half an answer would be taken for the next one
            async with self._asked:
                told = await self._engine.do(Do())
        status = Path(f"/proc/{self._engine.pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        second = time.monotonic() - self._began
        return Sample(second, sum(told.descriptors.values()), sum(told.tasks.values()), told.threads, rss)

    @asynccontextmanager
    async def _crowd(self) -> AsyncIterator[anyio.abc.Process]:
        socket = next((self._place.folder / "engine/runtime").glob("*.sock*"))
        command = [sys.executable, "-m", "tests.soak.crowd", str(socket), str(CLIENTS)]
        async with await anyio.open_process(command, stderr=None) as process:
            yield process
            process.terminate()

    @asynccontextmanager
    async def _reads_not(self) -> AsyncIterator[None]:
        """A client that is stopped once it is attached."""
        command = [sys.executable, "-m", "aiovirt", "-c", self._host.uri, "watch"]
        folders = {f"AIOVIRT_{kind.upper()}_DIR": str(self._place.folder / "engine" / kind) for kind in ("config", "state", "runtime")}
        async with await anyio.open_process(command, stdout=subprocess.PIPE, stderr=None, env=os.environ | folders) as process:
            assert process.stdout
            await process.stdout.receive()
            process.send_signal(signal.SIGSTOP)
            yield
            process.kill()

    def complaints(self, seconds: float) -> list[str]:
        """What grew."""
        after = [sample for sample in self.paused if sample.second >= seconds * WARM_UP]
        part = max(len(after) // 3, 1)
        first, last = after[:part], after[-part:]
        wrong = []
        for name in ("descriptors", "tasks", "threads", "rss"):
            most, least = max(getattr(one, name) for one in first), min(getattr(one, name) for one in last)
            if least > most * (GROWTH if name == "rss" else 1):
                wrong.append(f"{name}: at most {most:,} from {first[0].second:.0f} s on, at least {least:,} from {last[0].second:.0f} s on")
        return wrong


async def _tell(crowd: anyio.abc.Process) -> None:
    assert crowd.stdin
    assert crowd.stdout
    with anyio.fail_after(60):
        await crowd.stdin.send(b"\n")
        await crowd.stdout.receive()


async def soak(backend: str, seconds: float) -> int:
    """The status."""
    subprocess.run(["ip", "link", "add", "flaps", "type", "bridge"], check=True)
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        place = Place(Path(folder))
        async with Starved.begin(place, backend, Do(), "plain") as engine, place.attach() as host:
            run = Soak(place, engine, host)
            await run.run(seconds)
    every = sorted([*run.samples, *run.paused], key=lambda sample: sample.second)
    names = {"descriptors": "descriptors", "tasks": "tasks", "threads": "threads", "rss": "memory (KiB)"}
    lines = {title: [float(getattr(sample, name)) for sample in every] for name, title in names.items()}
    plot = Path("build/soak.svg")
    plot.parent.mkdir(exist_ok=True)
    plot.write_text(svg([sample.second for sample in every], lines, [sample.second for sample in run.paused]))
    print(f"{run.orders} orders to {GUESTS} guests; the plot is {plot}")
    wrong = run.complaints(seconds)
    print("\n".join(wrong) or "nothing grew")
    return bool(wrong)


def main() -> int:
    """The command line described above."""
    sandbox.require()
    return anyio.run(soak, sys.argv[1] if len(sys.argv) > 1 else "asyncio", float(os.environ.get("AIOVIRT_SOAK_SECONDS", "1800")))


if __name__ == "__main__":
    sys.exit(main())
