from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from aiovirt.engine.opening import _look
from aiovirt.events.cursor import format_cursor
from aiovirt.events.recovery import Found, Plan, make_plan
from aiovirt.events.segment import HEADER_SIZE, Ending, Header, encode_header, encode_record
from tests.events import samples
from tests.events.samples import started


class File(Struct):
    """A segment as its engine wrote it."""

    header: Header
    count: int
    data: bytes = b""

    def written(self) -> File:
        header = self.header
        seqs = range(header.first, header.first + self.count)
        records = b"".join(encode_record(seq, replace(started(0), cursor=format_cursor(header.epoch, seq), time=seq)) for seq in seqs)
        if header.ending is not Ending.OPEN:
            header = replace(header, last=seqs.stop - 1, end=HEADER_SIZE + len(records), time=99)
        return File(header, self.count, encode_header(header) + records)

    @property
    def cursors(self) -> list[str]:
        return [format_cursor(self.header.epoch, self.header.first + number) for number in range(self.count)]


@st.composite
def histories(draw: st.DrawFn) -> list[File]:
    """One to three epochs of some segments each; all but the last one have ended, as a rule in order."""
    files: list[File] = []
    previous = draw(st.none() | st.just(("P" * 26, 9)))
    for number in range(draw(st.integers(1, 3))):
        epoch = str(number + 1) * 26
        seq = draw(st.sampled_from([1, 50])) if not number else 1
        for count in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
            ending = draw(st.sampled_from([Ending.SEALED] * 3 + [Ending.OPEN]))
            header = Header(host=samples.HOST, epoch=epoch, first=seq, boot_id="old", began=number + 1, previous=previous, ending=ending)
            files.append(File(header, count))
            seq += count
        files[-1].header = replace(files[-1].header, ending=Ending.SEALED)  # an epoch's end is put on disk before the next begins
        previous = (epoch, seq - 1)
    files[-1].header = replace(files[-1].header, ending=draw(st.sampled_from([Ending.OPEN, Ending.CLEAN])))
    return [file.written() for file in files]


def look(contents: dict[int, bytes]) -> list[Found]:
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number, data in contents.items():
            path = Path(folder, f"{number:08}.journal")
            path.write_bytes(data)
            found.append(_look(path))
        return found


def contents_of(files: list[File]) -> dict[int, bytes]:
    return {number: file.data for number, file in enumerate(files, 1)}


def check_rules(files: list[File], contents: dict[int, bytes], plan: Plan) -> None:
    """What holds whatever has happened."""
    kept = [segment.number for segment in plan.keep]
    missing = [number for number in range(kept[0], kept[-1]) if number not in kept] if kept else []
    assert not any(files[number - 1].count for number in missing)
    assert set(kept) | set(plan.drop) == set(contents)
    assert not set(kept) & set(plan.drop)
    surviving = [
        cursor for segment in plan.keep if segment.scan for cursor in files[segment.number - 1].cursors if _within(cursor, segment)
    ]
    places = [plan.chain.position(cursor) for cursor in surviving]
    assert places == list(range(plan.head - len(surviving) + 1, plan.head + 1))
    lost_after = [cursor for file in files[(kept[-1] if kept else 0) :] for cursor in file.cursors]
    if kept:
        lost_after += [cursor for cursor in files[kept[-1] - 1].cursors if cursor not in surviving]
    for cursor in lost_after:
        assert plan.chain.position(cursor) is None
    for cursor in [cursor for file in files[: kept[0] - 1] for cursor in file.cursors] if kept else []:
        position = plan.chain.position(cursor)
        assert position is None or position <= plan.head - len(surviving)
    assert plan.previous_cursor == (_last_of(plan) if kept else None)
    assert plan.cut >= 0
    for segment in plan.keep:
        assert segment.scan
        assert contents[segment.number][: segment.scan.end] == files[segment.number - 1].data[: segment.scan.end] or segment.header != (
            files[segment.number - 1].header
        )


def _last_of(plan: Plan) -> str:
    last = plan.keep[-1]
    assert last.header
    assert last.scan
    return format_cursor(last.header.epoch, last.scan.last)


def _within(cursor: str, segment: Found) -> bool:
    assert segment.scan
    return int(cursor.partition(":")[2]) <= segment.scan.last


@given(histories(), st.booleans())
def test_what_is_whole_is_kept_whole(files: list[File], same_boot: bool) -> None:  # noqa: FBT001 - hypothesis draws it
    contents = contents_of(files)
    plan = make_plan(look(contents), "old" if same_boot else "new")
    check_rules(files, contents, plan)
    is_clean = files[-1].header.ending is Ending.CLEAN
    assert len(plan.keep) == len(files)
    assert (plan.clean, plan.cut) == (is_clean, 0)
    assert plan.go_on == (is_clean or same_boot)
    assert plan.go_on == (plan.chain.current.epoch == files[-1].header.epoch)
    assert plan.time == (files[-1].header.first + files[-1].count - 1 if files[-1].count else max(files[-1].header.began, plan.time))


damages = st.sampled_from(["gone", "cut", "zeroed", "header", "empty"])


@given(histories(), damages, st.data())
def test_what_is_left_of_it_is_never_contradicted(files: list[File], damage: str, data: st.DataObject) -> None:
    contents = contents_of(files)
    number = data.draw(st.integers(1, len(files)))
    whole = contents[number]
    if damage == "gone":
        del contents[number]
    elif damage == "header":
        contents[number] = b"?" + whole[1:]
    elif damage == "empty":
        contents[number] = b""
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        contents[number] = whole[:at] if damage == "cut" else whole[:at].ljust(len(whole), b"\0")
    assume(contents.get(number) != whole)
    plan = make_plan(look(contents), "new")
    if files[number - 1].header.ending is Ending.SEALED and damage == "zeroed":
        return  # it was on disk when it was sealed; should it rot there, its reader is told
    check_rules(files, contents, plan)
    is_last = number == len(files)
    if plan.go_on:
        assert not is_last
        assert files[-1].header.ending is Ending.CLEAN
    if is_last and plan.keep and plan.keep[-1].number == number:
        assert plan.cut == len(contents.get(number, b"")) - plan.keep[-1].scan.end if plan.keep[-1].scan else 0
    elif is_last:
        assert plan.cut == len(contents.get(number, b""))


def test_nothing_is_a_beginning() -> None:
    plan = make_plan([], "boot")
    assert (plan.head, plan.clean, plan.cut, plan.previous_cursor, plan.go_on, plan.keep, plan.drop) == (0, None, 0, None, False, (), ())


def test_without_a_boot_id_no_boot_is_the_same() -> None:
    file = File(Header(host=samples.HOST, epoch="1" * 26, first=1, boot_id="", began=1), 2).written()
    assert not make_plan(look({1: file.data}), "").go_on


def test_an_engine_killed_while_a_segment_was_made_goes_on() -> None:
    file = File(Header(host=samples.HOST, epoch="1" * 26, first=1, boot_id="b", began=1), 2).written()
    plan = make_plan(look({1: file.data, 2: b""}), "b")
    assert (plan.go_on, plan.drop, plan.head, plan.cut) == (True, (2,), 2, 0)
