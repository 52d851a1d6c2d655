"""What every event can do, each of them."""

from __future__ import annotations

import pytest
from hypothesis import given

from aiovirt import events
from aiovirt.events import DeviceEvent, DomainEvent, Event, HostEvent, NetdevEvent, NetdevLeft, NetdevRemoved, PCIEvent
from aiovirt.events.registry import event_types
from tests.events.samples import any_event

FAMILIES = {"domain": DomainEvent, "device": DeviceEvent, "netdev": NetdevEvent, "pci": PCIEvent, "host": HostEvent}
TYPES = event_types()


@given(any_event)
def test_it_matches_its_class_with_its_fields(event: Event) -> None:
    match event:
        case DomainEvent(uuid=uuid, name=name):
            assert (event.subject, name) == (f"domain/{uuid}", event.name)
        case NetdevRemoved(device=device) | NetdevLeft(device=device):
            assert event.subject == device.subject
        case NetdevEvent(device=device):
            assert event.subject == f"netdev/{device.id}"
        case DeviceEvent(device=device):
            assert event.subject == device.subject
        case HostEvent(cursor=cursor):
            assert (event.subject, cursor) == ("host", event.cursor)
        case _:
            pytest.fail(f"{event!r} is of no family")


@given(any_event)
def test_its_line_is_one_line(event: Event) -> None:
    assert str(event).isprintable()
    assert str(event).startswith(str(event)[:12] + "  ")


@pytest.mark.parametrize("topic", TYPES)
def test_its_topic_begins_with_its_family(topic: str) -> None:
    kind = TYPES[topic]
    assert kind.trigger or kind.libvirt
    assert issubclass(kind, FAMILIES[topic.partition(".")[0]])


@pytest.mark.parametrize("topic", TYPES)
def test_it_is_had_from_the_front_door(topic: str) -> None:
    assert getattr(events, TYPES[topic].__name__) is TYPES[topic]
    assert TYPES[topic].__name__ in events.__all__


@given(any_event)
def test_it_never_changes(event: Event) -> None:
    assert event.weight() > 0
    assert hash(event.key()) == hash(event.key())
    with pytest.raises(AttributeError):
        setattr(event, "cursor", "another")  # noqa: B010 - as one would with a value that can change
