"""Hypervisors that packages register: found by the scheme of a URI, loaded when it is opened, and refused by name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest

from aiovirt.drivers.scheme import Scheme
from aiovirt.engine.schemes import GROUP, OWN, find_scheme

PROJECT = Path(__file__).parents[2]
DRIVER = PROJECT / "tests/support/outside_driver.py"
USE = PROJECT / "tests/support/use_outside_driver.py"


class Site(NamedTuple):
    """A folder of installed packages."""

    folder: Path

    def install(self, package: str, entry_points: str, **modules: str) -> None:
        info = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            (self.folder / f"{name}.py").write_text(source)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Python, which sees what is installed there."""
        env = {"PYTHONPATH": f"{self.folder}:{PROJECT}", "PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        command = [sys.executable, *argv]
        return subprocess.run(command, cwd=self.folder, env=env, text=True, capture_output=True, check=False, timeout=120)

    def refusal(self, uri: str) -> str:
        """What the command line says of ``uri``."""
        done = self.run("-m", "aiovirt", "-c", uri, "list")
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def tiny(site: Site) -> Site:
    site.install("aiovirt-tiny", f"[{GROUP}]\ntiny = aiovirt_tiny:SCHEME\n", aiovirt_tiny=DRIVER.read_text())
    return site


def test_our_own_are_registered_as_any_other() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == OWN
    for name, value in OWN.items():
        assert isinstance(scheme := EntryPoint(name, value, GROUP).load(), Scheme)
        assert find_scheme(name) is scheme


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_driver_outside_of_the_tree_is_used_by_its_uri_and_conforms(tiny: Site, backend: str) -> None:
    done = tiny.run(str(USE), backend)
    assert (done.stdout, done.stderr, done.returncode) == ("tiny Hypervisor(type='TINY', version='1.2.3')\n", "", 0)


def test_the_command_line_knows_it_too(tiny: Site) -> None:
    done = tiny.run("-m", "aiovirt", "-c", "tiny:///default", "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert "TINY 1.2.3" in done.stdout


def test_our_own_are_found_without_a_look_at_what_is_installed(tiny: Site) -> None:
    look = "import sys, aiovirt.engine.uri as u; u.parse_uri('qemu:///session'); u.parse_uri('test:///default')"
    done = tiny.run(
        "-c", f"{look}; print([name for name in ('importlib.metadata', 'aiovirt_tiny', 'aiovirt.drivers.door') if name in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_scheme_that_nobody_registers_is_refused_with_those_that_there_are(tiny: Site) -> None:
    said = tiny.refusal("tinny:///default")
    assert "no connection driver available for 'tinny:///default'" in said
    assert said.rstrip().endswith("there are qemu:///session, qemu:///system and test:///default, tiny:///")


def test_one_of_libvirts_that_a_package_registers_is_that_one(site: Site) -> None:
    site.install("aiovirt-xen", f"[{GROUP}]\nxen = aiovirt_tiny:SCHEME\n", aiovirt_tiny=DRIVER.read_text())
    assert "xen has the paths /default, not '/system'" in site.refusal("xen:///system")
    assert "libvirt's lxc is not supported yet" in site.refusal("lxc:///")


@pytest.mark.parametrize(
    ("value", "source", "why"),
    [
        ("aiovirt_nowhere:SCHEME", "", "ModuleNotFoundError: No module named 'aiovirt_nowhere'"),
        ("broken:SCHEME", "1 / 0", "ZeroDivisionError: division by zero"),
        ("broken:SCHEME", "raise SystemExit(3)", "SystemExit: 3"),
        ("broken:SCHEME", "", "AttributeError: module 'broken' has no attribute 'SCHEME'"),
        ("broken:SCHEME", "SCHEME = 'tiny'", "is not a Scheme but 'tiny'"),
        ("broken", "", "is not a Scheme but <module 'broken'"),
    ],
)
def test_one_that_cannot_be_loaded_is_refused_with_its_package_and_why(site: Site, value: str, source: str, why: str) -> None:
    site.install("aiovirt-broken", f"[{GROUP}]\nbroken = {value}\n", broken=source)
    said = site.refusal("broken:///default")
    assert f"the driver broken of the package aiovirt-broken ({value})" in said
    assert why in said
    assert "Traceback" not in said


def test_one_that_two_packages_register_is_neither_ones(tiny: Site) -> None:
    tiny.install("aiovirt-other", f"[{GROUP}]\ntiny = other:SCHEME\n", other="")
    assert "the driver tiny is registered by more than one package: aiovirt-tiny, aiovirt-other" in tiny.refusal("tiny:///default")


def test_a_package_takes_no_name_of_ours(site: Site) -> None:
    site.install("aiovirt-false", f"[{GROUP}]\ntest = false:SCHEME\n", false="1 / 0")
    done = site.run("-m", "aiovirt", "-c", "test:///default", "list", "--all")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_package_whose_entry_points_cannot_be_read_is_no_hindrance_to_others(tiny: Site) -> None:
    tiny.install("nonsense", f"[{GROUP}]\nno value at all\n")
    done = tiny.run("-m", "aiovirt", "-c", "tiny:///default", "list", "--all")
    assert (done.returncode, "Id   Name   State" in done.stdout) == (0, True)
