"""What is fuzzed: for each reader of bytes, what must hold whatever the bytes are. No fuzzer lives here.

A target takes any bytes and returns, or raises; an AssertionError says what did not hold. It is a function of
its bytes alone: where it cuts them is decided by their checksum.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Raw
from msgspec.structs import replace

from aiovirt.drivers.qemu.translate import quoted, translate
from aiovirt.errors import ConfigUnsupported, ProtocolError, XMLInvalid
from aiovirt.events import decode as decode_event
from aiovirt.events import encode as encode_event
from aiovirt.libvirtxml import parse as parse_domain
from aiovirt.libvirtxml import render
from aiovirt.wire import rtnetlink, uevent
from aiovirt.wire.attach import Frames, framed
from aiovirt.wire.attach.messages import CLIENT_LIMIT, decode_from_client, decode_from_engine, encode
from aiovirt.wire.qmp import Breach, Message, Phase, QMPEvent, QMPProtocol, Reply
from aiovirt.wire.qmp.messages import EDGE, decode_body, read_message
from aiovirt.wire.rtnetlink import End, LinkMessage
from tests.libvirtxml.documents import FULL, SMALL, libvirt
from tests.wire.test_attach import FROM_CLIENT, FROM_ENGINE
from tests.wire.test_qmp import ALLOWED

__all__ = ["CORPUS", "TARGETS", "seeds"]

CORPUS: Final = Path(__file__).parent / "corpus"


# -- QMP ---------------------------------------------------------------------------------------


def qmp(data: bytes) -> None:
    """A conversation: whatever comes, cut anywhere, is the same; the phases are those of the table."""
    dice = random.Random(zlib.crc32(data))  # noqa: S311 - the same for the same bytes
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(9)))
    pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
    for limit in (1 + dice.randrange(EDGE), EDGE + dice.randrange(3 * EDGE), len(data) + EDGE):
        assert _conversation(pieces, limit) == _conversation([data], limit)
    limit = 1 + dice.randrange(2 * EDGE)
    assert _conversation([data[at : at + 1] for at in range(len(data))], limit) == _conversation([data], limit)


def _conversation(chunks: Iterable[bytes], limit: int) -> list[object]:
    """All that was said, to compare."""
    protocol = QMPProtocol(limit=limit)
    phase, said = Phase.GREETING, []
    for chunk in chunks:
        for message in protocol.receive(chunk):
            assert phase is not Phase.BROKEN, "something follows a breach"
            phase = ALLOWED.get((phase, type(message)), Phase.BROKEN)
            assert isinstance(message, Breach) == (phase is Phase.BROKEN)
            said.append(_said(message))
        assert protocol.phase is phase
    _ask(protocol)
    return said


def _said(message: Message) -> object:
    parts = (getattr(message, name) for name in message.__struct_fields__)
    return (type(message), *(bytes(part) if isinstance(part, Raw) else part for part in parts))


def _ask(protocol: QMPProtocol) -> None:
    before = protocol.phase
    try:
        number, line = protocol.command("query-status")
    except ProtocolError:
        assert before is not Phase.READY
    else:
        assert before is Phase.READY
        assert json.loads(line) == {"execute": "query-status", "id": number}


def message(data: bytes) -> None:
    """One message: it is read or a breach; its body is read, or said to be none; its event can be quoted, kept and sent."""
    read = read_message(data)
    if isinstance(read, Breach):
        assert len(read.why) < 1000
    if isinstance(read, QMPEvent):
        _event(read)
    if isinstance(read, Reply):
        _reply(read, data)


def _event(event: QMPEvent) -> None:
    for kind in (object, dict[str, object], list[int]):
        _or_protocol_error(partial(decode_body, event.body, kind))
    _or_protocol_error(lambda: translate(event))
    _or_protocol_error(lambda: _keep(event))


def _keep(event: QMPEvent) -> None:
    said = replace(quoted(event, UUID(int=1), "web"), cursor="0" * 26 + ":0000000000000001")
    assert decode_event(encode_event(said)) == said
    assert re.fullmatch(r"[\w.-]{1,128}", said.event, re.ASCII)


def _reply(reply: Reply, data: bytes) -> None:
    try:
        theirs = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        ours = decode_body(reply.body, object)
    except ProtocolError:
        return
    assert json.dumps(ours) == json.dumps(theirs["return"])
    assert reply.id == theirs.get("id")


def _or_protocol_error(what: Callable[[], object]) -> None:
    try:
        what()
    except ProtocolError as error:
        assert 0 < len(str(error)) < 1000


# -- the others --------------------------------------------------------------------------------


def links(data: bytes) -> None:
    """A datagram of rtnetlink: messages, or a ProtocolError; the same to who has seen others like it."""
    _or_protocol_error(lambda: rtnetlink.decode(data))
    reader = rtnetlink.LinkReader()
    try:
        plain, first, again = (_comparable(rtnetlink.decode_each(data, body=body)) for body in (None, reader.body, reader.body))
    except ProtocolError:
        return
    assert plain == first == again


def _comparable(found: list[LinkMessage | End | ProtocolError]) -> list[object]:
    """Where a message has several faults, any of them may be named."""
    return [ProtocolError if isinstance(message, ProtocolError) else message for message in found]


def uevents(data: bytes) -> None:
    """A datagram of the kernel's: one event, None, or a ProtocolError."""
    _or_protocol_error(lambda: uevent.parse(data))


def domain(data: bytes) -> None:
    """A domain's XML: what is read is read again as it was rendered; what is not is said where."""
    try:
        spec = parse_domain(data)
    except (XMLInvalid, ConfigUnsupported):
        return
    assert parse_domain(render(spec)) == spec


def attach(data: bytes) -> None:
    """What an engine hears from who is attached, and the other way round: messages, or a ProtocolError; cut or not."""
    whole, cut = Frames(CLIENT_LIMIT), Frames(CLIENT_LIMIT)
    parts = [data[at : at + 7] for at in range(0, len(data), 7)]
    with contextlib.suppress(ProtocolError):  # too long
        assert list(whole.feed(data)) == [message for part in parts for message in cut.feed(part)]
    for message in (data, data[4:]):
        _or_protocol_error(partial(decode_from_client, message))
        _or_protocol_error(partial(decode_from_engine, message))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "qmp": qmp,
    "message": message,
    "rtnetlink": links,
    "uevent": uevents,
    "libvirtxml": domain,
    "attach": attach,
}


def seeds(target: str) -> list[bytes]:
    """What its fuzzing begins with: real ones."""
    if target == "libvirtxml":
        return [text.encode() for text in (FULL, SMALL, libvirt("pc"), libvirt("q35"), libvirt("test-default"))]
    if target == "attach":
        return [framed(encode(message)) for message in (*FROM_CLIENT, *FROM_ENGINE)]
    if target == "message":
        return [line for talk in seeds("qmp") for line in talk.splitlines(keepends=True)]
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
