"""The recipes of CONTRIBUTING.md, word for word: a copy of this repository gains a device kind, an order, an event, a verb and a driver."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?( append)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT = 300


class Block(NamedTuple):
    """One fenced block: ``kind`` is its language, ``path`` the file that it is, or is added to."""

    recipe: str
    kind: str
    path: str
    is_more: bool
    text: str


def blocks() -> Iterator[Block]:
    _, *recipes = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n### ")
    for recipe in recipes:
        for kind, path, more, text in FENCE.findall(recipe):
            yield Block(recipe.partition("\n")[0], kind, path, bool(more), text)


def run(command: str, folder: Path, words: str = "") -> subprocess.CompletedProcess[str]:
    """What the shell says of it, with the Python of these tests, and the copy in front of what is installed."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    return subprocess.run(
        ["sh", "-ec", command],
        cwd=folder,
        input=words,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=LIMIT,
    )


def follow(block: Block, folder: Path) -> str:
    """Does what it says; what its commands print."""
    if block.path:
        file = folder / block.path
        file.parent.mkdir(exist_ok=True)
        file.write_text((f"{file.read_text()}\n\n" if block.is_more else "") + block.text)
        return ""
    done = run(block.text, folder) if block.kind == "sh" else run("patch --strip=1 --fuzz=0", folder, block.text)
    assert done.returncode == 0, f"{block.recipe}: {block.text}\n{done.stdout}"
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """All files that belong to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def test_there_is_a_recipe_for_each_kind_of_thing() -> None:
    assert list(dict.fromkeys(block.recipe for block in blocks())) == ["A device kind", "An order", "An event", "A verb", "A driver"]


def test_the_recipes_lead_to_what_they_say(copy: Path) -> None:
    said = {block.recipe: follow(block, copy) for block in blocks()}  # of each the last: its commands
    assert "('host', 'shutdown', 'reboot')" in said["An event"]
    assert "usage: aiovirt inject-nmi" in said["A verb"]
    assert "tiny Hypervisor(type='TINY', version='1.2.3')" in said["A driver"]
    done = run("ruff check aiovirt tests && ruff format --check aiovirt tests", copy)
    assert done.returncode == 0, done.stdout
