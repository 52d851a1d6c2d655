from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.hostdev.port_names import PortKind, PortName, parse_port_name

UPLINK, PF, VF, SF = PortKind.UPLINK, PortKind.PF, PortKind.VF, PortKind.SF


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("p0", PortName(kind=UPLINK, number=0)),
        ("p17", PortName(kind=UPLINK, number=17)),
        ("p0s3", PortName(kind=UPLINK, number=0, sub=3)),
        ("l2p1", PortName(kind=UPLINK, number=1, line_card=2)),
        ("l2p1s0", PortName(kind=UPLINK, number=1, sub=0, line_card=2)),
        ("pf0", PortName(kind=PF, number=0)),
        ("c1pf1", PortName(kind=PF, number=1, controller=1)),
        ("pf0vf3", PortName(kind=VF, number=0, sub=3)),
        ("c1pf0vf127", PortName(kind=VF, number=0, sub=127, controller=1)),
        ("pf1sf88", PortName(kind=SF, number=1, sub=88)),
        ("c0pf1sf88", PortName(kind=SF, number=1, sub=88, controller=0)),
    ],
)
def test_a_name_is_taken_apart(text: str, name: PortName) -> None:
    assert parse_port_name(text) == name
    assert name.is_representor == ("pf" in text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "p",
            "s0",
            "0",
            "p-1",
            "p+1",
            "p 1",
            " p1",
            "p1 ",
            "p1\n",
            "P1",
            "p1s",
            "p1s0s0",
            "p01",
            "p1s00",
            "p\u0661",
            "p1vf0",
            "p1sf0",
        ),
        *("pf", "pfvf1", "pf0vf", "pf0vf01", "pf0vf1sf2", "pf0s1", "cpf0", "c1p0", "c1", "c1pf0 ", "l1", "l1pf0", "l1c1p0", "pf0VF1"),
        *("sby", "n0", "sw1p1", "p0pf0vf1", "wan", "p" + "9" * 11, "p0s" + "1" * 5000),
    ],
)
def test_other_names_are_none(text: str) -> None:
    assert parse_port_name(text) is None


numbers = st.integers(0, 2**32 - 1)
maybe = st.none() | numbers
uplinks = st.builds(PortName, kind=st.just(UPLINK), number=numbers, sub=maybe, line_card=maybe)
pfs = st.builds(PortName, kind=st.just(PF), number=numbers, controller=maybe)
functions = st.builds(PortName, kind=st.sampled_from([VF, SF]), number=numbers, sub=numbers, controller=maybe)


@given(uplinks | pfs | functions)
def test_each_name_says_itself_again(name: PortName) -> None:
    assert parse_port_name(str(name)) == name


@given(st.text(max_size=20) | st.text("plcsfv0123456789\n ", max_size=12) | st.from_regex(r"c?[0-9]?pf?[0-9]+(vf|sf|s)?[0-9]*"))
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = parse_port_name(text)
    assert name is None or str(name) == text
