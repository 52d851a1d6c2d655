"""What answers of the kernel mean that end with an errno; the answers are made up, byte by byte."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import pytest

from aiovirt.errors import SystemFailure
from aiovirt.hostdev.survey import ATTEMPTS, Questions
from aiovirt.model.netdev import Netdev
from aiovirt.system.netlink import GENERIC, NetlinkChannel
from aiovirt.system.sysfs import Attachment, Sysfs
from aiovirt.wire.ethtool import decode

pytestmark = pytest.mark.anyio

T = TypeVar("T")

FAMILY, MODES = 0x1C, 4


def message(kind: int, body: bytes, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body + b"\0" * (-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def link(ifindex: int, name: str) -> bytes:
    return message(16, struct.pack("=BxHiII", 0, 1, ifindex, 1, 0) + attribute(3, name.encode() + b"\0"))  # RTM_NEWLINK, IFF_UP


def done(code: int = 0) -> bytes:
    return message(3, struct.pack("=i", -code))


def error(code: int = 0) -> bytes:
    return message(2, struct.pack("=i", -code) + b"\0" * 16)


def family() -> bytes:
    return message(0x10, struct.pack("=BBxx", 1, 2) + attribute(1, struct.pack("=H", FAMILY)))


def modes(ifindex: int, speed: int) -> bytes:
    header = attribute(1 | 0x8000, attribute(1, struct.pack("=I", ifindex)))
    return message(FAMILY, struct.pack("=BBxx", MODES, 1) + header + attribute(5, struct.pack("=I", speed)) + attribute(6, b"\1"))


class Channel(NetlinkChannel):
    """Answers each request with the next of what it was given."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers

    def send(self, request: bytes) -> None: ...

    def receive(self) -> bytes:
        return next(self._answers)


class Kernel:
    """``converse`` as the kernel does, with the answers that it is told to give over each protocol."""

    def __init__(self, route: list[bytes], generic: list[bytes]) -> None:
        self.answers = {False: iter(route), True: iter(generic)}

    async def converse(self, protocol: int, talk: Callable[[NetlinkChannel], T]) -> T:
        return talk(Channel(self.answers[protocol == GENERIC]))


class Files(Sysfs):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self._here = dict(enumerate(names, 1))

    async def names(self) -> list[str]:
        return list(self._here.values())

    async def indexes(self, names: object) -> dict[int, str]:
        return {index: name for index, name in self._here.items() if name in names}  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]

    async def read_attachments(self, netdevs: Mapping[int, str]) -> dict[int, Attachment]:  # noqa: ARG002 - as of Sysfs
        return {}


def asked(route: list[bytes], generic: list[bytes], *names: str, known: Mapping[int, Netdev] = {}) -> Questions:
    questions = Questions(Files(*names), known.get)
    questions._kernel = Kernel(route, generic)  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    return questions


A, B = link(1, "a"), link(2, "b")
NO_ETHTOOL = [error(errno.ENOENT)]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP])
async def test_a_dump_that_is_refused_is_an_error(code: int) -> None:
    with pytest.raises(SystemFailure, match=f"links cannot be listed: {errno.errorcode[code]}"):
        await asked([A + done(code)], NO_ETHTOOL, "a", "b").about_all()


async def test_a_dump_that_ends_at_a_link_that_cannot_be_described_goes_on_with_sysfs() -> None:
    survey = await asked([A + done(errno.EMSGSIZE), B + error()], NO_ETHTOOL, "a", "b").about_all()
    assert {ifindex: reading and reading.name for ifindex, reading in survey.readings.items()} == {1: "a", 2: "b"}
    with pytest.raises(SystemFailure, match="EMSGSIZE"):
        await asked([A + done(errno.EMSGSIZE)], NO_ETHTOOL).about_all()


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOBUFS])
async def test_a_dump_for_which_memory_was_short_is_asked_for_again(code: int) -> None:
    survey = await asked([done(code)] * (ATTEMPTS - 1) + [A + done()], NO_ETHTOOL, "a").about_all()
    assert list(survey.readings) == [1]
    with pytest.raises(SystemFailure, match=errno.errorcode[code]):
        await asked([done(code)] * ATTEMPTS, NO_ETHTOOL, "a").about_all()


async def test_one_whose_driver_fails_to_tell_its_speed_takes_it_from_no_other() -> None:
    known = {2: Netdev(ifindex=2, name="b", speed=25), 3: Netdev(ifindex=3, name="c", speed=40)}
    generic = [family() + error(), modes(1, 10) + done(errno.EIO), error(errno.EIO), error(errno.EOPNOTSUPP)]
    survey = await asked([A + B + link(3, "c") + done()], generic, "a", "b", "c", known=known).about_all()
    assert {ifindex: reading and reading.speed for ifindex, reading in survey.readings.items()} == {1: 10, 2: 25, 3: None}


async def test_speeds_are_as_known_where_ethtool_refuses() -> None:
    known = {1: Netdev(ifindex=1, name="a", speed=25)}
    survey = await asked([A + done()], [error(errno.EPERM)], "a", known=known).about_all()
    assert [reading and reading.speed for reading in survey.readings.values()] == [25]


def test_the_made_up_answers_are_answers() -> None:
    assert (decode(done(errno.EIO)).errno, decode(error()).errno, len(decode(modes(1, 10)).told)) == (errno.EIO, 0, 1)
