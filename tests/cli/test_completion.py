"""Completion, in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiovirt.cli.main import main
from aiovirt.cli.verb import all_verbs

PATIENCE = 60
SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The scripts, and an aiovirt on the path that has a domain of an evil name."""
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    program = tmp_path / "bin/aiovirt"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\necho \"$*\" >>{tmp_path}/asked\nprintf '%s\\n' web 'wide name' '$(touch hacked)' '`touch hacked`' '\"; touch hacked'\n"
    )
    program.chmod(0o700)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


BASH = """
source ./bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_aiovirt
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(folder: Path, *words: str) -> list[str]:
    command = ["bash", "--norc", "-c", BASH, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment(folder))
    return done.stdout.split("\n")[:-1]


def fish(folder: Path, *words: str) -> list[str]:
    command = ["fish", "--no-config", "-c", "source ./fish; complete -C $argv[1]", " ".join(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment(folder))
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def zsh(folder: Path, *words: str) -> list[str]:
    """What one finds in the line, or what is offered where nothing is typed yet: at a terminal, as completion works nowhere else."""
    master, slave = pty.openpty()
    process = subprocess.Popen(["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment(folder))
    os.close(slave)
    said = b""

    def until(text: bytes) -> None:
        nonlocal said
        deadline = time.monotonic() + PATIENCE
        while text not in said:
            assert time.monotonic() < deadline, said
            if select.select([master], [], [], 1)[0]:
                said += os.read(master, 4096)

    # What is typed before zsh has taken the terminal over is the terminal's to edit: it waits for a prompt, which comes after that.
    setup = (
        "unsetopt zle_bracketed_paste; autoload -Uz compinit && compinit -u -D && source ./zsh\n"
        'compadd() { builtin compadd -A offered "$@"; print -rl -- $offered >>offered; }\n'
        "_offer() { _main_complete; print -n fin''ished; }\n"
        "zle -C offer complete-word _offer; bindkey '^I' offer\n"
        "PS1=rea''dy\n"
    )
    try:
        os.write(master, setup.encode())
        until(b"ready")
        os.write(master, " ".join(words).encode() + b"\t")
        until(b"finished")
    finally:
        process.kill()
        process.wait()
        os.close(master)
    found = (folder / "offered").read_text().splitlines()
    return found if not words[-1] else found[-1].split()


@pytest.mark.parametrize("complete", [bash, fish, zsh])
def test_verbs_options_and_domains_are_offered(complete: object, folder: Path) -> None:
    assert callable(complete)
    assert "suspend" in complete(folder, "aiovirt", "susp")
    assert "suspend" in complete(folder, "aiovirt", "-c", "test:///default", "susp")
    assert "--state-running" in complete(folder, "aiovirt", "list", "--state-r")
    assert "--force" not in complete(folder, "aiovirt", "list", "--forc")
    assert "web" in complete(folder, "aiovirt", "-c", "test:///default", "suspend", "we")
    assert "-c test:///default --timeout 2 list --all --name" in (folder / "asked").read_text()


@pytest.mark.parametrize("complete", [bash, fish, zsh])
def test_no_shell_evaluates_a_name(complete: object, folder: Path) -> None:
    assert callable(complete)
    offered = complete(folder, "aiovirt", "suspend", "")
    assert len([name for name in offered if "hacked" in name]) == 3
    assert not (folder / "hacked").exists()


def test_every_verb_is_in_every_shells(folder: Path) -> None:
    for shell in SHELLS:
        text = (folder / shell).read_text()
        assert [name for name in all_verbs() if name not in text] == []
    for command in (["bash", "-n", "bash"], ["zsh", "-n", "zsh"], ["fish", "--no-execute", "fish"]):
        subprocess.run(command, check=True, cwd=folder)


def test_what_is_asked_by_completion_is_answered() -> None:
    for words in (["list", "--all", "--name"], ["nodedev-list", "-q"]):
        command = [sys.executable, "-m", "aiovirt", "-c", "test:///default", "--timeout", "20", *words]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
