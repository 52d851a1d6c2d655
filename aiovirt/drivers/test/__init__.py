"""``test:///default``: a hypervisor in memory. No root, no QEMU, no Linux; the same states, events and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiovirt.drivers.scheme import LocalScheme, Machine, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiovirt.drivers.test.devices import TestDevices
    from aiovirt.drivers.test.driver import TestDriver
    from aiovirt.events.event import Event
    from aiovirt.model.node import Hypervisor
    from aiovirt.model.spec import DomainSpec

__all__ = ["SCHEME"]


async def _driver(around: Surroundings) -> TestDriver:
    from aiovirt.drivers.test.driver import TestDriver

    return TestDriver(around.sink)


def _devices(publish: Callable[[Event], object]) -> TestDevices:
    from aiovirt.drivers.test.devices import TestDevices

    return TestDevices(publish)


def _first() -> DomainSpec:
    from aiovirt.drivers.test.driver import first_domain

    return first_domain()


def _machine() -> Machine:
    from aiovirt.drivers.test.node import CPU_STATS, INFO

    return Machine(INFO, CPU_STATS)


def _hypervisor() -> Hypervisor:
    from aiovirt.drivers.test.node import HYPERVISOR

    return HYPERVISOR


SCHEME: Final = LocalScheme(paths=("/default",), driver=_driver, hypervisor=_hypervisor, devices=_devices, first=_first, machine=_machine)
