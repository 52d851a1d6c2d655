"""The long form: every target for its share of AIOVIRT_FUZZ_SECONDS (600), by atheris where it is installed.

    python -m tests.fuzz.run [TARGET…]

What a target fails on is left as ``fuzz-TARGET-…`` in the folder this is run in; to see it again,
``python -m tests.fuzz.run TARGET FILE``. Without atheris, inputs are made by ``tests.fuzz.mutate``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

NAMES: Final = ("qmp", "message", "rtnetlink", "uevent", "libvirtxml", "attach")
SHARES: Final = {"qmp": 3, "message": 3}  # of the rest, 1 each


def main() -> int:
    """The exit status."""
    match sys.argv[1:]:
        case ["--one", name, seconds]:
            fuzz(name, float(seconds))
        case [name, file] if Path(file).is_file():
            importlib.import_module("tests.fuzz.targets").TARGETS[name](Path(file).read_bytes())
        case names:
            return run(names or NAMES)
    return 0


def run(names: tuple[str, ...] | list[str]) -> int:
    """Each in a process of its own: a fuzzer ends its process."""
    seconds = float(os.environ.get("AIOVIRT_FUZZ_SECONDS", "600")) / sum(SHARES.get(name, 1) for name in names)
    failed = []
    for name in names:
        share = SHARES.get(name, 1) * seconds
        print(f"{name}: {share:.0f} s", flush=True)
        if subprocess.run([sys.executable, "-m", __spec__.name, "--one", name, str(share)], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing found")
    return bool(failed)


def fuzz(name: str, seconds: float) -> None:
    """One target; does not return when something is found."""
    if importlib.util.find_spec("atheris") is None:
        mutate(name, seconds)
    else:
        by_coverage(name, seconds)


def by_coverage(name: str, seconds: float) -> None:
    """By atheris, which looks for inputs that reach new lines of ours."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["aiovirt"]):
        targets = importlib.import_module("tests.fuzz.targets")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={max(1, int(seconds))}", "-max_len=8192", "-timeout=30"]
        atheris.Setup(
            [sys.argv[0], *limits, "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix=fuzz-{name}-", corpus], targets.TARGETS[name]
        )
        atheris.Fuzz()


def mutate(name: str, seconds: float) -> None:
    """Without looking where they lead."""
    from tests.fuzz.mutate import mutations

    targets = importlib.import_module("tests.fuzz.targets")
    end = time.monotonic() + seconds
    for count, data in enumerate(mutations(targets.seeds(name), f"{name} {time.time_ns()}")):
        if time.monotonic() > end:
            print(f"{count} inputs")
            return
        try:
            targets.TARGETS[name](data)
        except BaseException:
            Path(f"fuzz-{name}-found").write_bytes(data)
            raise


if __name__ == "__main__":
    sys.exit(main())
