"""A newer QEMU beside the installed one: that of Debian's backports, unpacked into a folder and not installed.

    python -m tests.lab.backports FOLDER

Prints the path of a program that runs it. The packages come from wherever this machine's own come from.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["fetch"]

PACKAGES: Final = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
PROGRAM: Final = """#!/bin/sh
export QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu
exec {root}/usr/bin/qemu-system-x86_64 -L {root}/usr/share/qemu -L {root}/usr/share/seabios "$@"
"""


def fetch(folder: Path) -> Path:
    """The program, which is made once; raises CalledProcessError where the packages cannot be had."""
    program = folder / "qemu"
    if not program.exists():
        root = folder / "root"
        for one in ("lists/partial", "cache/archives/partial", "debs", "root"):
            (folder / one).mkdir(parents=True, exist_ok=True)
        site, suite = _own_source()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {site} {suite}-backports main\n")
        _apt(folder, "update")
        _apt(folder, "download", *(f"{name}/{suite}-backports" for name in PACKAGES))
        for package in (folder / "debs").glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
        program.write_text(PROGRAM.format(root=root))
        program.chmod(0o755)
    return program


def _own_source() -> tuple[str, str]:
    """(site, suite) that this machine's own packages come from."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split("\n")
    site, suite = next(line.split() for line in lines if line and "-" not in line.split()[1])
    return site, suite


def _apt(folder: Path, *words: str) -> None:
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    subprocess.run(["apt-get", "-qq", *settings, *words], check=True, cwd=folder / "debs", stdout=sys.stderr)


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1]).resolve()))
