"""Every event that the stream can carry: typed, frozen, numbered. They are all had from here.

A class of an event stands in the ``__all__`` of its module, and nothing here lists it again.
"""

from __future__ import annotations

from typing import TypeVar

from aiovirt.events.event import Event as Event
from aiovirt.events.of_devices import *
from aiovirt.events.of_domains import *
from aiovirt.events.of_host import *
from aiovirt.events.unknown import UnknownEvent as UnknownEvent

E_co = TypeVar("E_co", bound=Event, covariant=True)
