"""Domains as a kind of object that people define: their XML, and the errors about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiovirt.engine.kind import ObjectKind
from aiovirt.errors import ConfigUnsupported, DomainExists, NoSuchDomain, Place
from aiovirt.model.spec import DomainSpec

__all__ = ["DOMAIN", "refuse_unknown_devices", "render_xml"]


def refuse_unknown_devices(spec: DomainSpec) -> None:
    """Raises ConfigUnsupported where ``<devices>`` says what nobody knows: no guest starts without what was asked for."""
    unknown = [Place(path, None, "nobody knows what it is") for path in spec.unknown() if path.startswith("/domain/devices/")]
    if unknown:
        raise ConfigUnsupported.of(unknown)


def _parse(
    xml: str | bytes,
    check: Callable[[DomainSpec], object] | None = None,
    validate: bool = False,  # noqa: FBT001, FBT002 - as threads pass it
) -> DomainSpec:
    """See :func:`aiovirt.libvirtxml.parse`, which is loaded on use. Blocks: for threads."""
    from aiovirt.libvirtxml import parse

    return parse(xml, check=check, validate=validate)


def render_xml(spec: DomainSpec, number: int | None = None) -> str:
    """See :func:`aiovirt.libvirtxml.render`, which is loaded on use. Blocks: for threads."""
    from aiovirt.libvirtxml import render

    return render(spec, id=number)


DOMAIN: Final = ObjectKind(name="domain", parse=_parse, render=render_xml, exists=DomainExists, missing=NoSuchDomain)
