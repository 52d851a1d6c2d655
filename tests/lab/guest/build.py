"""Builds what the lab guest boots: Debian's kernel, and an initramfs with its modules, the first programs and labnic.

    python -m tests.lab.guest.build [FOLDER]

All of it comes from wherever this machine's own packages come from, and nothing is installed. What is built is kept in
FOLDER (build/lab) under the kernel's version and a hash of the sources: a second call finds it. Prints where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["CHECKOUT", "CannotRunError", "Kernel", "build", "need"]

HERE: Final = Path(__file__).parent
CHECKOUT: Final = HERE.parents[2]
FOLDER: Final = CHECKOUT / "build" / "lab"

COMMANDS: Final = {"apt-get": "apt", "cpio": "cpio", "depmod": "kmod", "dpkg": "dpkg", "gcc": "gcc", "make": "make", "modprobe": "kmod"}
"""Command -> Debian's package of it."""

PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_META: Final = "linux-image-amd64"
_XZ: Final = b"\xfd7zXZ\0"
_FIRST_PROGRAMS: Final = ("init", "second")

# What a test may plug in, and what its drivers stand on. Not nvme: its function is there to be taken by labnic.
_MODULES: Final = """
virtio_pci virtio_net virtio_console virtio_rng 9p 9pnet_virtio overlay
e1000 e1000e igb igbvf vmxnet3 vfio-pci vfio_iommu_type1 pci-stub uio_pci_generic
tun tap veth dummy bridge macvlan macvtap ipvlan ifb 8021q bonding
"""


class CannotRunError(Exception):
    """This machine cannot build or run the lab guest; the text says why, and what helps."""


class Kernel(NamedTuple):
    """Debian's kernel: ``version`` of the package, and ``release`` as uname says it."""

    version: str
    release: str

    @property
    def packages(self) -> tuple[str, ...]:
        """The kernel, and what modules are built with."""
        abi = self.release.rpartition("-")[0]
        series = ".".join(self.release.split(".")[:2])
        return (f"linux-image-{self.release}", f"linux-headers-{self.release}", f"linux-headers-{abi}-common", f"linux-kbuild-{series}")


def build(folder: Path = FOLDER) -> Path:
    """The folder with ``vmlinux`` and ``initrd``, built where it was not yet. Raises CannotRunError."""
    need(COMMANDS)
    kernel = _kernel()
    done = folder / f"{kernel.version}-{_fingerprint()}"
    with _only_one(folder):
        if not done.exists():
            packages = _download(folder / f"debs-{kernel.version}", (*kernel.packages, "busybox-static"))
            with tempfile.TemporaryDirectory(prefix="unfinished-", dir=folder) as scratch:
                _build(kernel, packages, Path(scratch)).rename(done)
    return done


def need(commands: dict[str, str]) -> None:
    """Raises CannotRunError, with what to install, where commands are missing."""
    missing = [command for command in commands if shutil.which(command, path=PATH) is None]
    if missing:
        packages = sorted({commands[command] for command in missing})
        raise CannotRunError(f"the lab guest needs {', '.join(missing)}: apt-get install --no-install-recommends {' '.join(packages)}")


def _kernel() -> Kernel:
    said = _output("apt-cache", "--no-all-versions", "show", _META)
    version = re.search(r"^Version: (\S+)$", said, re.MULTILINE)
    release = re.search(r"^Depends: linux-image-(\S+)", said, re.MULTILINE)
    if version is None or release is None:
        raise CannotRunError(f"apt does not know {_META}: apt-get update")
    return Kernel(version=version[1], release=release[1])


def _fingerprint() -> str:
    sources = [Path(__file__), *(HERE / name for name in _FIRST_PROGRAMS), *sorted((HERE / "labnic").iterdir())]
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:16]


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Others that build there wait until the block is left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The packages' files; apt keeps those that are whole."""
    folder.mkdir(exist_ok=True)
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names, cwd=folder)
    return sorted(folder.glob("*.deb"))


def _build(kernel: Kernel, packages: list[Path], scratch: Path) -> Path:
    root, tree, done = (scratch / name for name in ("root", "tree", "done"))
    for package in packages:
        _run("dpkg", "-x", str(package), str(root))
    done.mkdir()
    (done / "vmlinux").write_bytes(_unpacked((root / "boot" / f"vmlinuz-{kernel.release}").read_bytes()))
    modules = tree / "lib" / "modules" / kernel.release
    _copy_modules(root, kernel.release, tree)
    shutil.copy(_labnic(root, kernel.release, scratch / "labnic"), modules)
    _run("depmod", "-b", str(tree), kernel.release)
    _first_programs(root, tree)
    _archive(tree, done / "initrd")
    return done


def _unpacked(image: bytes) -> bytes:
    """The ELF in a bzImage: the guest starts there (PVH), and does not unpack it itself."""
    return lzma.LZMADecompressor().decompress(image[image.index(_XZ) :])


def _copy_modules(root: Path, release: str, tree: Path) -> None:
    """Those wanted, and those they stand on."""
    source, target = (where / "lib" / "modules" / release for where in (root, tree))
    _run("depmod", "-b", str(root), release)
    shown = _output("modprobe", "-d", str(root), "-S", release, "--show-depends", "--all", *_MODULES.split())
    for line in shown.splitlines():
        if line.startswith("insmod "):
            module = Path(line.split()[1]).relative_to(source)
            (target / module).parent.mkdir(parents=True, exist_ok=True)
            _copy_unpacked(source / module, target / module)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(source / name, target)


def _copy_unpacked(module: Path, target: Path) -> None:
    if module.suffix == ".xz":
        target.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
    else:
        shutil.copy(module, target)


def _labnic(root: Path, release: str, folder: Path) -> Path:
    """The module's file, built for this kernel."""
    shutil.copytree(HERE / "labnic", folder)
    headers = root / "usr" / "src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{root}/usr/src/"))
    _run("make", "-s", "-C", str(headers), f"M={folder}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
    _run("strip", "-g", str(folder / "labnic.ko"))
    return folder / "labnic.ko"


def _first_programs(root: Path, tree: Path) -> None:
    (tree / "bin").mkdir()
    shutil.copy(root / "bin" / "busybox", tree / "bin")
    (tree / "bin" / "modprobe").symlink_to("busybox")
    for name in _FIRST_PROGRAMS:
        shutil.copy(HERE / name, tree)
    (tree / "init").chmod(0o755)


def _archive(tree: Path, archive: Path) -> None:
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with archive.open("wb") as out:
        _run("cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0", cwd=tree, stdin=names.encode(), stdout=out.fileno())


def _environment() -> dict[str, str]:
    """Ours, without what a make that called us would have the kernel's do."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"PATH": PATH, "LC_ALL": "C.UTF-8"}


def _run(*command: str, cwd: Path | None = None, stdin: bytes = b"", stdout: int | None = None) -> None:
    out = sys.stderr.fileno() if stdout is None else stdout
    ended = subprocess.run(command, cwd=cwd, input=stdin, stdout=out, env=_environment(), check=False)
    _check(command, ended.returncode)


def _output(*command: str) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment(), check=False)
    _check(command, ended.returncode)
    return ended.stdout


def _check(command: tuple[str, ...], status: int) -> None:
    if status:
        raise CannotRunError(f"{' '.join(command[:4])} failed: {status}")


def main(arguments: list[str]) -> int:
    """The command line described above."""
    try:
        print(build(*(Path(argument).resolve() for argument in arguments[:1])))
    except CannotRunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
