"""What a power loss can leave of a journal: cut, torn, zeroed, gone. Readers get the truth of it."""

from __future__ import annotations

import random
import shutil
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from aiovirt.events.segment import HEADER_SIZE, DamagedError, decode_checkpoint, decode_header
from tests.crash.engines import SMALL, Host, Told, engine, fold, read_after, turn_over
from tests.crash.points import points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiovirt.events.state import HostState

    Dice = random.Random


async def write_history(folder: Path, seed: int) -> Told:
    """A folder as some engines left it, killed or not, within one boot; the last one was at work when the power failed."""
    told = Told()
    host = Host(seed)
    for session in range(host.dice.randrange(1, 5)):
        async with engine(folder, "before", clean=host.dice.random() < 0.5) as (bus, opened):
            assert opened.journal
            assert opened.started.cut == 0
            told.tell([opened.started])
            for _ in range(host.dice.randrange(1, 80)):
                told.tell([bus.publish(host.next(bus.state))])
                if host.dice.random() < 0.3:
                    await turn_over(opened.journal, bus)
            await told.check(bus, [0, len(told.events) - 1])
            if session == 0:
                assert opened.started.clean is None
    return told


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def cut(folder: Path, dice: Dice) -> None:
    last = segments(folder)[-1]
    data = last.read_bytes()
    last.write_bytes(data[: dice.randrange(len(data) + 1)])


def zero_suffix(folder: Path, dice: Dice) -> None:
    last = segments(folder)[-1]
    data = last.read_bytes()
    start = dice.randrange(len(data))
    last.write_bytes(data[:start].ljust(len(data), b"\0"))


def tear(folder: Path, dice: Dice) -> None:
    last = segments(folder)[-1]
    data = last.read_bytes()
    start, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    last.write_bytes(data[:start] + bytes(end - start) + data[end:])


def add_garbage(folder: Path, dice: Dice) -> None:
    with segments(folder)[-1].open("ab") as file:
        file.write(dice.randbytes(dice.randrange(1, 600)))


def lose_file(folder: Path, dice: Dice) -> None:  # noqa: ARG001 - one of DAMAGES
    segments(folder)[-1].unlink()


def lose_state(folder: Path, dice: Dice) -> None:  # noqa: ARG001 - one of DAMAGES
    (folder / "state").unlink(missing_ok=True)


def garble_state(folder: Path, dice: Dice) -> None:
    (folder / "state").write_bytes(dice.randbytes(dice.randrange(100)))


def garble_header(folder: Path, dice: Dice) -> None:
    last = segments(folder)[-1]
    data = bytearray(last.read_bytes())
    data[dice.randrange(8, 200)] ^= 1 << dice.randrange(8)
    last.write_bytes(data)


def spare(folder: Path, dice: Dice) -> None:
    """Nothing was lost."""


DAMAGES: list[Callable[[Path, Dice], None]] = [
    cut, zero_suffix, tear, add_garbage, lose_file, lose_state, garble_state, garble_header, spare
]  # fmt: skip


def can_resume(folder: Path, told: Told, first: int) -> bool:
    """Whether the state that was put down stands within what survived."""
    try:
        cursor = decode_checkpoint((folder / "state").read_bytes()).cursor
    except (FileNotFoundError, DamagedError):
        return False
    return cursor in {event.cursor for event in told.events[max(0, first - 1) :]} or (first == 0 and cursor.endswith("0" * 16))


def same_state(one: HostState, other: HostState) -> bool:
    return (one.domains, one.netdevs) == (other.domains, other.netdevs)


async def lose_power(folder: Path, seed: int) -> None:
    told = await write_history(folder, seed)
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    damage = DAMAGES[seed % len(DAMAGES)]
    damage(folder, dice)
    sizes = {path.name: path.stat().st_size for path in segments(folder)}
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    async with engine(folder, "after", clean=dice.random() < 0.5) as (bus, opened):
        survived = await read_after(bus)
        old = [event for event in survived if event.cursor.partition(":")[0] != bus.chain.current.epoch]
        if opened.started.clean:
            old = survived[:-1]
        count = told.events.index(old[-1]) + 1 if old else 0
        told.survive(count)
        assert opened.started.cut == (0 if opened.started.clean else cut_bytes(folder, sizes))
        assert opened.started.previous_cursor == (old[-1].cursor if old else None)
        assert opened.started.clean is not None or not sizes
        resumed = can_resume(copy, told, count - len(old)) and bool(sizes)
        assert opened.started.resumed == resumed, damage
        expected = fold([*told.events, opened.started]) if resumed else fold([opened.started])
        assert same_state(bus.state, expected)
        told.tell(survived[-1:])
        host = Host(seed)
        after = bus.cursor
        for _ in range(5):
            bus.publish(host.next(bus.state))
        told.tell(await read_after(bus, after))
        await told.check(bus, some_of(told, dice))
    async with engine(folder, "later") as (bus, opened):
        told.tell((await read_after(bus))[-1:])
        await told.check(bus, some_of(told, dice))
        assert opened.started.cut == 0
        assert opened.started.resumed


def cut_bytes(folder: Path, before: dict[str, int]) -> int:
    """How many bytes of the end are gone: those of the last file that was there before and is still, and all after it."""
    left = {name: (folder / name).stat().st_size for name in before if (folder / name).exists()}
    last = max(left, default="")
    return sum(size - left.get(name, 0) for name, size in before.items() if name >= last)


def some_of(told: Told, dice: Dice) -> list[int]:
    return sorted(dice.sample(range(len(told.events)), min(10, len(told.events))))


@pytest.mark.parametrize("seed", range(points(90)))
def test_after_a_power_loss_readers_get_the_truth(tmp_path: Path, seed: int) -> None:
    anyio.run(partial(lose_power, tmp_path / "journal", seed))


def test_every_header_there_is_can_be_read(tmp_path: Path) -> None:
    anyio.run(partial(write_history, tmp_path / "journal", 3))
    headers = [decode_header(path.read_bytes()[:HEADER_SIZE]) for path in segments(tmp_path / "journal")]
    assert len(headers) > 3
    assert SMALL.bytes >= sum(path.stat().st_size for path in segments(tmp_path / "journal")[1:])
