"""udev's word on devices, joined to them by identity: by number, and by which of the kernel's uevents it follows."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from anyio.lowlevel import checkpoint
from msgspec import structs

from aiovirt.errors import SystemFailure
from aiovirt.events.types import DeviceEvent
from aiovirt.hostdev.functions import Functions
from aiovirt.hostdev.links import Links
from aiovirt.hostdev.turns import Bell, one_turn
from aiovirt.system.again import is_passing
from aiovirt.system.background import Background
from aiovirt.system.log import get_logger
from aiovirt.system.netlink import Overrun
from aiovirt.system.udev import UdevMonitor, UdevWord, read_database

__all__ = ["UdevWatch"]

_log = get_logger("hostdev")
_RENAMING: Final = "ID_RENAMING"  # its rules have run, and its name is not the last one yet: udev says more after the move
_NOW: Final = sys.maxsize  # what its database says is about the device of now

_Device = tuple[str, int | str]


class UdevWatch:
    """Reads ``monitor``. ``publish`` publishes; ``catch_up`` hands in all that the kernel said so far: udev always comes after.

    ``to_read`` is rung where all that udev has finished with is to be said again.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads, and what it publishes with
        self,
        monitor: UdevMonitor,
        publish: Callable[[Iterable[DeviceEvent]], None],
        catch_up: Callable[[], Awaitable[None]],
        links: Links,
        functions: Functions,
        to_read: Bell,
    ) -> None:
        self._monitor = monitor
        self._publish = publish
        self._catch_up = catch_up
        self._links = links
        self._functions = functions
        self._words: dict[_Device, UdevWord] = {}  # the last one of each device, in their order
        self._later: set[_Device] = set()  # of which a word came since its database was last read: that is at least as new
        self._to_take = Bell()
        self._to_read = to_read

    async def run(self) -> None:
        """What udev had finished with before, then each device as it does; until cancelled. Raises SystemFailure."""
        self._to_read.ring()
        async with Background() as tasks:
            tasks.group.start_soon(self._take_words)
            tasks.group.start_soon(self._read_words)
            await self._monitor.run(self._hear)

    def _hear(self) -> None:
        for _ in one_turn():
            try:
                word = self._monitor.receive_nowait()
            except Overrun:
                self._to_read.ring()
                continue
            if word is None:
                return
            about = _about(word)
            self._later.add(about)
            if word.action == "remove":  # that it is gone, the kernel says; one sent on request does not take back what was said before
                continue
            self._words.pop(about, None)
            self._words[about] = word
            self._to_take.ring()

    async def _take_words(self) -> None:
        while True:
            await self._to_take.wait()
            while self._words:
                await self._catch_up()
                for _ in one_turn():
                    if self._words:
                        self._publish(self._said(self._words.pop(next(iter(self._words)))))
                await checkpoint()

    def _said(self, word: UdevWord) -> list[DeviceEvent]:
        if _RENAMING in word.properties:
            return []
        if word.ifindex is not None:
            return self._links.initialized(word.ifindex, word.seqnum, dict(word.properties))
        return self._functions.initialized(word.name, word.seqnum, dict(word.properties)) if word.subsystem == "pci" else []

    async def _read_words(self) -> None:
        """Its database, at first and whenever messages were lost, of it or of the kernel."""
        while True:
            await self._to_read.wait()
            try:
                await self._read_all()
            except SystemFailure as failure:
                if is_passing(failure):
                    raise
                _log.warning("what udev has finished with is not known", why=str(failure))

    async def _read_all(self) -> None:
        with self._links.asking() as asked:
            self._later.clear()
            words = deque(await read_database())
            while words:
                await self._catch_up()
                for _ in one_turn():
                    if words and (word := words.popleft()).ifindex not in asked.removed and (about := _about(word)) not in self._later:
                        self._words.pop(about, None)  # it came before
                        self._publish(self._said(structs.replace(word, seqnum=_NOW)))
                await checkpoint()


def _about(word: UdevWord) -> _Device:
    """Which device it is about: a network device by number, others by name."""
    return word.subsystem, word.name if word.ifindex is None else word.ifindex
