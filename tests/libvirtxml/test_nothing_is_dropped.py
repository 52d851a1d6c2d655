"""For every element of every document: what is put there comes back. What libvirt knows and we do not is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from aiovirt.errors import ConfigUnsupported, XMLInvalid
from aiovirt.libvirtxml import parse, render
from tests.libvirtxml.documents import FULL, SMALL, libvirt

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = {"full": FULL, "small": SMALL, "pc": libvirt("pc"), "q35": libvirt("q35")}
TEXT = {"name", "title", "description", "kernel", "initrd", "cmdline", "emulator"}
SEVERAL = {"boot", "disk", "controller", "serial", "console", "input", "audio", "memballoon"}
TWINS = {"console", "memballoon"}
"""What is not kept as it stands: another name of the first serial port, and that there is no balloon."""


def places() -> Iterator[object]:
    """(document, number of an element in it), save for what is inside <metadata>, which is kept anyway."""
    for name, xml in DOCUMENTS.items():
        for number, element in enumerate(etree.fromstring(xml.encode()).iter()):
            if not any(parent.tag == "metadata" for parent in element.iterancestors()):
                yield pytest.param(xml, number, id=f"{name}-{number}-{element.tag}")


PLACES = list(places())


def element_at(xml: str, number: int) -> etree._Element:
    return list(etree.fromstring(xml.encode()).iter())[number]


def whole(element: etree._Element) -> bytes:
    return etree.tostring(element.getroottree())


def path_of(element: etree._Element) -> str:
    return "/" + "/".join([*reversed([str(above.tag) for above in element.iterancestors()]), str(element.tag)])


def comes_back(element: etree._Element, step: str) -> None:
    """It is listed, written in its place, and read again as the same."""
    spec = parse(whole(element))
    (place,) = spec.unknown()
    assert re.sub(r"\[\d+\]", "", place) == f"{path_of(element)}/{step}"
    text = render(spec)
    assert parse(text).unknown() == spec.unknown()
    assert render(parse(text)) == text
    with pytest.raises(XMLInvalid, match="libvirt has nothing of this name") as invalid:
        parse(whole(element), validate=True)
    assert invalid.value.path == f"{path_of(element)}/{step}"


def is_a_twin(element: etree._Element) -> bool:
    return any(each.tag in TWINS for each in (element, *element.iterancestors()))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_an_attribute(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.set("surprise", "it's <1>")
    if is_a_twin(element):
        return
    comes_back(element, "@surprise")
    assert "surprise='it&apos;s &lt;1&gt;'" in render(parse(whole(element)))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_an_attribute_of_another_namespace(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.set("{urn:other}type", "kvm")
    if not is_a_twin(element):
        comes_back(element, "@{urn:other}type")


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_a_child(xml: str, number: int) -> None:
    element = element_at(xml, number)
    surprise = etree.SubElement(element, "surprise")
    surprise.text = "kept"
    if element.tag == "metadata":
        assert "<surprise" in str(parse(whole(element)).metadata)
    elif not is_a_twin(element):
        comes_back(element, "surprise")
        assert "<surprise>kept</surprise>" in render(parse(whole(element)))


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_a_child_stands_where_it_stood(xml: str, number: int) -> None:
    element = element_at(xml, number)
    if element.tag in {"domain", "devices"}:
        for index in range(0, len(element), 3):
            other = element_at(xml, number)
            other.insert(index, etree.Element("surprise"))
            after = [child.tag for child in element_at(render(parse(whole(other))), 0).iter() if child.tag == "surprise"]
            assert after == ["surprise"]
            spec = parse(whole(other))
            assert parse(render(spec)) == spec


@pytest.mark.parametrize(
    ("xml", "path"),
    [
        ("<iothreads>1</iothreads>", "/domain/iothreads"),
        ("<features><hap/></features>", "/domain/features/hap"),
        ("<devices><tpm model='tpm-tis'/></devices>", "/domain/devices/tpm"),
        ("<devices><disk><source file='/d' index='1'/><target dev='vda'/></disk></devices>", "/domain/devices/disk/source/@index"),
        (
            "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>",
            "/domain/{http://libvirt.org/schemas/domain/qemu/1.0}commandline",
        ),
    ],
)
def test_what_libvirt_knows_is_refused(xml: str, path: str) -> None:
    with pytest.raises(ConfigUnsupported) as refused:
        parse(SMALL.replace("</domain>", f"{xml}</domain>"))
    assert [place.path for place in refused.value.places] == [path]


@pytest.mark.parametrize(("xml", "number"), PLACES)
def test_a_text(xml: str, number: int) -> None:
    element = element_at(xml, number)
    element.text = (element.text or "") + "surprise"

    if element.tag in TEXT or path_of(element) == "/domain/cpu/model":
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
