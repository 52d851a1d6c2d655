"""Programs of a later Debian beside the installed ones: packages with all that they need, unpacked into a folder and not installed.

Each program is pointed at its own loader and libraries, so that it runs as any other does, by its path. The packages come
from wherever this machine's own come from. Nothing is installed, and the folder may be removed at any time.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["relink", "unpack"]

KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
LINKS: Final = ("bin", "sbin", "lib", "lib64")
"""Folders that are links into usr/ since Debian 12."""


def unpack(folder: Path, suite: str, *packages: str) -> Path:
    """The root of what ``packages`` of ``suite`` and all that they depend on have; made once.

    Raises CalledProcessError where they cannot be had.
    """
    root, done = folder / "root", folder / "done"
    if done.exists():
        return root
    for one in ("lists/partial", "cache/archives/partial", "state"):
        (folder / one).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()  # as if nothing were installed
    suites = sorted({suite, suite.removesuffix("-backports")})
    (folder / "sources.list").write_text("".join(f"deb [signed-by={KEYRING}] {_own_site()} {one} main\n" for one in suites))
    _apt(folder, "update")
    _apt(folder, "--yes", "--download-only", "--target-release", suite, "install", *packages)
    for link in LINKS:
        (root / "usr" / link).mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(f"usr/{link}")
    for package in (folder / "cache/archives").glob("*.deb"):
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], check=True, input=files)
    shutil.rmtree(folder / "cache")
    done.touch()
    return root


def relink(root: Path, program: str) -> Path:
    """The path of a program below ``root/usr/bin``, which from now on runs with the loader and the libraries of ``root``."""
    path = (root / "usr/bin" / program).resolve()
    machine = platform.machine()
    (loader,) = (root / "usr/lib64").glob("ld-linux*.so.*")
    libraries = root / f"usr/lib/{machine}-linux-gnu"
    subprocess.run([_patchelf(), "--set-interpreter", loader, "--force-rpath", "--set-rpath", libraries, path], check=True)
    return path


def _patchelf() -> str:
    """That of the environment that runs this."""
    return str(Path(sys.executable).with_name("patchelf"))


def _own_site() -> str:
    """Where this machine's own packages come from."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.split()[0] for line in lines if "-" not in line.split()[1])


def _apt(folder: Path, *words: str) -> None:
    options = {
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": folder / "state",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    subprocess.run(["apt-get", "-qq", *settings, *words], check=True, stdout=sys.stderr)
