"""docs/aiovirt.1 is what its generator makes of the verbs as they are now, and man(1) has nothing to say against it."""

from __future__ import annotations

import os
import subprocess

import pytest

from aiovirt.cli.verb import Verb, all_verbs
from docs import generate_man

TEXT = generate_man.FILE.read_text(encoding="utf-8")


def test_it_is_up_to_date() -> None:
    assert generate_man.render() == TEXT, "make docs"


@pytest.fixture(scope="module")
def shown() -> str:
    environment = os.environ | {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": "", "GROFF_NO_SGR": "1"}
    done = subprocess.run(["man", "--warnings", "-l", generate_man.FILE], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", all_verbs().values(), ids=lambda verb: verb.name)
def test_every_verb_is_there_with_all_it_takes(verb: Verb, shown: str) -> None:
    assert " ".join((verb.text[0].upper() + verb.text[1:] + ".").split()) in shown
    for each in verb.arguments:
        if each.keywords["help"] != "==SUPPRESS==":
            assert " ".join(each.keywords["help"].split()).replace("…", "...") in shown
            assert each.is_positional or each.names[0] in shown


def test_what_roff_would_take_for_a_request_is_text() -> None:
    assert generate_man._text(".so /etc/passwd") == r"\&.so /etc/passwd"
    assert generate_man._text("'s") == r"\&\(aqs"
    assert generate_man._text(r"a\b-c^]") == r"a\eb\-c\(ha]"
