"""The verbs about the host, and those that print one word of a domain, beside virsh's."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.command import TEST, run

SAME = ["nodeinfo", "nodecpustats", "nodecpustats --cpu 1", "hostname", "uri", "domid test", "domname 1", "domuuid test", "domuuid 1"]


@pytest.mark.parametrize("words", SAME)
@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["", "quiet"])
def test_it_is_what_virsh_prints(words: str, quiet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["virsh", *TEST, *quiet, *words.split()]
    virshs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert run(capsys, *quiet, *words.split()) == (0, virshs, "")


def test_versions_are_told_in_virshs_form(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "version")
    assert [line.split()[:3] for line in out.splitlines()[:3]] == [
        ["Using", "library:", "aiovirt"],
        ["Using", "API:", "TEST"],
        ["Running", "hypervisor:", "TEST"],
    ]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("uri", {"uri": "test:///default"}),
        ("nodeinfo", {"model": "i686", "memory": 3 << 30, "cpus": 16, "mhz": 1400, "nodes": 2, "sockets": 2, "cores": 2, "threads": 2}),
        ("nodecpustats", {"user": 9797400000, "system": 34678723400000, "idle": 87264900000, "iowait": 763600000}),
    ],
)
def test_programs_get_an_object(words: str, value: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = run(capsys, "--json", *words.split())[1].splitlines()
    assert json.loads(line) == value


def test_programs_get_a_domain_and_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "--json", "domid", "test")[1])["id"] == 1
    assert json.loads(run(capsys, "--json", "version")[1]).keys() == {"aiovirt", "hypervisor", "version"}
    assert json.loads(run(capsys, "--json", "hostname")[1]).keys() == {"hostname"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("nodememstats", 1, "error: the machine of test:///default has no memory statistics\n"),
        ("nodecpustats --cpu 16", 1, "error: there is no CPU 16 that is online\n"),
        ("domid nobody", 4, "error: no domain has the name, id or uuid 'nobody'\n"),
    ],
)
def test_what_there_is_not(words: str, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *words.split()) == (status, "", said)
