"""A forked child of an application that has connected to a host: it has no part in it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import DomainState
from aiovirt.events import MonitorHealth
from aiovirt.libvirtxml import render
from aiovirt.system.files import FileLock
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import no_guest_is_left, state_of
from tests.real.test_restart import heard

pytestmark = pytest.mark.anyio
__all__ = ["no_guest_is_left"]

APPLICATION = """
import json, os, pathlib, signal, sys, traceback, warnings
import aiovirt, anyio
warnings.simplefilter("ignore")
folder, uri, backend = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def tried(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
    return "nothing"

def child(host, domain):
    files = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}
    told = {
        "kept": [file for name, file in files.items() if int(name) > 2 and (str(folder) in file or "aiovirt" in file or "pidfd" in file)],
        "sockets": sorted(file for file in files.values() if file.startswith("socket:")),
        "raised": [
            tried(host.domains),
            tried(lambda: host.domain("tiny")),
            tried(lambda: domain.state),
            tried(lambda: host.uuid),
            tried(lambda: host.devices.netdevs()),
            tried(lambda: host.events.cursor),
            tried(lambda: host.events.subscribe()),
            tried(lambda: domain.suspend().send(None)),
            tried(lambda: host.define("<domain/>").send(None)),
        ],
    }
    (folder / "told").write_text(json.dumps(told))
    (folder / "told").rename(folder / "child.json")
    os.closerange(0, 100)  # who reads what the parent says waits for its end; uvloop gives it to its children twice
    signal.pause()

async def main():
    with open(os.devnull) as before:
        ours = {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}
    async with aiovirt.connect(uri) as host:
        domain = await host.create((folder / "tiny.xml").read_text(), paused=True)
        async with host.events.subscribe():
            pid = os.fork()
            if pid == 0:
                try:
                    child(host, domain)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            while not (folder / "child.json").exists():
                await anyio.sleep(0.01)
            await domain.resume()
            assert domain.state is aiovirt.DomainState.RUNNING
    print(json.dumps({"child": pid, "before": sorted(ours)}))

backends = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}
name, options = backends[backend]
anyio.run(main, backend=name, backend_options=options)
"""


async def test_a_forked_child_keeps_neither_the_host_nor_its_guests(place: Place, anyio_backend: tuple[str, dict[str, object]]) -> None:
    """It is forked in the middle, the parent goes on undisturbed, and when that has left another engine begins, while the child lives."""
    (place.folder / "tiny.xml").write_text(render(place.spec()))
    backend = "uvloop" if anyio_backend[1].get("use_uvloop") else anyio_backend[0]
    with anyio.fail_after(PATIENCE):
        ended = await anyio.run_process(
            [sys.executable, "-c", APPLICATION, str(place.folder), place.uri, backend], stderr=sys.stderr.fileno()
        )
    told = json.loads((place.folder / "child.json").read_text())
    said = json.loads(ended.stdout)
    try:
        assert told["kept"] == []
        assert set(told["sockets"]) <= set(said["before"])
        assert set(told["raised"]) == {"HostForked"}, told["raised"]
        async with aiovirt.connect(place.uri) as host:
            domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
            assert state_of(domain) is DomainState.RUNNING
            await domain.destroy()
        os.kill(said["child"], 0)  # it lives
    finally:
        os.kill(said["child"], signal.SIGKILL)


def test_a_lock_is_not_kept_by_a_child(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = f"""
import os, pathlib, signal, warnings
warnings.simplefilter("ignore")
from aiovirt.system.files import FileLock
lock = FileLock(pathlib.Path({str(path)!r}))
lock.acquire()
if os.fork() == 0:
    os.close(1)
    lock.release()
    signal.pause()
print(open({str(path)!r}).read())
"""
    import subprocess

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) == parent.pid, "what the child lets go of stays the parent's"
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        FileLock(path).acquire()
        os.killpg(parent.pid, signal.SIGKILL)
