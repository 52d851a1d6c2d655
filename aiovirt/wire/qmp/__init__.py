"""QMP, QEMU's machine protocol, sans-IO (qemu docs: interop/qmp-spec)."""

from __future__ import annotations

from aiovirt.wire.qmp.messages import Breach, Failure, Greeting, Message, QMPEvent, Reply, TooLong
from aiovirt.wire.qmp.protocol import Phase, QMPProtocol

__all__ = ["Breach", "Failure", "Greeting", "Message", "Phase", "QMPEvent", "QMPProtocol", "Reply", "TooLong"]
