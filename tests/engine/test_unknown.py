"""What a definition says and aiovirt does not know: kept where libvirt does not know it either, refused where it does."""

from __future__ import annotations

import pytest

from aiovirt import ConfigUnsupported, DomainState, Host, XMLInvalid

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def domain(*, inside: str = "", devices: str = "") -> str:
    return f"""<domain type='test'>
  <name>web</name><memory unit='MiB'>64</memory>
  <os><type>hvm</type></os>
  {inside}
  <devices>
    {devices}
  </devices>
</domain>"""


async def test_all_places_are_named_at_once_with_their_lines(host: Host) -> None:
    xml = domain(inside="<iothreads>1</iothreads>", devices="<tpm model='tpm-tis'/>\n    <memballoon model='xen'/>")
    with pytest.raises(ConfigUnsupported) as refused:
        await host.define(xml)
    assert [(place.path, place.line) for place in refused.value.places] == [
        ("/domain/iothreads", 4),
        ("/domain/devices/tpm", 6),
        ("/domain/devices/memballoon/@model", 7),
    ]
    assert all(place.path in str(refused.value) for place in refused.value.places)


async def test_what_libvirt_does_not_know_is_kept_and_listed(host: Host) -> None:
    xml = domain(inside="<flavour>mint</flavour>")
    with pytest.raises(XMLInvalid) as invalid:
        await host.define(xml, validate=True)
    assert (invalid.value.path, invalid.value.line) == ("/domain/flavour", 4)
    web = await host.define(xml)
    assert (await web.spec()).unknown() == ("/domain/flavour",)
    assert "\n  <flavour>mint</flavour>\n" in await web.xml()
    await web.start()
    assert web.state is DomainState.RUNNING


async def test_no_guest_starts_without_what_was_asked_for(host: Host) -> None:
    web = await host.define(domain(devices="<teapot colour='blue'/>"))
    with pytest.raises(ConfigUnsupported, match="/domain/devices/teapot"):
        await web.start()
    assert web.state is DomainState.SHUTOFF
    await web.undefine()
    with pytest.raises(ConfigUnsupported, match="/domain/devices/teapot"):
        await host.create(domain(devices="<teapot/>"))
