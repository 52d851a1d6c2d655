"""The same question through libvirt: libvirt-python, a libvirtd of its own, and the QEMUs that it has started."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import which
from typing import Any, Final

__all__ = ["libvirt_sweep", "libvirts_guests"]

DEBIAN: Final = "/usr/lib/python3/dist-packages"
NEEDED: Final = "Debian's libvirt-daemon, libvirt-daemon-driver-qemu and python3-libvirt (or libvirt-python) are needed"
NOBODY: Final = 65534
WORKERS: Final = 4

GUEST: Final = """
<domain type='qemu'>
  <name>aiovirt-{number}</name><memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>"""
QUESTION: Final = '{"execute":"query-status"}'


@contextmanager
def libvirts_guests(count: int) -> Iterator[str]:
    """The address of a libvirtd that has started so many guests, and halted them."""
    libvirt = _module("libvirt")
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder, _daemon(Path(folder)):
        address = f"qemu+unix:///session?socket={folder}/libvirt/libvirt-sock"
        with closing(libvirt.open(address)) as connection, ThreadPoolExecutor(WORKERS) as pool:
            started = [pool.submit(connection.createXML, GUEST.format(number=number), flags) for number in range(count)]
            wait(started)
            domains = [one.result() for one in started]
            yield address
            wait([pool.submit(domain.destroy) for domain in domains])


@contextmanager
def libvirt_sweep(address: str, threads: int) -> Iterator[Callable[[], None]]:
    """What asks all guests that are there, so many of them at once."""
    qemu = _module("libvirt_qemu")

    def ask(domain: Any) -> None:  # noqa: ANN401 - libvirt has no types
        assert '"return"' in qemu.qemuMonitorCommand(domain, QUESTION, 0)

    with closing(_module("libvirt").open(address)) as connection, ThreadPoolExecutor(threads) as pool:
        domains = connection.listAllDomains()
        assert domains
        yield lambda: deque(map(ask, domains) if threads == 1 else pool.map(ask, domains), maxlen=0).clear()


@contextmanager
def _daemon(folder: Path) -> Iterator[None]:
    command = which("libvirtd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if command is None:
        raise FileNotFoundError(NEEDED)
    config = folder / "libvirt" / "qemu.conf"
    config.parent.mkdir()
    config.write_text('stdio_handler = "file"\n', encoding="ascii")  # else it starts a virtlogd
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (folder, config.parent, config):
            os.chown(path, NOBODY, NOBODY)
    places = {f"XDG_{kind}": str(folder) for kind in ("CONFIG_HOME", "RUNTIME_DIR", "CACHE_HOME", "DATA_HOME")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LIBVIRT_LOG_OUTPUTS": f"1:file:{folder}/log", **places}
    pid = folder / "pid"
    subprocess.run([command, "--daemon", "--pid-file", str(pid)], env=environment, check=True, **user)  # returns when it listens
    try:
        yield
    finally:
        os.kill(int(pid.read_text(encoding="ascii")), signal.SIGKILL)  # it has nothing left to lose


def _module(name: str) -> Any:  # noqa: ANN401 - without types
    """One of libvirt-python's, which Debian has for its own Python."""
    sys.path.append(DEBIAN)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(NEEDED) from error
    finally:
        sys.path.remove(DEBIAN)
