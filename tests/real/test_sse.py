"""examples/sse.py beside an engine that is killed: a browser that comes back gets on where it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from examples import sse
from tests.lab import sandbox
from tests.real.conftest import PATIENCE, Place
from tests.real.test_resume import engine, ip


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture
def url(place: Place) -> Iterator[str]:
    """The server, attached to an engine that is gone when this is used."""
    (place.folder / "engine").mkdir()
    places = {f"AIOVIRT_{name}_DIR": str(place.folder / "engine" / name.lower()) for name in ("CONFIG", "STATE", "RUNTIME")}
    command = [sys.executable, sse.__file__, "qemu:///session", "--port", "0"]
    with engine(place):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ | places)
        assert process.stderr
        said = ""
        while not (at := re.search(r"running on (http://127\.0\.0\.1:\d+) ", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
    yield at[1]
    process.kill()
    process.communicate()


def read(url: str, last: str | None, until: str) -> list[tuple[str, str]]:
    """As a browser does: (id, event) of each message up to the first of ``until``; it comes back as often as it is disconnected.

    It makes a device come and go once it is told where it is.
    """
    making: list[str] = ["link add burst0 type veth peer name peer0", "link del burst0"]
    seen: list[tuple[str, str]] = []
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        with httpx.stream("GET", f"{url}/events", headers=headers, timeout=PATIENCE) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    last = value
                    if making:
                        ip(making)
                        making.clear()
                elif name == "event":
                    seen.append((last or "", value))
                    if value == until:
                        return seen


def test_it_goes_on_with_the_next_engine(place: Place, url: str) -> None:
    last: str | None = None
    for until in ("netdev.added", "host.started", "host.started"):
        with engine(place):
            seen = read(url, last, until)
        ids = [cursor for cursor, _ in seen]
        assert ids == sorted(set(ids))
        assert "gap" not in {topic for _, topic in seen}
        if last:
            assert ids[0] > last
        last = ids[-1]
