"""What is rendered is read back as it was, and what is read never ends in any but two errors."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiovirt.errors import ConfigUnsupported, XMLInvalid
from aiovirt.libvirtxml import parse, render
from aiovirt.model.spec import DomainSpec
from tests.libvirtxml.documents import FULL, SMALL, libvirt
from tests.libvirtxml.specs import domains

TOKENS = ["<", ">", "/>", "'", "&", "&#0;", "&lt;", "<!--", "-->", "<![CDATA[", "]]>", "\0", "-1", "0", "9" * 30, "\ud800", "é", "<x/>"]


@given(domains)
def test_what_is_rendered_is_read_back(spec: DomainSpec) -> None:
    text = render(spec)

    assert parse(text) == spec
    assert parse(text.encode()) == spec


@given(domains, st.integers(0, 2**31))
def test_id_changes_only_the_first_tag(spec: DomainSpec, number: int) -> None:
    text = render(spec, id=number)

    assert parse(text) == spec
    assert text.replace(f" id='{number}'", "", 1) == render(spec)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from([FULL, SMALL, libvirt("pc"), libvirt("test-default")]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.sampled_from([*TOKENS, text[start:end] * 2, ""])) + text[end:]
    return text


def outcome(xml: str | bytes) -> DomainSpec | XMLInvalid | ConfigUnsupported:
    try:
        return parse(xml)
    except (XMLInvalid, ConfigUnsupported) as error:
        return error


@settings(max_examples=500)
@given(mutations() | st.text() | st.binary())
@example("")
@example(b"\xff\xfe<\x00d\x00o\x00m\x00a\x00i\x00n\x00/\x00>\x00")
def test_anything_is_a_domain_or_one_of_two_errors(xml: str | bytes) -> None:
    found = outcome(xml)

    if isinstance(found, DomainSpec):
        assert parse(render(found)) == found


@given(mutations().map(lambda text: text.encode(errors="surrogatepass")))
def test_bytes_are_a_domain_or_one_of_two_errors(xml: bytes) -> None:
    assert isinstance(outcome(xml), DomainSpec | XMLInvalid | ConfigUnsupported)
