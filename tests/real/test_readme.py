"""The README's programs with real guests, run as they are printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from aiovirt.libvirtxml import render
from aiovirt.testing.tinyguest import UP, image
from tests.lab import sandbox
from tests.real.conftest import PATIENCE, Place
from tests.real.test_resume import engine

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), flags=re.DOTALL)


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    place.folder.joinpath("engine").mkdir()
    return os.environ | {f"AIOVIRT_{name}_DIR": str(place.folder / "engine" / name.lower()) for name in ("CONFIG", "STATE", "RUNTIME")}


def aiovirt(place: Place, environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "aiovirt", "-c", "qemu:///session", *words]
    return subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def test_every_program_of_the_readme_is_run_by_a_test() -> None:
    assert [word for block in BLOCKS for word in ("test:///default", "DomainSpec(", "follow(") if word in block] == [
        "test:///default",
        "DomainSpec(",
        "follow(",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_guest_is_defined_and_its_console_is_read(place: Place, environment: dict[str, str], backend: str) -> None:
    (place.folder / "disk.img").write_bytes(image().ljust(1 << 20, b"\0"))
    script = place.folder / "guest.py"
    script.write_text(BLOCKS[1].replace("anyio.run(main)", f"anyio.run(main, backend={backend!r})"))
    done = subprocess.run(
        [sys.executable, script], cwd=place.folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert UP.decode() in done.stdout


@pytest.fixture
def following(place: Place, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The program that follows, beside an engine; it ends with the test."""
    script = place.folder / "follow.py"
    script.write_text(BLOCKS[2])
    process = subprocess.Popen([sys.executable, script], cwd=place.folder, env=environment, stdout=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def cursor_of(place: Place) -> str:
    async with place.attach() as host:
        return host.events.cursor


def test_events_are_followed_from_one_engine_to_the_next(place: Place, environment: dict[str, str], request: pytest.FixtureRequest) -> None:
    (place.folder / "tiny.xml").write_text(render(place.spec("tiny")))
    with engine(place):
        aiovirt(place, environment, "define", "tiny.xml")
        (place.folder / "cursor").write_text(anyio.run(cursor_of, place))
        process: subprocess.Popen[str] = request.getfixturevalue("following")
        assert process.stdout
        for orders in (("undefine tiny", "define tiny.xml"), ("undefine tiny", "define tiny.xml")):
            for order in orders:
                aiovirt(place, environment, *order.split())
                assert ("undefined" if "un" in order else "defined") in process.stdout.readline()
        noted = (place.folder / "cursor").read_text()
    with engine(place):
        aiovirt(place, environment, "undefine", "tiny")
        assert "undefined" in process.stdout.readline()
        aiovirt(place, environment, "define", "tiny.xml")
        assert "defined" in process.stdout.readline()
        assert process.poll() is None
    assert (place.folder / "cursor").read_text() >= noted
