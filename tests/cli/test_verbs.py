"""Verbs are declared once each, in the file of their group; what is no verb is told what to say instead."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from argparse import Namespace
from uuid import UUID

import pytest

from aiovirt.cli import verb, views, virsh
from aiovirt.cli.main import main
from aiovirt.cli.output import Output
from aiovirt.cli.parser import parse
from aiovirt.cli.verb import all_verbs, find_verb
from aiovirt.errors import InvalidArgument, NoSuchDomain
from aiovirt.model.state import DomainState, Reason
from aiovirt.model.view import DomainView
from tests.support.command import TEST, run

NEWER = {
    "await",
    "net-desc",
    "net-metadata",
    "hypervisor-cpu-models",
    "nodedev-update",
    "domthrottlegroupset",
    "domthrottlegroupdel",
    "domthrottlegroupinfo",
    "domthrottlegrouplist",
}
"""Than the virsh that is installed with Debian 12."""


def virshs_groups() -> dict[str, set[str]]:
    """The verbs of the virsh that is here, as it lists them."""
    said = subprocess.run(["virsh", "help"], capture_output=True, text=True, check=True).stdout
    groups: dict[str, set[str]] = {}
    for line in said.splitlines():
        if found := re.match(r" .*\(help keyword '(\w+)'\):", line):
            groups[found[1]] = set()
        elif line.startswith("    "):
            groups[list(groups)[-1]].add(line.split()[0])
    return groups


def test_virshs_verbs_are_known_by_its_groups() -> None:
    groups = virshs_groups()
    ours = {group: {name for name in virsh.names() if virsh.group_of(name) == group} for group in groups}
    hidden = {"nodedev-dettach"}  # an alias
    assert {group: names - NEWER - hidden for group, names in ours.items()} == {group: names - NEWER for group, names in groups.items()}
    assert len(virsh.names() - {"cd", "echo", "exit", "help", "pwd", "quit"}) == 278
    assert set(groups) | {virsh.OWN} == set(virsh.TITLES)


def test_every_verb_is_in_the_file_of_its_group() -> None:
    """And the verbs are those that are there: nothing lists them."""
    for each in all_verbs().values():
        assert each.group == virsh.group_of(each.name)
        assert (each.run is None) != (each.local is None)
        assert each.text[0].islower()
        assert not each.text.endswith(".")
    with pytest.raises(ValueError, match=r"the verb net-list belongs into verbs/network.py, by virsh's manual"):
        verb.local("net-list", "list the networks")(in_no_group)


def in_no_group(args: Namespace, out: Output) -> int:
    raise NotImplementedError


LOADED = """
import sys
from aiovirt.cli.main import main
main(sys.argv[1:])
print(*sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("aiovirt.cli.verbs.")))
"""


@pytest.mark.parametrize(("name", "group"), [("list", "monitor"), ("suspend", "domain"), ("nodedev-list", "nodedev"), ("uri", "host")])
def test_only_the_group_that_was_named_is_loaded(name: str, group: str) -> None:
    arguments = ["test"] if name == "suspend" else []
    command = [sys.executable, "-c", LOADED, *TEST, name, *arguments]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == group


def test_what_lists_domains_at_a_glance_loads_no_order_and_no_loop() -> None:
    script = "import sys, aiovirt.cli.main, aiovirt.cli.views, aiovirt.engine.glance; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiovirt.model.orders", "asyncio", "anyio", "trio", "lxml", "unicodedata"} & set(loaded)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Usage, status 2, and the one line that says why."""
    with pytest.raises(SystemExit) as left:
        main([*TEST, *words])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: aiovirt ")
    return said.splitlines()[-1].removeprefix("aiovirt: error: ")


@pytest.mark.parametrize("name", sorted(virsh.names()))
def test_a_verb_of_virsh_is_here_or_said_not_to_be(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if find_verb(name) is None:
        said = fails(capsys, name)
        assert re.fullmatch(rf"virsh's {name} is not in aiovirt(?: yet|; .+ does it)", said)


def test_what_does_the_work_of_a_verb_that_is_not_here_is_there() -> None:
    for name, instead in virsh._INSTEAD.items():
        assert find_verb(name) is None, name
        if instead.startswith("aiovirt "):
            assert find_verb(instead.split()[1]) is not None, instead


@pytest.mark.parametrize(
    ("typo", "said"),
    [
        ("lst", "there is no verb 'lst'; did you mean list?"),
        ("suspned", "there is no verb 'suspned'; did you mean suspend?"),
        ("snapshot-lst", "there is no verb 'snapshot-lst'; did you mean snapshot-list?"),
        ("xyzzy", "there is no verb 'xyzzy'; aiovirt help lists the verbs"),
        ("net-list", "virsh's net-list is not in aiovirt yet"),
        ("await", "virsh's await is not in aiovirt; aiovirt wait does it"),
    ],
)
def test_what_is_no_verb_is_told_what_may_be_meant(typo: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, typo) == said


# -- before or after the verb ------------------------------------------------------------------

COMMON = [
    ["-c", "test:///other"],
    ["-ctest:///other"],
    ["--connect=test:///other"],
    ["--conn", "test:///other"],
    ["-q"],
    ["--quiet"],
    ["-r"],
    ["-rq"],
    ["-rqc", "test:///other"],
    ["--json"],
    ["--timeout", "7"],
    ["--timeout=7"],
    ["--backend", "trio"],
]


@pytest.mark.parametrize("words", COMMON, ids=" ".join)
@pytest.mark.parametrize("verb", [["domstate", "test"], ["list", "--all"], ["event", "--loop"]], ids=" ".join)
def test_common_options_stand_before_or_after_the_verb(words: list[str], verb: list[str]) -> None:
    def told(arguments: Namespace) -> dict[str, object]:
        return vars(arguments) | {"timeout": arguments.timeout.seconds}

    before, after, between = parse([*words, *verb]), parse([*verb, *words]), parse([verb[0], *words, *verb[1:]])
    assert told(before) == told(after) == told(between)
    assert told(before) != told(parse(verb))


@pytest.mark.parametrize("words", [["--all", "list"], ["-x", "list"], ["--domain", "test", "suspend"], ["-c"], ["--t", "list"]])
def test_what_is_no_common_option_does_not_stand_before_the_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, *words)


@pytest.mark.parametrize("words", [["list"], ["list", "--all"], ["domstate", "test"], ["list", "--name"], ["suspend", "test"]])
def test_quiet_is_virshs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    virshs = subprocess.run(["virsh", "-q", *TEST, *words], capture_output=True, text=True, check=True).stdout
    assert run(capsys, "-q", *words) == (0, virshs, "")


@pytest.mark.parametrize("name", sorted(name for name, each in all_verbs().items() if not each.reads))
def test_readonly_refuses_what_changes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed = [each for each in all_verbs()[name].arguments if each.is_positional and each.keywords.get("nargs") in {None, "+"}]
    status, out, err = run(capsys, "-r", name, *["test" for _ in needed])
    assert (status, out) == (1, "")
    assert err == f"error: operation forbidden: read only access prevents {name}\n"
    assert run(capsys, "list", "--name")[1] == "test\n"


def test_readonly_lets_the_others_through(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list"], ["domstate", "test"], ["dominfo", "test"], ["dumpxml", "test"], ["nodedev-list"]):
        assert run(capsys, "-r", *words)[0] == 0


# -- domains -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["test", "1", "6695eb01-f6a4-8304-79aa-97f2502e193f", "6695EB01-F6A4-8304-79AA-97F2502E193F"])
@pytest.mark.parametrize("name", ["domstate", "dominfo", "dumpxml", "suspend"])
def test_a_domain_is_named_by_name_id_or_uuid(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, name, text)[0] == 0
    assert run(capsys, name, "--domain", text)[0] == 0, "virsh's other spelling"
    assert run(capsys, name, f"--domain={text}")[0] == 0


def view(name: str, number: int, *, id: int | None = None) -> DomainView:  # noqa: A002 - libvirt's word
    return DomainView(
        uuid=UUID(int=number),
        name=name,
        id=id,
        persistent=True,
        state=DomainState.SHUTOFF if id is None else DomainState.RUNNING,
        reason=Reason.UNKNOWN,
        monitor=None,
        as_of="",
    )


def test_an_id_that_is_another_ones_name_is_refused() -> None:
    web, one = view("web", 1, id=1), view("1", 2)
    assert views.find([web], "1") is web
    assert views.find([one], "1") is one
    with pytest.raises(InvalidArgument, match="'1' is a domain's name, and the id of 'web': their uuids tell them apart"):
        views.find([web, one], "1")
    assert views.find([web, one], str(one.uuid)) is one
    with pytest.raises(NoSuchDomain):
        views.find([web, one], "2")


@pytest.mark.parametrize("words", [["event", "test", "lifecycle"], ["event", "--domain", "test", "--event", "lifecycle"]])
def test_domains_and_events_may_be_told_by_their_place(words: list[str]) -> None:
    arguments = parse(words)
    assert (arguments.domain, arguments.event) == ("test", ["lifecycle"])


def test_every_verbs_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for name in all_verbs():
        with pytest.raises(SystemExit) as left:
            main([name, "--help"])
        assert left.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: aiovirt {name} ")


def test_json_stays_json_when_it_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "-q", "--json", "suspend", "test")[1])["result"] == "suspended"


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--version"], ["-v"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"aiovirt {importlib.metadata.version('aiovirt')}\n"
