"""The guest's PCI devices, as a test plugs them in and puts them back: QMP to its own QEMU, and sysfs.

What starts with ``async`` waits in a worker thread; the rest returns at once. Nothing here knows aiovirt.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio import to_thread

__all__ = ["IGB", "NETDEVS", "NVME", "PATIENCE", "PCI", "Qmp", "Topology", "ip", "labnic_port_id"]

PATIENCE: Final = 60
"""Seconds: the guest is some ten times slower than its host."""

QMP_PORT: Final = Path("/dev/virtio-ports/lab.qmp")
NETDEVS: Final = Path("/sys/class/net")
PCI: Final = Path("/sys/bus/pci/devices")
DRIVERS: Final = Path("/sys/bus/pci/drivers")
PORTS: Final = Path("/sys/module/labnic/parameters/ports")

IGB: Final = 7
"""The root port with the NIC that has virtual functions, and its driver."""

NVME: Final = 8
"""The root port with a function that has virtual functions, and no driver."""

_FIRST_SLOT: Final = 7  # rp1's is the next

T = TypeVar("T")


def ip(*words: str, check: bool = True) -> None:
    """Carries out one command of ip-link and its like; with ``check`` raises when it fails."""
    subprocess.run(["ip", *words], check=check)


def labnic_port_id(function: str, port: int = 0) -> str:
    """The phys_port_id that labnic gives a port of a physical function."""
    domain, bus, device = function.split(":")
    slot, number = device.split(".")
    return bytes([2, *b"ln", int(domain, 16), int(bus, 16), int(slot, 16) << 3 | int(number), 0, port]).hex()


class Qmp:
    """A conversation with the guest's own QEMU."""

    def __init__(self) -> None:
        self._port = os.open(QMP_PORT, os.O_RDWR | os.O_CLOEXEC)
        self._heard = b""
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self._exchange("qmp_capabilities")  # an error where one before us did so

    def close(self) -> None:
        os.close(self._port)

    def command(self, name: str, **arguments: object) -> object:
        """What QEMU returns; raises RuntimeError with its words."""
        answer = self._exchange(name, **arguments)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']['desc']}")
        return answer["return"]

    def wait(self, event: str, **data: object) -> dict[str, Any]:
        """The first event with this name and these data that was not waited for before."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self._events if e["event"] == event and data.items() <= e.get("data", {}).items()), None)

        while (one := found()) is None:
            self._take()
        self._events.remove(one)
        return one

    def _exchange(self, name: str, **arguments: object) -> dict[str, Any]:
        number = f"{os.getpid()}.{next(self._numbers)}"
        os.write(self._port, json.dumps({"execute": name, "arguments": arguments, "id": number}).encode() + b"\n")
        while (message := self._take()) is None or message.get("id") != number:
            pass
        return message

    def _take(self) -> dict[str, Any] | None:
        """The next message, None for an event, which is kept."""
        while b"\n" not in self._heard:
            if not select.select([self._port], [], [], PATIENCE)[0]:
                raise TimeoutError("QEMU says nothing")
            self._heard += os.read(self._port, 65_536)
        line, _, self._heard = self._heard.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "event" not in message:
            return message
        self._events.append(message)
        return None


class Topology:
    """What there is to plug into, and all that was done to it."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp
        self._plugged: list[str] = []
        self._undo: list[Callable[[], object]] = []

    # -- hot-plug ------------------------------------------------------------------------------

    def function(self, port: int) -> str:
        """The address of the function that is, or will be, behind this root port (1 to 8)."""
        bus = int((PCI / f"0000:00:{_FIRST_SLOT + port:02x}.0" / "secondary_bus_number").read_text())
        return f"0000:{bus:02x}:00.0"

    async def plug(self, port: int, driver: str = "pci-testdev", **properties: object) -> str:
        """QEMU's ``device_add``, below a root port (1 to 6); the new function's address."""
        await to_thread.run_sync(partial(self._qmp.command, "device_add", driver=driver, id=f"in{port}", bus=f"rp{port}", **properties))
        self._plugged.append(f"in{port}")
        return self.function(port)

    async def unplug(self, port: int) -> None:
        """QEMU's ``device_del``; returns when the device is gone for QEMU too."""
        await to_thread.run_sync(self._unplug, f"in{port}")

    def _unplug(self, device: str) -> None:
        self._qmp.command("device_del", id=device)
        self._qmp.wait("DEVICE_DELETED", device=device)
        self._plugged.remove(device)

    # -- drivers -------------------------------------------------------------------------------

    async def unbind(self, function: str) -> None:
        """The driver lets go of it."""
        await self._set(PCI / function / "driver" / "unbind", function)

    async def bind(self, function: str, driver: str) -> None:
        """This driver takes it, which knows it by its number."""
        await self._set(DRIVERS / driver / "bind", function)

    async def override(self, function: str, driver: str) -> None:
        """This driver, and no other, takes it, which it need not know; until the test ends."""
        await to_thread.run_sync(self._override, function, driver)
        self._undo.append(partial(self._override, function, ""))

    async def reserve(self, function: str, driver: str) -> None:
        """No other driver than this one may take it once it is free; with "" any."""
        await self._set(PCI / function / "driver_override", driver or "\n")

    def _override(self, function: str, driver: str) -> None:
        """Without a driver's name: as it was before."""
        device = PCI / function
        if not device.exists():
            return
        if (device / "driver").exists():
            _write(device / "driver" / "unbind", function)
        _write(device / "driver_override", driver or "\n")
        if driver and not (DRIVERS / driver).exists():
            subprocess.run(["modprobe", driver], check=True)
        _write(Path("/sys/bus/pci/drivers_probe"), function)

    # -- SR-IOV --------------------------------------------------------------------------------

    async def make_vfs(self, function: str, number: int, *, probe: bool = True) -> list[str]:
        """So many virtual functions of it, their addresses; without ``probe`` no driver takes them."""
        device = PCI / function
        self._undo.append(partial(self._no_vfs, function))
        await self._set(device / "sriov_drivers_autoprobe", str(int(probe)))
        await self._set(device / "sriov_numvfs", str(number))
        return [(device / f"virtfn{n}").resolve().name for n in range(number)]

    async def no_vfs(self, function: str) -> None:
        """None of them any more."""
        await to_thread.run_sync(self._no_vfs, function)

    def _no_vfs(self, function: str) -> None:
        device = PCI / function
        if (device / "sriov_numvfs").read_text() != "0\n":
            _write(device / "sriov_numvfs", "0")
        _write(device / "sriov_drivers_autoprobe", "1")

    # -- labnic --------------------------------------------------------------------------------

    async def ports(self, number: int) -> None:
        """How many network devices labnic makes of a function that it takes from now on, until the test ends."""
        await to_thread.run_sync(partial(subprocess.run, ["modprobe", "labnic"], check=True))
        self._undo.append(partial(_write, PORTS, "1"))
        await self._set(PORTS, str(number))

    async def knob(self, netdev: str, name: str, value: object) -> None:
        """One of labnic's knobs: port_id, port_name, switch_id, carrier, err, delay_ms, notify."""
        await self._set(NETDEVS / netdev / "labnic" / name, f"{value}\n")

    # -- all of it -----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Returns when udev has done all that it will do about what happened so far."""
        await to_thread.run_sync(_settle)

    def restore(self) -> None:
        """Everything as at the start."""
        for device in list(self._plugged):
            self._unplug(device)
        while self._undo:
            self._undo.pop()()
        _settle()

    async def _set(self, file: Path, value: str) -> None:
        await to_thread.run_sync(_write, file, value)


def _write(file: Path, value: str) -> None:
    """With one write, whose error is raised."""
    handle = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def _settle() -> None:
    subprocess.run(["udevadm", "settle", "--timeout", str(PATIENCE)], check=True)
