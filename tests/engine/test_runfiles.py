"""Records of what runs, of a kind of object that is none of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from msgspec import Struct

from aiovirt.engine.runfiles import RunFiles
from aiovirt.errors import SystemFailure
from aiovirt.system import files

pytestmark = pytest.mark.anyio

U = UUID(int=1)


class PoolRun(Struct, frozen=True, kw_only=True):
    version: int = 3
    uuid: UUID = U
    id: int = 1
    mounted: bool = False


def as_it_is(run: PoolRun) -> PoolRun:
    return run


def of(folder: Path) -> RunFiles[PoolRun]:
    return RunFiles(folder, PoolRun, version=3, what="pool")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files as they are written."""
    names: list[str] = []
    real: Callable[[Path, bytes], None] = files.write_whole

    def write(path: Path, data: bytes) -> None:
        names.append(path.name)
        real(path, data)

    monkeypatch.setattr(files, "write_whole", write)
    return names


async def test_what_runs_is_found_again(tmp_path: Path) -> None:
    await of(tmp_path).save(PoolRun(mounted=True))
    again = of(tmp_path)
    assert (await again.load(as_it_is)).runs == (PoolRun(mounted=True),)
    again.note(U, None)
    assert await again.flush() == {}
    assert (await of(tmp_path).load(as_it_is)).runs == ()


async def test_of_many_states_the_newest_is_written(tmp_path: Path, written: list[str]) -> None:
    runs = of(tmp_path)
    for mounted in (True, False, True):
        runs.note(U, PoolRun(mounted=mounted))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runs.write)
        await runs.save(PoolRun(uuid=UUID(int=2)))
        tasks.cancel_scope.cancel()
    assert sorted(written) == [f"{U}.json", f"{UUID(int=2)}.json"]
    assert set((await of(tmp_path).load(as_it_is)).runs) == {PoolRun(mounted=True), PoolRun(uuid=UUID(int=2))}


async def test_what_a_newer_version_wrote_stays_for_as_long_as_that_runs(tmp_path: Path) -> None:
    file = tmp_path / f"{U}.json"
    file.write_text(json.dumps({"version": 3, "uuid": str(U), "id": 1, "encrypted": True}))
    runs = of(tmp_path)
    await runs.load(as_it_is)
    await runs.save(PoolRun(mounted=True))
    assert json.loads(file.read_text()) == {"version": 3, "uuid": str(U), "id": 1, "mounted": True, "encrypted": True}
    await runs.save(PoolRun(id=2))
    assert "encrypted" not in json.loads(file.read_text())


@pytest.mark.parametrize("text", ["{", '{"version": 4}', '{"uuid": "00000000-0000-0000-0000-000000000002"}'])
async def test_what_cannot_be_read_is_left_alone(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / f"{U}.json"
    file.write_text(text)
    runs = of(tmp_path)
    loaded = await runs.load(as_it_is)
    assert not loaded.runs
    assert loaded.unread == {str(U)}
    assert "a run record is left alone" in caplog.text
    with pytest.raises(SystemFailure, match="its pool may be running"):
        await runs.save(PoolRun())
    runs.note(U, None)
    assert await runs.flush() == {}
    assert file.read_text() == text
