"""Real threads that cannot start: the address space is as large as it may be, so that there is no place for a stack."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import anyio
from aiovirt.system.to_thread import NoThreadError, run_anyhow, run_sync

async def main():
    size = 4096 * int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))
    try:
        await run_sync(print, "a thread")
    except NoThreadError as error:
        print(f"{error.errno} {error.strerror}")
    await run_anyhow(print, "here")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await run_sync(print, "a thread")

backend = sys.argv[1]
options = {"use_uvloop": True} if backend == "uvloop" else {}
anyio.run(main, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
"""


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_thread_that_cannot_start_is_an_oserror_and_the_next_one_may(backend: str) -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, backend], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines() == ["11 can't start new thread", "here", "a thread"], ran.stderr
