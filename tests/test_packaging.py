from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).parents[1]


class Installed(NamedTuple):
    """An environment outside the checkout with nothing in it but aiovirt's wheel and what that asks for."""

    wheel: Path
    home: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """The finished ``command`` of its ``bin/``, run where no checkout can be seen."""
        argv = [str(self.home / "bin" / command[0]), *command[1:]]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIOVIRT"))}
        return subprocess.run(argv, cwd=self.home, env=env, text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    dist = tmp_path_factory.mktemp("dist")
    home = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(dist), str(PROJECT)], check=True, stdout=subprocess.DEVNULL)
    (wheel,) = dist.glob("*.whl")
    empty_environment(home, str(wheel))
    return Installed(wheel, home)


def empty_environment(home: Path, *wanted: str) -> None:
    venv.create(home, symlinks=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *wanted], check=True)


def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert "aiovirt/py.typed" in names
    assert {Path(name).parts[0].partition("-")[0] for name in names} == {"aiovirt"}
    assert not [name for name in names if "__pycache__" in name]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_every_file_of_the_package_is_in_the_wheel(installed: Installed) -> None:
    sources = {str(path.relative_to(PROJECT)) for path in PROJECT.glob("aiovirt/**/*.py")}
    assert sources <= set(zipfile.ZipFile(installed.wheel).namelist())


def test_the_command_lists_the_test_domain(installed: Installed) -> None:
    done = installed.run("aiovirt", "-c", "test:///default", "list", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert "test" in done.stdout.split()


def test_python_dash_m_is_the_same_command(installed: Installed) -> None:
    script = installed.run("aiovirt", "-c", "test:///default", "domstate", "test")
    module = installed.run("python", "-m", "aiovirt", "-c", "test:///default", "domstate", "test")
    assert script.returncode == 0
    assert (module.returncode, module.stdout, module.stderr) == (script.returncode, script.stdout, script.stderr)


def test_the_examples_need_no_more_than_their_extra(installed: Installed, tmp_path: Path) -> None:
    home = tmp_path / "examples"
    empty_environment(home, f"{installed.wheel}[examples]")
    beside = Installed(installed.wheel, home)
    examples = sorted(PROJECT.glob("examples/*.py"))
    assert examples
    for example in examples:
        done = beside.run("python", "-W", "error", str(example), "--help", "too", "many", "words")
        assert "usage: " in done.stdout + done.stderr, done.stderr


def test_the_installed_package_knows_its_version(installed: Installed) -> None:
    done = installed.run("python", "-c", "import aiovirt; print(aiovirt.__version__)")
    assert done.stdout.strip() == installed.wheel.name.split("-")[1]


def test_import_aiovirt_is_light(installed: Installed) -> None:
    heavy = ["trio", "pyroute2", "pyudev", "qemu", "uvloop"]
    done = installed.run("python", "-W", "error", "-c", f"import sys, aiovirt; print(sorted(set({heavy}) & set(sys.modules)))")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


NO_LINUX = """
import os, signal, socket, sys
del os.pidfd_open, os.memfd_create, os.getrandom, os.sched_getaffinity
del socket.AF_NETLINK, socket.NETLINK_ROUTE, signal.pidfd_send_signal
sys.modules.update(dict.fromkeys(["pyroute2", "pyudev"]))
sys.platform = "darwin"
sys.argv = ["aiovirt", "-c", "test:///default", "list", "--all"]
from aiovirt.cli.main import main
sys.exit(main())
"""


def test_the_test_domain_needs_nothing_that_only_linux_has(installed: Installed) -> None:
    done = installed.run("python", "-c", NO_LINUX)
    assert (done.returncode, done.stderr) == (0, "")
    assert "test" in done.stdout.split()
