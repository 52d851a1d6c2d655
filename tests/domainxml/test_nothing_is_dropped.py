"""For every element of every document: what is put there and not understood is refused, not dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree

from aiovirt.domainxml import parse
from aiovirt.errors import ConfigUnsupported, XMLInvalid
from tests.domainxml.documents import FULL, SMALL, libvirt

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = {"full": FULL, "small": SMALL, "pc": libvirt("pc"), "q35": libvirt("q35")}
TEXT = {"name", "title", "description", "kernel", "initrd", "cmdline", "emulator"}
SEVERAL = {"boot", "disk", "controller", "serial", "console", "input", "audio", "memballoon"}


def places() -> Iterator[object]:
    """(document, number of an element in it), save for what is inside <metadata>, which is kept."""
    for name, xml in DOCUMENTS.items():
        for number, element in enumerate(etree.fromstring(xml.encode()).iter()):
            if not any(parent.tag == "metadata" for parent in element.iterancestors()):
                yield pytest.param(xml, number, id=f"{name}-{number}-{element.tag}")


PLACES = list(places())


def element_at(xml: str, number: int) -> etree._Element:
    return list(etree.fromstring(xml.encode()).iter())[number]


def whole(element: etree._Element) -> bytes:
    return etree.tostring(element.getroottree())


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_an_attribute(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.set("surprise", "1")

    with pytest.raises(ConfigUnsupported, match="/@surprise"):
        parse(whole(element))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_an_attribute_of_another_namespace(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.set("{urn:other}type", "kvm")

    with pytest.raises(ConfigUnsupported, match=r"/@\{urn:other\}type"):
        parse(whole(element))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_a_child(xml: str, number: int) -> None:
    element = element_at(xml, number)
    etree.SubElement(element, "surprise")

    if element.tag == "metadata":
        assert "<surprise" in str(parse(whole(element)).metadata)
    else:
        with pytest.raises(ConfigUnsupported, match="/surprise"):
            parse(whole(element))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_a_text(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.text = (element.text or "") + "surprise"

    if element.tag in TEXT:
        assert parse(whole(element)) != parse(xml)
    else:
        with pytest.raises((XMLInvalid, ConfigUnsupported)):
            parse(whole(element))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_an_element_twice(xml: str, number: int) -> None:
    element = element_at(xml, number)
    parent = element.getparent()
    if parent is None or element.tag in SEVERAL:
        return
    parent.append(etree.fromstring(etree.tostring(element, with_tail=False)))

    with pytest.raises(XMLInvalid, match="it is there twice"):
        parse(whole(element))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_but_a_comment_changes_nothing(xml: str, number: int) -> None:
    element = element_at(xml, number)
    if element.tag == "metadata":
        return
    element.append(etree.Comment("no surprise"))

    assert parse(whole(element)) == parse(xml)
