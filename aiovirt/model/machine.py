"""What of a running domain's machine may change while it runs."""

from __future__ import annotations

from msgspec import Struct

from aiovirt.model.differences import differences

__all__ = ["Job", "Machine"]


class Job(Struct, frozen=True, gc=False):
    """A job that the hypervisor runs for this domain: a block job, or any other. Names and values are QAPI's (job.json).

    ``type`` is a JobType (``commit``, ``stream``, ``mirror``, ``backup``, …), ``status`` a JobStatus (``running``,
    ``ready``, ``concluded``, …), ``error`` why it failed, if it did.
    """

    id: str
    type: str
    status: str
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.id} ({self.type}, {self.status}{f': {self.error}' if self.error else ''})"


class Machine(Struct, frozen=True, kw_only=True, gc=False):
    """The machine of a running domain, as its hypervisor says it is.

    ``balloon`` is the memory that the guest has, in bytes, where it has a balloon device (``query-balloon``), else None;
    None, too, after a reset until the guest's driver says it again, whether an engine was there then or not.
    ``vcpus`` counts those that are plugged (``query-cpus-fast``), ``devices`` are the ids of those devices that have one
    (``/machine/peripheral``), by name, ``jobs`` those that are there (``query-jobs``), by id.
    """

    balloon: int | None = None
    vcpus: int = 1
    devices: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()

    def changes_to(self, new: Machine) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new) for each attribute in which ``new`` differs."""
        return differences(self, new)
