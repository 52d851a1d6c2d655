"""What can be asked of an engine, as values: they look the same to one in this process and to one over a socket.

A request carries its deadline in seconds and answers with its type parameter. Orders change a
domain and are journaled as the ``cause`` of what they lead to; questions change nothing. Each is declared
once, in the file of its family, with all that holds for it (:mod:`aiovirt.model.orders.rule`).

Only the fields that differ from their defaults are sent, and an engine refuses a field that it does not know: a client may
be newer than its engine, and nothing that it asks for is left out in silence.
"""

from __future__ import annotations

from aiovirt.model.orders.definition import AskAutostart, AskXML, Define, SetAutostart, Undefine
from aiovirt.model.orders.devices import AskDetails, Enumerate, ReadPhysPortId, Refresh
from aiovirt.model.orders.life import Create, Destroy, Reboot, Reset, Resume, Shutdown, Start, Suspend
from aiovirt.model.orders.monitor import AskLog, AskQMP
from aiovirt.model.orders.rule import DEFAULT_TIMEOUT, REQUESTS, DomainOrder, Request, Rule, Turn

__all__ = [
    "DEFAULT_TIMEOUT",
    "REQUESTS",
    "AskAutostart",
    "AskDetails",
    "AskLog",
    "AskQMP",
    "AskXML",
    "Create",
    "Define",
    "Destroy",
    "DomainOrder",
    "Enumerate",
    "ReadPhysPortId",
    "Reboot",
    "Refresh",
    "Request",
    "Reset",
    "Resume",
    "Rule",
    "SetAutostart",
    "Shutdown",
    "Start",
    "Suspend",
    "Turn",
    "Undefine",
]
