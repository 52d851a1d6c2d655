"""A session's troubles as our errors. They are qemu.qmp's types too, so ``except ExecuteError`` keeps working.

qemu.qmp is imported when the first such error is raised, and not before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from aiovirt.errors import CommandFailed, ConnectionLost, ProtocolError

__all__ = ["command_failed", "session_lost", "unexpected_reply"]


def command_failed(command: str, error_class: str, description: str) -> CommandFailed:
    """QEMU answered ``command`` with an error; also ``qemu.qmp.ExecuteError``."""
    return _command_failed()(command, error_class, description)


def session_lost(why: str) -> ConnectionLost:
    """The session ended before there was an answer; also ``qemu.qmp.ExecInterruptedError``."""
    return _session_lost()(f"the monitor: {why}")


def unexpected_reply(command: str, why: str) -> ProtocolError:
    """The reply to ``command`` is not of the type that was asked for; also ``qemu.qmp``'s BadReplyError."""
    return _unexpected_reply()(command, why)


@functools.cache
def _command_failed() -> Callable[[str, str, str], CommandFailed]:
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
            return CommandFailed.__str__(self)

    return QMPCommandFailed


@functools.cache
def _session_lost() -> Callable[[str], ConnectionLost]:
    from qemu.qmp.qmp_client import ExecInterruptedError

    class QMPSessionLost(ConnectionLost, ExecInterruptedError):
        """A QMP session that ended with commands under way."""

    return QMPSessionLost


@functools.cache
def _unexpected_reply() -> Callable[[str, str], ProtocolError]:
    from qemu.qmp import Message
    from qemu.qmp.qmp_client import BadReplyError

    class QMPUnexpectedReply(ProtocolError, BadReplyError):
        """A reply of another type."""

        def __init__(self, command: str, why: str) -> None:
            ProtocolError.__init__(self, why)
            self.error_message = why
            self.sent = Message({"execute": command})
            self.msg = Message({})

        def __str__(self) -> str:
            return ProtocolError.__str__(self)

    return QMPUnexpectedReply
