"""QEMU's own errors as ours. They are qemu.qmp's types too, so ``except ExecuteError`` keeps working.

qemu.qmp is imported when the first such error is raised, and not before.
"""

from __future__ import annotations

import functools

from aiovirt.errors import CommandFailed

__all__ = ["command_failed"]


def command_failed(command: str, error_class: str, description: str) -> CommandFailed:
    """The error to raise when QEMU answered ``command`` with one."""
    return _both()(command, error_class, description)


@functools.cache
def _both() -> type[CommandFailed]:
    from qemu.qmp import Message
    from qemu.qmp.models import ErrorResponse
    from qemu.qmp.qmp_client import ExecuteError

    class QMPCommandFailed(CommandFailed, ExecuteError):
        """A QMP command that QEMU refused."""

        error_class = ""  # pyright: ignore[reportIncompatibleMethodOverride] - a plain attribute again: qemu.qmp has a read-only property of that name

        def __init__(self, command: str, error_class: str, description: str) -> None:
            CommandFailed.__init__(self, command, error_class, description)
            answer = Message({"error": {"class": error_class, "desc": description}})
            self.sent = Message({"execute": command})
            self.received = answer
            self.error = ErrorResponse(answer)

        def __str__(self) -> str:
            return self.message

    return QMPCommandFailed
