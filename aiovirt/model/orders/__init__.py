"""What can be asked of an engine, as values: they look the same to one in this process and to one over a socket.

A request carries its deadline in seconds and answers with its type parameter. Orders change a
domain and are journaled as the ``cause`` of what they lead to; questions change nothing. Each is declared
once, in the file of its family, with all that holds for it (:mod:`aiovirt.model.orders.rule`).

Only the fields that differ from their defaults are sent, and an engine refuses a field that it does not know: a client may
be newer than its engine, and nothing that it asks for is left out in silence.

An order stands in the ``__all__`` of its family's file, and nothing here lists it again.
"""

from __future__ import annotations

from aiovirt.model.orders.definition import *
from aiovirt.model.orders.devices import *
from aiovirt.model.orders.host import *
from aiovirt.model.orders.life import *
from aiovirt.model.orders.monitor import *
from aiovirt.model.orders.rule import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
from aiovirt.model.orders.rule import REQUESTS as REQUESTS
from aiovirt.model.orders.rule import DomainOrder as DomainOrder
from aiovirt.model.orders.rule import Request as Request
from aiovirt.model.orders.rule import Rule as Rule
from aiovirt.model.orders.rule import Turn as Turn
