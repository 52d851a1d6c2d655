"""The short form of fuzzing: the same inputs each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from aiovirt.wire.qmp import Breach, Message, QMPProtocol
from tests.fuzz import targets
from tests.fuzz.mutate import mutations
from tests.fuzz.run import NAMES
from tests.fuzz.targets import TARGETS, seeds

COUNTS = {"qmp": 500, "message": 8000, "rtnetlink": 8000, "uevent": 8000, "libvirtxml": 2000, "attach": 4000}


def test_each_target_is_run() -> None:
    assert tuple(TARGETS) == tuple(COUNTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_holds(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


def test_what_was_recorded_is_read() -> None:
    for data in seeds("qmp"):
        messages = QMPProtocol().receive(data)
        assert len(messages) == data.count(b"\n")
        assert not any(isinstance(message, Breach) for message in messages)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_of_it_holds(name: str) -> None:
    for data in itertools.islice(mutations(seeds(name), name), COUNTS[name]):
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(f"{name}: {data!r}")
            raise


class Forgetful(QMPProtocol):
    """Forgets what was left of the chunk before."""

    def receive(self, data: bytes) -> list[Message]:
        self._chunks.clear()
        self._size = 0
        return super().receive(data)


class Talkative(QMPProtocol):
    """Goes on after a breach."""

    def receive(self, data: bytes) -> list[Message]:
        said = super().receive(data)
        return said + said[-1:]


def chatty(_: object) -> Breach:
    return Breach("x" * 1000)


def careless(*_: object) -> object:
    raise ValueError


@pytest.mark.parametrize(
    ("name", "what", "broken"),
    [
        ("qmp", "QMPProtocol", Forgetful),
        ("qmp", "QMPProtocol", Talkative),
        ("message", "read_message", chatty),
        ("message", "decode_body", careless),
        ("message", "quoted", careless),
        ("libvirtxml", "parse_domain", careless),
    ],
)
def test_what_is_broken_is_found(monkeypatch: pytest.MonkeyPatch, name: str, what: str, broken: Callable[[object], object]) -> None:
    monkeypatch.setattr(targets, what, broken)
    with pytest.raises((AssertionError, ValueError)):
        for data in itertools.islice(mutations(seeds(name), name), COUNTS[name]):
            TARGETS[name](data)
