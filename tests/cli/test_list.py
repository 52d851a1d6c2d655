"""``aiovirt list`` and ``domblklist``: which domains, and what of them."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import AsyncIterator

import pytest

import aiovirt
from aiovirt import Disk, DomainSpec
from aiovirt.cli import views
from aiovirt.cli.main import main
from aiovirt.cli.output import Output
from aiovirt.cli.parser import parse
from aiovirt.errors import InvalidArgument
from aiovirt.model.units import MiB

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.fixture
async def host() -> AsyncIterator[aiovirt.Host]:
    """test: running, started with the host. web: shut off. paused: that, and transient."""
    async with aiovirt.connect("test:///default") as connected:
        await connected.domain("test").set_autostart()
        await connected.define(DomainSpec(name="web", memory=64 * MiB, title="the 東京 one"))
        await connected.create(DomainSpec(name="paused", memory=64 * MiB), paused=True)
        yield connected


async def listed(host: aiovirt.Host, *words: str) -> str:
    return await said(host, "list", *words)


async def said(host: aiovirt.Host, *words: str) -> str:
    stream = io.StringIO()
    args = parse(words)
    assert args.verb.run is not None
    await args.verb.run(host, args, Output(json=args.json, quiet=args.quiet, stream=stream))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "paused test"),
        ("--all", "paused test web"),
        ("--inactive", "web"),
        ("--persistent", "test"),
        ("--persistent --all", "test web"),
        ("--transient", "paused"),
        ("--autostart", "test"),
        ("--autostart --inactive", ""),
        ("--no-autostart --all", "paused web"),
        ("--state-running", "test"),
        ("--state-paused", "paused"),
        ("--state-shutoff", "web"),
        ("--state-other", ""),
        ("--state-running --state-shutoff", "test web"),
        ("--state-paused --state-running --persistent", "test"),
        ("--state-running --inactive", ""),
    ],
)
async def test_which_are_listed(host: aiovirt.Host, words: str, names: str) -> None:
    assert (await listed(host, *words.split(), "--name")).split() == names.split()
    assert [json.loads(line)["name"] for line in (await listed(host, *words.split(), "--json")).splitlines()] == names.split()


async def test_what_is_asked_of_definitions_is_shown(host: aiovirt.Host) -> None:
    assert await listed(host, "--inactive", "--title") == (
        f" Id   Name   State      Title\n{'-' * 38}\n -    web    shut off   the 東京 one\n\n"
    )
    (line,) = (await listed(host, "--inactive", "--title", "--no-autostart", "--json")).splitlines()
    assert json.loads(line).items() >= {"name": "web", "title": "the 東京 one", "autostart": False}.items()


async def test_a_glance_is_taken_only_where_it_suffices(host: aiovirt.Host) -> None:
    seen = [domain.view for domain in host.domains()]
    for words, suffices in (("--all --name", True), ("--title", False), ("--autostart", False), ("--no-autostart", False)):
        stream = io.StringIO()
        args = parse(["list", *words.split()])
        assert views.list_at_a_glance(seen, args, Output(json=False, stream=stream)) is suffices
        assert (stream.getvalue() == await listed(host, *words.split())) is suffices


async def test_a_table_and_values_are_one_too_many(host: aiovirt.Host) -> None:
    with pytest.raises(InvalidArgument, match="Options --table and --name are mutually exclusive"):
        await listed(host, "--table", "--name")


async def test_disks_are_virshs_table(host: aiovirt.Host) -> None:
    """As virsh prints test:///default's own: it has one disk there."""
    disk = Disk(source="/guest/diskimage1", target="vda")
    await host.define(DomainSpec(name="virshs", memory=64 * MiB, devices=(disk,)))
    for words in ([], ["--details"]):
        command = ["virsh", "-c", "test:///default", "domblklist", "test", *words]
        virshs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ours = await said(host, "domblklist", "virshs", *words)
        assert ours.splitlines() == virshs.splitlines()
    (line,) = (await said(host, "domblklist", "virshs", "--json")).splitlines()
    assert json.loads(line) == {"type": "file", "device": "disk", "target": "vda", "source": "/guest/diskimage1"}
    assert await said(host, "domblklist", "web", "--json") == ""


VIRSHS = ["--title", "--id", "--id --name", "--uuid --name", "--uuid --id --name", "--state-paused", "--state-running", "--persistent"]
VIRSHS += ["--transient", "--table", "--autostart --all", "--no-autostart", "--inactive --id"]


@pytest.mark.parametrize("words", VIRSHS)
def test_the_form_is_virshs(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiovirt.system.commandlines.count_by_words", lambda *_: 0)
    assert main(["-c", "test:///default", "list", *words.split()]) == 0
    command = ["virsh", "-c", "test:///default", "list", *words.split()]
    virshs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours = capsys.readouterr().out
    assert [line.rstrip() for line in ours.rstrip().splitlines()] == [line.rstrip() for line in virshs.rstrip().splitlines()]
