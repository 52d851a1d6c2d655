"""What a reader can ask for, and what is refused."""

from __future__ import annotations

import pytest

from aiovirt.errors import InvalidArgument
from aiovirt.events import DomainEvent, DomainLifecycle, Event, NetdevEvent
from aiovirt.events.codec import event_families, event_types
from aiovirt.events.filters import make_filter


@pytest.mark.parametrize(("topic", "kind"), event_types().items())
def test_a_topic_stands_for_its_class(topic: str, kind: type[Event]) -> None:
    assert make_filter((topic,), None) == make_filter((kind,), None)


@pytest.mark.parametrize(("name", "kind"), event_families().items())
def test_a_family_stands_for_its_classes(name: str, kind: type[Event]) -> None:
    assert make_filter((name,), None) == make_filter((kind,), None)
    assert len(make_filter((name,), None).kinds) > 1


def test_text_and_types_go_together() -> None:
    assert make_filter(("domain.lifecycle", NetdevEvent, DomainLifecycle), None) == make_filter((DomainLifecycle, NetdevEvent), None)
    assert make_filter((), None).types == (Event,)
    assert make_filter(("domain",), None).types == (DomainEvent,)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("domain.livecycle", "did you mean 'domain.lifecycle'?"),
        ("lifecycle", "did you mean 'domain.lifecycle'?"),
        ("Netdev", "did you mean 'netdev'?"),
        ("netdev.", "did you mean 'netdev'?"),
        ("", "there are device, "),
        ("x" * 10_000, "there are device, "),
    ],
)
def test_an_unknown_topic_matches_nothing_silently_never(text: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        make_filter((text,), None)
    assert hint in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("kind", [5, None, object, [DomainLifecycle], DomainLifecycle.describe])
def test_what_is_no_type_is_refused(kind: object) -> None:
    with pytest.raises(InvalidArgument, match="not a type of event"):
        make_filter((kind,), None)  # type: ignore[arg-type]
