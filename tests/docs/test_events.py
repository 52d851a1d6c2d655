"""docs/events.md is what its generator makes of the events as they are now."""

from __future__ import annotations

import builtins
import enum
import os
import re
import time

import msgspec
import pytest

from aiovirt.events import Event, decode
from aiovirt.events.registry import event_families, event_types
from aiovirt.model.machine import Job
from docs import generate_events

TEXT = generate_events.FILE.read_text()


def section(topic: str) -> str:
    return TEXT.partition(f"\n### {topic}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def test_it_is_up_to_date() -> None:
    assert generate_events.render() == TEXT, "make docs"


def test_it_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    assert generate_events.render() == TEXT
    assert os.environ["TZ"] == "Asia/Kathmandu"
    assert time.localtime(0).tm_min == 30
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("topic", "kind"), event_types().items())
def test_every_event_is_there_with_all_it_has(topic: str, kind: type[Event]) -> None:
    text = section(topic)
    assert f"`aiovirt.events.{kind.__name__}`" in text
    assert kind.trigger in text
    assert kind.libvirt in text
    for name in kind.__struct_encode_fields__:
        if name not in Event.__struct_fields__:
            assert f"\n| `{name}` | " in text


@pytest.mark.parametrize("topic", event_types())
def test_every_example_is_an_event(topic: str) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", section(topic), flags=re.DOTALL)
    (line,) = re.findall(r"```text\n(.*)\n```", section(topic))
    event = decode(shown)
    assert event.topic == topic
    assert str(event).partition("  ")[2] == line.partition("  ")[2]


def test_every_family_is_there() -> None:
    assert set(re.findall(r"^## (\w+)$", TEXT, flags=re.MULTILINE)) == {*event_families(), "Values"}


def test_every_link_leads_somewhere() -> None:
    targets = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", TEXT, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#(.*?)\)", TEXT)) <= targets
    for path in re.findall(r"\]\((\.\./.*?)\)", TEXT):
        assert generate_events.FILE.parent.joinpath(path).is_file()


def test_the_words_are_an_events_and_not_pythons() -> None:
    """What is shown of a type is what its author wrote of it, never what it has from Python or msgspec."""
    headings = re.findall(r"^### (.+)$", TEXT, flags=re.MULTILINE)
    assert {heading for heading in headings if not heading[0].isupper()} == set(event_types())
    assert [name for name in (*dir(builtins), "Struct") if name in headings] == []
    for python in (tuple, object, dict, msgspec.Struct, enum.Enum, enum.StrEnum, enum.IntFlag):
        assert (python.__doc__ or "-").strip().partition("\n")[0] not in TEXT, python
    assert generate_events._words(tuple[Job, ...] | None) == "list of [Job](#job) or None"
    assert generate_events._words(dict[str, object]) == "object"


def test_a_sample_of_no_event_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generate_events.SAMPLES, "host.sung", {})
    with pytest.raises(KeyError, match=r"host\.sung"):
        generate_events.render()


def test_what_a_docstring_says_of_a_field_is_its_meaning() -> None:
    class Pair(msgspec.Struct):
        """``left`` is one hand, ``right`` the other; ``both`` counts them: ``left`` first. And more.

        With ``none`` there is nothing.
        """

        left: int
        right: int | None
        both: list[int]
        none: int

    assert generate_events._meanings(Pair) == {"left": "one hand", "right": "the other", "both": "counts them: `left` first"}
    assert generate_events._words(int | str | None) == "integer, text or None"
