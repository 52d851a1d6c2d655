"""What a hypervisor reports of a guest, in words that are the same for all of them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Fact"]


class Fact(StrEnum):
    """What a hypervisor reports of a guest."""

    LAUNCHED = "it was started, and its vCPUs stay stopped"
    PAUSED = "its vCPUs stopped"
    STOPPED = "a command stopped its vCPUs"
    PRELAUNCH = "its vCPUs have not run since it was started or reset"
    MIGRATING = "its vCPUs stopped for a migration"
    SAVING = "its vCPUs stopped to save its state"
    RESTORING = "its vCPUs stopped to restore its state"
    RESUMED = "its vCPUs run"
    GUEST_POWEROFF = "the guest powered off"
    HOST_POWEROFF = "the host powered it off"
    RESET = "its machine was reset"
    WATCHDOG = "its watchdog stopped it"
    IO_ERROR = "an I/O error stopped it"
    PANICKED = "the guest panicked"
    PM_SUSPENDED = "suspended to memory"
    PM_SUSPENDED_DISK = "suspended to disk"
    WOKEN = "woke up"
    EXITED = "its process ended"
