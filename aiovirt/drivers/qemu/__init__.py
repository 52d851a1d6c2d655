"""Guests of QEMU, started by us as processes of this machine. What is registered of it stands here; the rest is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiovirt.drivers.scheme import LocalScheme, Surroundings

if TYPE_CHECKING:
    from aiovirt.drivers.qemu.driver import QemuDriver
    from aiovirt.model.node import Hypervisor

__all__ = ["SCHEME"]


async def _driver(around: Surroundings) -> QemuDriver:
    from aiovirt.drivers.qemu.driver import QemuDriver

    folders = around.folders
    assert folders is not None
    driver = QemuDriver(around.sink, around.tasks, run_dir=folders.run, log_dir=folders.logs, lock_dir=folders.locks)
    await driver.open()
    around.tasks.start_soon(driver.bound_logs)
    around.tasks.start_soon(driver.watch_monitors)
    return driver


def _hypervisor() -> Hypervisor:
    from aiovirt.drivers.qemu.emulator import hypervisor

    return hypervisor()


SCHEME: Final = LocalScheme(paths=("/session", "/system", "/embed"), driver=_driver, hypervisor=_hypervisor, keeps=True)
