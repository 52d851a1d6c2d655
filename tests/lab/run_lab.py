"""Runs the tests of the lab guest (tests/labguest) in it: one boot, one pytest.

    python -m tests.lab.run_lab [--limit SECONDS] [PYTEST'S WORDS…]

They are collected here first: a mistake is found before anything boots, and the guest, which is slow, finds all that it
imports compiled. The status is pytest's; 125 when the guest came to none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from tests.lab.guest.boot import LIMIT, run
from tests.lab.guest.build import CHECKOUT, FOLDER

__all__ = ["main"]

COMPILED: Final = FOLDER / "pycache"

_CONNECT: Final = """
import anyio, tempfile, aiovirt
async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with aiovirt.connect(f"qemu:///embed?root={folder}/engine"):
            pass
for backend in ("asyncio", "trio"):
    anyio.run(main, backend=backend)
"""


def main(arguments: list[str]) -> int:
    """The command line described above."""
    limit = LIMIT
    if arguments[:1] == ["--limit"] and len(arguments) > 1:
        limit, arguments = float(arguments[1]), arguments[2:]
    tests = "tests/labguest"
    chosen = arguments if any(word.startswith(tests) for word in arguments) else [tests, *arguments]
    setting = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPYCACHEPREFIX": str(COMPILED)}
    pytest = [sys.executable, "-m", "pytest", "-c", f"{tests}/pytest.ini", "--rootdir=.", *chosen]
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for first in ([*pytest, "--collect-only", "-qq"], [sys.executable, "-c", _CONNECT]):
        if status := subprocess.run(first, cwd=CHECKOUT, env=ours | setting, check=False).returncode:
            return status
    return run(["env", *(f"{name}={value}" for name, value in setting.items()), *pytest], limit=limit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
