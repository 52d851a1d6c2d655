"""Writes docs/events.md from the classes of the events themselves.

    python -m docs.generate_events

What a class says of itself (docstring, ``trigger``, ``libvirt``, table, fields) is taken from there and never
written here; here are the words around it, and samples that say more than one that is made of the fields' types.
"""

from __future__ import annotations

import os
import re
import time
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import structs

from aiovirt.events import BusDevice, Detail, Event, Lifecycle, encode
from aiovirt.events.codec import TYPE_PREFIX, VERSION
from aiovirt.events.registry import event_families, event_types
from aiovirt.model.machine import Job, Machine
from aiovirt.model.netdev import Duplex, LinkFlags, Netdev, OperState
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.model.state import DomainState, Reason
from aiovirt.model.units import MiB

__all__ = ["FILE", "SAMPLES", "render"]

FILE: Final = Path(__file__).with_name("events.md")

HEAD: Final = """\
<!-- Written by `python -m docs.generate_events` (`make docs`) from the classes. Not to be edited. -->
# Events

Everything that happens on a host is one stream of numbered events. Each is a frozen value of a class of
`aiovirt.events`; outside of Python each is one line of JSON, a [CloudEvents 1.0](https://github.com/cloudevents/spec)
object with the type `{prefix}TOPIC{version}`. `encode` and `decode` go from one to the other and back.

    aiovirt event --loop --all --json
    aiovirt event --loop --type netdev --since CURSOR

Where a program asks for events, classes and text do: `subscribe(DomainLifecycle)` and `subscribe("domain.lifecycle")`, and for
a whole family of them `subscribe(NetdevEvent)` and `subscribe("netdev")`.

## Cursors, gaps and bookmarks

**Cursor.** Every event has one, `EPOCH:SEQ`: its number, and the name of the counting. Numbers have no holes, and
the order of cursors as text is the order of events. Keep the cursor of the last event you have handled:
`subscribe(after=cursor)` (`--since CURSOR`, `Last-Event-ID` in [examples/sse.py](../examples/sse.py)) goes on
right after it, also with the next engine where the host has a journal on disk.
[examples/resume.py](../examples/resume.py) is a reader that goes on where it was, whoever of the two was killed.

**Gap.** Not everything is kept for ever. A reader that asks for what is gone, or that falls so far behind,
gets `EventGap`, never a silent hole: `missed` is how many events are gone (None where nobody can know),
`first_available` the first one left, and `resume` the cursor to go on from with all that is left.

**Resync.** `watch()` is for those who want the state and its changes rather than every event. Where a
subscription has a gap, a watch gets a `Resync` with a fresh `snapshot`, and goes on from there.

**Bookmark.** A reader that filters may see nothing for hours, and its last event's cursor grows old.
`stream.cursor` is how far it has seen, filtered events included: store that. `aiovirt event --json` prints it
after 30 s of quiet as a line with the type `{prefix}bookmark{version}`; it has the stream's cursor as its `id`
and no `data`, and `decode` refuses it, for it is no event.

**Epoch.** Numbers go on as long as it is certain that no number was ever given to two events: across clean
ends, and across an engine that was killed. After a power loss, or when the journal's disk fails, that is
not certain, and a new epoch begins with number 1. An old cursor still finds its place where the old
epoch's events are kept; where what came after it was lost, it is a gap. Without a journal (`test:///default`)
an epoch ends with its engine.

**The end.** When the engine ends, a reader gets what is left, and then `HostGone` with the cursor to resume from.
`follow(after=cursor)` is `subscribe` without that end: it waits for the host's next engine, and goes on there.

**State.** What a host is now follows from its events alone. An event that changes it says which table of the state it is
kept in, or removed from; `snapshot.tables` of a watch has them by name.

## What all events have

{doc}

| field | in JSON | type | meaning |
|---|---|---|---|
{rows}

In JSON there are also `type` (the topic), `subject` (what it is about: `domain/<uuid>`, `netdev/<id>`, `<bus>/<name>` of
any other device, or `host`), `sequence` (the number alone), `specversion` and `datacontenttype`. A field that is None is
left out here, and null in `data`. Keys only grow in number: pass over those that you do not know.
"""
OUTSIDE: Final = {
    "cursor": "`id`",
    "time": "`time` (RFC 3339) and `timens` (exact, as text)",
    "source_time": "`sourcetime` (as text)",
    "host": "`source`: `/hosts/<uuid>`",
    "cause": "`cause`",
    "missed": "`missed`, where it is true",
}
WORDS: Final[dict[object, str]] = {
    str: "text",
    int: "integer",
    bool: "boolean",
    UUID: "UUID",
    type(None): "None",
    dict: "object",
    object: "any JSON",
    msgspec.Raw: "object",
}

HOST: Final = UUID("3f1f5e0a-8a36-4b7e-9d1c-6a4f0d7e2b11")
EPOCH: Final = "01KE7ZK6M0V8Q2X4Y6Z8A0C2E4"
WEB: Final = {"uuid": UUID("6f1c9d58-52c1-4c0e-8b5b-1f2f7ce0a9d3"), "name": "web"}
MACHINE: Final = Machine(balloon=512 * MiB, vcpus=2, devices=("balloon0", "disk-vda"))
CARD: Final = Netdev(
    id="3.1",
    ifindex=3,
    name="ens1f0",
    mac="52:54:00:12:34:56",
    mtu=1500,
    flags=LinkFlags.UP | LinkFlags.BROADCAST | LinkFlags.RUNNING | LinkFlags.MULTICAST | LinkFlags.LOWER_UP,
    operstate=OperState.UP,
    carrier=True,
    parent="0000:3b:00.0",
    driver="mlx5_core",
    phys_port_id="b8cef60300a1",
    phys_port_name="p0",
    pci="0000:3b:00.0",
    speed=100_000,
    duplex=Duplex.FULL,
)
BY_UDEV: Final = {"ID_PATH": "pci-0000:3b:00.0", "ID_NET_NAME_PATH": "enp59s0f0"}
FUNCTION: Final = PCIDevice(
    address="0000:3b:00.0",
    parent="0000:3a:00.0",
    pci_class=0x020000,
    vendor=0x15B3,
    device=0x101D,
    iommu_group=41,
    numa_node=0,
    sriov=SRIOV(total=8, current=0),
)
SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "domain.lifecycle": {
        **WEB,
        "kind": Lifecycle.STARTED,
        "detail": Detail.BOOTED,
        "state": DomainState.RUNNING,
        "reason": Reason.BOOTED,
        "id": 1,
        "cause": "start-7",
    },
    "domain.changed": {**WEB, "old": MACHINE, "new": structs.replace(MACHINE, jobs=(Job("copy", "mirror", "running"),))},
    "domain.reboot": {**WEB, "by_guest": True},
    "domain.qmp": {**WEB, "event": "RTC_CHANGE", "data": {"offset": 7, "qom-path": "/machine/unattached/device[8]"}},
    "domain.monitor.lost": {**WEB, "why": "the monitor closed the connection"},
    "domain.monitor.stalled": {**WEB, "why": "no answer to 'query-status' within 10 s"},
    "domain.monitor.resumed": {**WEB, "why": "it answers again"},
    "netdev.added": {"device": CARD},
    "netdev.removed": {"device": CARD},
    "netdev.left": {"device": CARD, "nsid": 0, "new_ifindex": 3},
    "netdev.returned": {"device": CARD},
    "netdev.renamed": {"old": CARD, "new": structs.replace(CARD, name="lan0")},
    "netdev.changed": {"old": CARD, "new": structs.replace(CARD, mtu=9000)},
    "device.bound": {"device": BusDevice(bus="pci", name="0000:3b:00.2", driver="vfio-pci")},
    "device.unbound": {"device": BusDevice(bus="pci", name="0000:3b:00.2"), "before": "mlx5_core"},
    "device.initialized": {"netdev": structs.replace(CARD, initialized=True, properties=BY_UDEV), "properties": BY_UDEV},
    "pci.added": {"device": FUNCTION},
    "pci.removed": {"device": FUNCTION},
    "pci.changed": {"old": FUNCTION, "new": structs.replace(FUNCTION, sriov=SRIOV(total=8, current=1), vfs=("0000:3b:00.2",))},
    "host.started": {
        "uri": "qemu:///system",
        "boot_id": "0d4c7e0a-0f0b-4f0a-9a2b-1b6f2f1d9c55",
        "previous_cursor": f"{EPOCH}:{41:016}",
        "clean": True,
        "down_for": 12_000_000_000,
        "resumed": True,
    },
    "host.journal.degraded": {"why": "cannot write journal/1: No space left on device"},
    "host.journal.restored": {},
    "host.clock.jumped": {"by": -3_600_000_000_000},
    "host.watcher.lost": {"source": "rtnetlink", "why": "recvmsg: Bad file descriptor"},
    "host.source.missing": {"source": "udev", "why": "no udevd runs here"},
    "host.source.resynced": {"source": "rtnetlink", "reason": "ENOBUFS"},
}


VALUES: Final[dict[type, object]] = {
    UUID: WEB["uuid"],
    Netdev: CARD,
    PCIDevice: FUNCTION,
    Machine: MACHINE,
}
"""For fields of events without a sample."""


def render() -> str:
    """The whole text, in the order of the samples, and then the events without one. Raises KeyError for a sample of no event."""
    kinds = event_types()
    ordered = {topic: kinds.pop(topic) for topic in SAMPLES} | kinds
    parts = [_head()]
    for family in dict.fromkeys(kind.family for kind in ordered.values()):
        parts.append(f"## {family}\n\n{_paragraphs(event_families()[family])}\n")
        parts += [_event(topic, kind) for topic, kind in ordered.items() if kind.family == family]
    parts.append("## Values\n")
    parts += [_value(kind) for kind in _values(ordered.values())]
    return "\n".join(parts)


# -- parts -------------------------------------------------------------------------------------


def _head() -> str:
    meanings = _meanings(Event)
    rows = [
        f"| `{field.name}` | {OUTSIDE[field.name]} | {_words(field.type)} | {meanings.get(field.name, '')} |"
        for field in structs.fields(Event)
    ]
    return HEAD.format(prefix=TYPE_PREFIX, version=VERSION, doc=_paragraphs(Event), rows="\n".join(rows))


def _event(topic: str, kind: type[Event]) -> str:
    about: dict[str, Any] = {"cursor": f"{EPOCH}:{42:016}", "time": 1_767_604_392_345_678_901, "host": HOST}
    sample = kind.made(**about, **(SAMPLES.get(topic) or _sample(kind)))
    with _utc():
        line = str(sample)
    shown = msgspec.json.format(encode(sample), indent=2).decode()
    also = [f"`{other}`" for other, base in event_types().items() if base in kind.__mro__[1:]]
    lines = [
        f"### {topic}",
        f"`{_module(kind)}.{kind.__name__}`" + (f"; who asks for {also[0]} gets it, too" if also else ""),
        _paragraphs(kind),
        _table(kind, skip=Event.__struct_fields__),
        f"**When:** {_markdown(kind.trigger)}  \n**In libvirt:** {_markdown(kind.libvirt) or 'nothing'}" + _of_state(kind),
        f"```text\n{line}\n```\n\n```json\n{shown}\n```\n",
    ]
    return "\n\n".join(part for part in lines if part)


def _module(kind: type) -> str:
    """Where it is had from."""
    return "aiovirt.events" if kind.__module__.startswith("aiovirt.events.") else kind.__module__


def _of_state(kind: type[Event]) -> str:
    if kind.table is None:
        return ""
    return f"  \n**State:** {'removed from' if kind.removes else 'kept in'} `{kind.table.name}`"


def _sample(kind: type[Event]) -> dict[str, Any]:
    """What an event of that kind may have in the fields that it has to have."""
    return {field.name: _sample_of(field) for field in structs.fields(kind) if field.required}


def _sample_of(field: structs.FieldInfo) -> object:
    if (several := get_origin(field.type)) in (tuple, list, dict):
        return several()
    kind = _parts(field.type)[0]
    if kind in VALUES:
        return VALUES[kind]
    if issubclass(kind, Enum):
        return next(iter(kind))
    if issubclass(kind, msgspec.Struct):
        return kind(**{inner.name: _sample_of(inner) for inner in structs.fields(kind) if inner.required})
    return kind(field.name) if kind is str else kind()


def _value(kind: type) -> str:
    parts = [f"### {kind.__name__}", _paragraphs(kind)]
    if issubclass(kind, Enum):
        parts.append(", ".join(f"`{member.value}`" for member in kind))
    elif issubclass(kind, msgspec.Struct):
        parts.append(_table(kind))
        if tag := kind.__struct_config__.tag:
            parts.append(f'In JSON it has `"type": "{tag}"`, too.')
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(kind: type, skip: Iterable[str] = ()) -> str:
    meanings = _meanings(kind)
    rows = [
        f"| `{field.encode_name}` | {_words(field.type)} | {meanings.get(field.encode_name, '')} |"
        for field in structs.fields(kind)
        if field.name not in skip
    ]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def _values(kinds: Iterable[type]) -> list[type]:
    """Our own types that the fields of ``kinds`` have, and those that theirs have, each once."""
    found: dict[type, None] = {}
    for kind in kinds:
        for part in (part for field in structs.fields(kind) for part in _parts(field.type)):
            if part not in WORDS and part not in found:
                found[part] = None
                if issubclass(part, msgspec.Struct):
                    found |= dict.fromkeys(_values([part]))
    return list(found)


# -- types in words ----------------------------------------------------------------------------


def _parts(annotation: Any) -> list[type]:  # noqa: ANN401 - whatever stands beside a field
    """The types that ``annotation`` is made of; of one that holds others (a list, an object) those, and not how it holds them."""
    if inner := get_args(annotation):
        return [part for each in inner if each is not Ellipsis for part in _parts(each)]
    return [annotation]


def _words(annotation: Any) -> str:  # noqa: ANN401 - as _parts
    """A type as JSON has it."""
    origin, inner = get_origin(annotation), [each for each in get_args(annotation) if each is not Ellipsis]
    if origin in (tuple, list, frozenset):
        return f"list of {_words(inner[0])}"
    if origin in (Union, types.UnionType):
        names = [_words(part) for part in inner]
        return ", ".join(names[:-1]) + (" or " if names[1:] else "") + names[-1]
    kind = origin or annotation
    return WORDS.get(kind) or f"[{kind.__name__}](#{kind.__name__.lower()})"


# -- docstrings --------------------------------------------------------------------------------


def _paragraphs(kind: type) -> str:
    """What a class says of itself, save what it says of one field after another: that is in the table."""
    names = _names(kind)
    paragraphs = re.split(r"\n\s*\n", (kind.__doc__ or "").strip())
    return "\n\n".join(_markdown(text) for text in paragraphs if not text.strip().startswith(tuple(f"``{name}``" for name in names)))


def _meanings(kind: type) -> dict[str, str]:
    """field -> what the docstrings of ``kind`` and of those it is made from say of it, where they begin with its name."""
    meanings: dict[str, str] = {}
    for base in kind.__mro__:
        if names := "|".join(_names(base)):
            begin = rf"(?:^|(?<=[.;:,] )|(?<= and ))``({names})`` "
            for name, text in re.findall(
                rf"{begin}(.+?)(?=[.;,] ``(?:{names})``|,? and ``(?:{names})``|\.(?: |$)|$)", " ".join((base.__doc__ or "").split())
            ):
                meanings.setdefault(name, _markdown(re.sub(r"^(is|are) |; it$", "", text)))
    return meanings


def _names(kind: type) -> tuple[str, ...]:
    return kind.__struct_encode_fields__ if issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct else ()


def _markdown(text: str) -> str:
    text = " ".join(text.split())
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", "\\|")


@contextmanager
def _utc() -> Iterator[None]:
    """An event's line has local time, which is to be the same everywhere."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


if __name__ == "__main__":
    FILE.write_text(render())
