"""QMP, QEMU's machine protocol, sans-IO (qemu docs: interop/qmp-spec)."""

from __future__ import annotations

from aiovirt.wire.qmp.messages import Failure, Greeting, Message, QMPEvent, Reply
from aiovirt.wire.qmp.protocol import Phase, QMPProtocol

__all__ = ["Failure", "Greeting", "Message", "Phase", "QMPEvent", "QMPProtocol", "Reply"]
