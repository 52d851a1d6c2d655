"""``aiovirt edit``: real editors, which are programs; nothing that was typed is lost."""

from __future__ import annotations

import io
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import aiovirt
from aiovirt import DomainSpec
from aiovirt.cli import editing
from aiovirt.cli.output import Output
from aiovirt.cli.parser import parse
from aiovirt.errors import InvalidArgument, OperationFailed, SystemFailure, XMLInvalid
from aiovirt.model.units import MiB
from aiovirt.system.foreground import run_in_foreground

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[aiovirt.Host]:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with aiovirt.connect("test:///default") as connected:
        await connected.define(DomainSpec(name="web", memory=64 * MiB))
        yield connected


@pytest.fixture
def asked() -> list[str]:
    """What was asked, in turn."""
    return []


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Callable[..., None]:
    """Who sits at the terminal, and what they answer, in turn."""

    def answer(*words: str) -> None:
        left = list(words)

        async def ask(question: str) -> str | None:
            asked.append(question)
            return left.pop(0) if left else None

        monkeypatch.setattr(editing, "ask", ask)

    return answer


async def edit(host: aiovirt.Host, *words: str) -> str:
    stream = io.StringIO()
    await editing.edit(host, parse(["edit", "web", *words]), Output(json=False, stream=stream))
    return stream.getvalue()


def kept(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("aiovirt-*.xml"))


async def test_what_is_edited_is_defined(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDITOR", "sed -i 's/65536/131072/'")
    assert await edit(host) == "Domain 'web' XML configuration edited.\n"
    assert (await host.domain("web").spec()).memory == 128 * MiB
    assert kept(tmp_path) == []


async def test_what_is_not_changed_is_not_defined(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDITOR", "true")
    before = host.events.cursor
    assert await edit(host) == "Domain 'web' XML configuration not changed.\n"
    assert host.events.cursor == before
    assert kept(tmp_path) == []


async def test_an_editor_is_words_and_no_shell(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "made"
    monkeypatch.setenv("EDITOR", f"true; touch '{made}'")
    with pytest.raises(SystemFailure, match="cannot run 'true;'"):
        await edit(host)
    assert not made.exists()
    monkeypatch.setenv("VISUAL", "'unclosed")
    with pytest.raises(InvalidArgument, match="is no command"):
        await edit(host)
    monkeypatch.setenv("VISUAL", "/no/such/editor --wait")
    with pytest.raises(SystemFailure, match="cannot run '/no/such/editor': No such file"):
        await edit(host)


async def test_the_file_is_ours_alone(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDITOR", "false")
    with pytest.raises(OperationFailed, match="the editor 'false' ended with status 1"):
        await edit(host)
    (file,) = kept(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == await host.domain("web").xml(inactive=True)


WRONG_THEN_RIGHT = """#!/bin/sh
if grep -q 65536 "$1"; then sed -i 's/65536/much/' "$1"; else sed -i 's/much/131072/' "$1"; fi
"""


@pytest.fixture
def wrong_then_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(WRONG_THEN_RIGHT)
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))


@pytest.mark.usefixtures("wrong_then_right")
async def test_what_is_wrong_is_edited_again(
    host: aiovirt.Host, answers: Callable[..., None], asked: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answers("?", "y")
    assert await edit(host) == "Domain 'web' XML configuration edited.\n"
    assert (await host.domain("web").spec()).memory == 128 * MiB
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("error: ")
    assert "line " in said[0]
    assert said[1:] == [
        "y - yes, start editor again",
        "n - no, throw away my changes",
        "i - turn off validation and try to redefine again",
        "f - force, try to redefine again",
        "? - print this help",
    ]
    assert asked == ["Failed. Try again? [y,n,i,f,?]:"] * 2
    assert kept(tmp_path) == []


UNKNOWN = "sed -i 's|</domain>|<surprise/></domain>|'"


@pytest.mark.parametrize("answer", ["i", "f"])
async def test_what_libvirt_does_not_know_is_taken_where_validation_is_turned_off(
    host: aiovirt.Host, answers: Callable[..., None], asked: list[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setenv("EDITOR", UNKNOWN)
    answers(answer)
    if answer == "i":
        assert await edit(host) == "Domain 'web' XML configuration edited.\n"
        assert (await host.domain("web").spec(inactive=True)).unknown() == ("/domain/surprise",)
        assert len(asked) == 1
    else:  # it overwrites what others did meanwhile, and validates all the same
        with pytest.raises(XMLInvalid, match="libvirt has nothing of this name"):
            await edit(host)
        assert len(asked) == 2


async def test_validation_can_be_skipped(
    host: aiovirt.Host, answers: Callable[..., None], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", UNKNOWN)
    answers()
    assert await edit(host, "--skip-validate") == "Domain 'web' XML configuration edited.\n"
    assert asked == []
    monkeypatch.setenv("EDITOR", "sed -i 's/65536/much/'")
    with pytest.raises(XMLInvalid):
        await edit(host, "--skip-validate")
    assert asked == ["Failed. Try again? [y,n,f,?]:"], "there is nothing to turn off"


async def test_what_is_known_and_not_to_be_had_is_said_whatever_is_answered(
    host: aiovirt.Host, answers: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "sed -i 's|</domain>|<iothreads>1</iothreads></domain>|'")
    answers("i")
    with pytest.raises(aiovirt.ConfigUnsupported):
        await edit(host)
    assert capsys.readouterr().err.count("/domain/iothreads") == 2
    assert (await host.domain("web").spec(inactive=True)).memory == 64 * MiB


@pytest.mark.usefixtures("wrong_then_right")
async def test_what_is_wrong_is_kept_where_nobody_is_asked(
    host: aiovirt.Host, capsys: pytest.CaptureFixture[str], answers: Callable[..., None], tmp_path: Path
) -> None:
    answers()
    with pytest.raises(XMLInvalid):
        await edit(host)
    (file,) = kept(tmp_path)
    assert "much" in file.read_text()
    assert capsys.readouterr().err.splitlines()[-1] == f"note: the edited XML is kept in {file}"
    assert (await host.domain("web").spec()).memory == 64 * MiB


@pytest.mark.usefixtures("wrong_then_right")
async def test_changes_are_thrown_away_only_where_that_is_said(host: aiovirt.Host, answers: Callable[..., None], tmp_path: Path) -> None:
    answers("n")
    with pytest.raises(OperationFailed, match="the changes are thrown away"):
        await edit(host)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("answer", "memory"), [("f", 128), ("n", 256)])
async def test_what_was_changed_meanwhile_is_not_overwritten_unasked(
    host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, answers: Callable[..., None], answer: str, memory: int
) -> None:
    monkeypatch.setenv("EDITOR", "sed -i 's/65536/131072/'")

    async def somebody_else_is_quicker(command: list[str]) -> int:
        text = await host.domain("web").xml(inactive=True)
        await host.define(text.replace("65536", "262144"))
        return await run_in_foreground(command)

    monkeypatch.setattr(editing, "run_in_foreground", somebody_else_is_quicker)
    answers(answer)
    if answer == "f":
        await edit(host)
    else:
        with pytest.raises(OperationFailed):
            await edit(host)
    assert (await host.domain("web").spec(inactive=True)).memory == memory * MiB


async def test_a_domain_that_is_gone_meanwhile_costs_no_text(
    host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch, answers: Callable[..., None], tmp_path: Path
) -> None:
    monkeypatch.setenv("EDITOR", "sed -i 's/65536/131072/'")

    async def it_is_undefined(command: list[str]) -> int:
        await host.domain("web").undefine()
        return await run_in_foreground(command)

    monkeypatch.setattr(editing, "run_in_foreground", it_is_undefined)
    answers()
    with pytest.raises(aiovirt.NoSuchDomain):
        await edit(host)
    (file,) = kept(tmp_path)
    assert "131072" in file.read_text()
