"""From a DomainSpec to QEMU's argv. Pure; every value is quoted for the option it goes into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from aiovirt.drivers.qemu import clock, cpu, devices
from aiovirt.drivers.qemu.devices.placement import is_i440fx, is_q35, is_x86
from aiovirt.drivers.qemu.emulator import Emulator
from aiovirt.drivers.qemu.words import with_commas
from aiovirt.errors import ConfigUnsupported, Place
from aiovirt.model.spec import Action, DomainSpec, VirtType
from aiovirt.model.units import KiB

__all__ = ["MONITOR", "check", "command_line"]

MONITOR: Final = "monitor"
"""The id that QEMU knows the chardev of our session by."""

_ACCELERATOR: Final = {VirtType.KVM: "kvm", VirtType.QEMU: "tcg"}
_SANDBOX: Final = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def check(spec: DomainSpec) -> None:
    """Raises ConfigUnsupported, with all places of it, for what this driver cannot give."""
    places = [Place(path, None, why) for path, why in (*_check_domain(spec), *devices.check(spec))]
    if places:
        raise ConfigUnsupported.of(places)


def _check_domain(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    if spec.type not in _ACCELERATOR:
        yield "/domain/@type", f"a domain of type {str(spec.type)!r} is not run by QEMU"
    if spec.on_reboot is Action.PRESERVE:
        yield "/domain/on_reboot", "on_reboot 'preserve' is not possible with QEMU"
    if spec.on_poweroff is Action.RESTART and spec.on_reboot is Action.DESTROY:
        yield "/domain/on_poweroff", "on_poweroff 'restart' is not possible with on_reboot 'destroy': a restart is a reboot"
    if spec.current_memory is not None:
        yield "/domain/currentMemory", f"{spec.current_memory // KiB} KiB differs from the memory of {spec.memory // KiB} KiB"
    yield from _check_features(spec)
    if spec.pm is not None and not (is_q35(spec) or is_i440fx(spec)):
        yield "/domain/pm", f"of a machine {spec.os.machine!r:.80} of {spec.os.arch}"
    yield from cpu.check(spec)
    yield from clock.check(spec, is_x86=is_x86(spec))


def _check_features(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    """Every PC has an APIC and PAE; of another machine nothing is taken for granted."""
    for feature, is_asked in (("apic", spec.apic), ("pae", spec.pae)):
        if is_asked and not is_x86(spec):
            yield f"/domain/features/{feature}", f"a machine of {spec.os.arch} may have none"


def command_line(spec: DomainSpec, uuid: UUID, *, emulator: Emulator, monitor_fd: int, now: float) -> list[str]:
    """The argv that runs ``spec``: stopped until told to go, and still there after the guest powers off.

    ``monitor_fd`` is a listening unix socket that QEMU inherits; ``now`` is the host's time, in seconds since 1970.
    """
    base = (*_base(spec, uuid, emulator), *clock.arguments(spec, now), *_sleep(spec))
    return [emulator.path, *base, *_monitor(monitor_fd), *_boot(spec), *devices.arguments(spec)]


def _base(spec: DomainSpec, uuid: UUID, emulator: Emulator) -> Iterator[str]:
    kind = spec.type or VirtType.QEMU
    machine = f"{with_commas(spec.os.machine)},accel={_ACCELERATOR[kind]}" + ("" if spec.acpi else ",acpi=off") + clock.of_machine(spec)
    threads = "" if emulator.names_its_threads else ",debug-threads=on"
    yield from ("-name", f"guest={with_commas(spec.name)}{threads}")
    yield from ("-uuid", str(uuid))
    yield from ("-S", "-no-shutdown", "-no-user-config", "-nodefaults")
    yield from ("-display", "none", "-msg", "timestamp=on", "-sandbox", _SANDBOX)
    yield from ("-machine", machine)
    yield from ("-m", f"size={-(-spec.memory // KiB)}k")
    yield from cpu.arguments(spec)
    if spec.on_reboot is Action.DESTROY:
        yield "-no-reboot"


def _sleep(spec: DomainSpec) -> Iterator[str]:
    """Which of ACPI's states of sleep it has: a property of the chip that a PC has for its power management."""
    chip = "ICH9-LPC" if is_q35(spec) else "PIIX4_PM"
    states = (("s3", spec.pm.suspend_to_mem), ("s4", spec.pm.suspend_to_disk)) if spec.pm else ()
    for state, is_enabled in states:
        if is_enabled is not None:
            yield from ("-global", f"{chip}.disable_{state}={0 if is_enabled else 1}")


def _monitor(fd: int) -> Iterator[str]:
    yield from ("-chardev", f"socket,id={MONITOR},fd={fd},server=on,wait=off")
    yield from ("-qmp", f"chardev:{MONITOR}")  # which 11.1 takes as 7.2 does; it calls -mon deprecated


def _boot(spec: DomainSpec) -> Iterator[str]:
    yield from ("-boot", "menu=off,strict=on")
    if spec.os.kernel is not None:
        yield from ("-kernel", spec.os.kernel)
    if spec.os.initrd is not None:
        yield from ("-initrd", spec.os.initrd)
    if spec.os.cmdline is not None:
        yield from ("-append", spec.os.cmdline)
