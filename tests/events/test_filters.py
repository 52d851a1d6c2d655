"""What a reader can ask for, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from aiovirt.errors import InvalidArgument
from aiovirt.events import DomainEvent, DomainLifecycle, Event, NetdevEvent
from aiovirt.events.filters import make_filter
from aiovirt.events.registry import event_families, event_types
from tests.events import samples

WEB = "domain/6b3f1b5e-6b5c-4a3c-9b5e-0d7c3f1b5e6b"


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


@pytest.mark.parametrize(
    ("types", "subject"),
    [
        ((NetdevEvent,), WEB),
        (("netdev.changed",), WEB),
        (("netdev", "host"), "domain/"),
        ((DomainLifecycle,), "netdev/"),
        ((DomainEvent,), "host"),
        (("domain",), "pool/x"),
        (("device",), "host"),
        (("device.bound",), WEB),
        (("pci",), "usb/1-1"),
        (("host.started",), "pci/0000:3b:00.0"),
    ],
)
def test_types_and_a_subject_that_never_meet_are_refused(types: tuple[type[Event] | str, ...], subject: str) -> None:
    with pytest.raises(InvalidArgument, match="no event of these types is ever about") as refused:
        make_filter(types, subject)
    assert repr(subject) in str(refused.value)


@pytest.mark.parametrize("subject", ["domain/web", "domain/6B3F", WEB.upper().replace("DOMAIN", "domain"), f"{WEB}/", "domain//"])
def test_what_no_domain_has_as_its_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidArgument, match="'domain/<uuid>'"):
        make_filter((), subject)


@given(samples.any_event)
def test_what_can_be_is_never_refused(event: Event) -> None:
    """By its type, each of its families, and beside a type that is never about that; for its subject, and the prefix of it."""
    subject = event.subject
    prefix = f"{subject.partition('/')[0]}/" if "/" in subject else subject
    for wanted in (subject, prefix):
        for kind in type(event).__mro__:
            if issubclass(kind, Event):
                assert make_filter((kind,), wanted).matches(event)
                assert make_filter((kind, NetdevEvent, "host"), wanted).matches(event)
        assert make_filter((), wanted).matches(event)
