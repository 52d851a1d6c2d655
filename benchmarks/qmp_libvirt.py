"""libvirt beside: libvirt-python, and a libvirtd of its own, with the QEMUs that it has started or a sandbox's devices."""

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

from tests.lab.sandbox import require

__all__ = ["libvirt_module", "libvirt_sweep", "libvirts_guests", "nodedev_daemon"]

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
NODEDEV: Final = "libvirt_driver_nodedev.so"
_SYSTEMS: Final = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
QUESTION: Final = '{"execute":"query-status"}'


@contextmanager
def libvirts_guests(count: int) -> Iterator[str]:
    """The address of a libvirtd that has started so many guests, and halted them."""
    libvirt = libvirt_module("libvirt")
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
    qemu = libvirt_module("libvirt_qemu")

    def ask(domain: Any) -> None:  # noqa: ANN401 - libvirt has no types
        assert '"return"' in qemu.qemuMonitorCommand(domain, QUESTION, 0)

    with closing(libvirt_module("libvirt").open(address)) as connection, ThreadPoolExecutor(threads) as pool:
        domains = connection.listAllDomains()
        assert domains
        yield lambda: deque(map(ask, domains) if threads == 1 else pool.map(ask, domains), maxlen=0).clear()


@contextmanager
def nodedev_daemon() -> Iterator[str]:
    """The address of a libvirtd that is the system's; only within a sandbox (tests/lab/sandbox.py), where it is not yours."""
    require()
    for folder in _SYSTEMS:
        Path(folder).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    Path("/etc/libvirt/libvirtd.conf").write_text('auth_unix_rw = "none"\n', encoding="ascii")  # else it asks polkit
    alone = Path("/run/libvirt-drivers")  # the others need users and modules that may not be there
    alone.mkdir()
    (alone / NODEDEV).symlink_to(next(Path("/usr").glob(f"lib*/**/libvirt/connection-driver/{NODEDEV}")))
    with _listening(Path("/run"), {"PATH": os.environ["PATH"], "LIBVIRT_DRIVER_DIR": str(alone)}, {}):
        yield "nodedev:///system"


@contextmanager
def _daemon(folder: Path) -> Iterator[None]:
    config = folder / "libvirt" / "qemu.conf"
    config.parent.mkdir()
    config.write_text('stdio_handler = "file"\n', encoding="ascii")  # else it starts a virtlogd
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (folder, config.parent, config):
            os.chown(path, NOBODY, NOBODY)
    places = {f"XDG_{kind}": str(folder) for kind in ("CONFIG_HOME", "RUNTIME_DIR", "CACHE_HOME", "DATA_HOME")}
    with _listening(folder, {"PATH": os.environ["PATH"], "HOME": str(folder), **places}, user):
        yield


@contextmanager
def _listening(folder: Path, environment: dict[str, str], user: dict[str, Any]) -> Iterator[None]:
    """A libvirtd that has its pid and its log in ``folder``."""
    command = which("libvirtd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if command is None:
        raise FileNotFoundError(NEEDED)
    pid = folder / "pid"
    environment["LIBVIRT_LOG_OUTPUTS"] = f"1:file:{folder}/log"
    subprocess.run([command, "--daemon", "--pid-file", str(pid)], env=environment, check=True, **user)  # returns when it listens
    try:
        yield
    finally:
        os.kill(int(pid.read_text(encoding="ascii")), signal.SIGKILL)  # it has nothing left to lose


def libvirt_module(name: str) -> Any:  # noqa: ANN401 - without types
    """One of libvirt-python's, which Debian has for its own Python."""
    sys.path.append(DEBIAN)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(NEEDED) from error
    finally:
        sys.path.remove(DEBIAN)
