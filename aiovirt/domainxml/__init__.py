"""libvirt's domain XML to and from :class:`aiovirt.model.spec.DomainSpec`. Pure: text in, values out.

What is read is what aiovirt can give. What libvirt writes into every domain by itself, and what
changes nothing in the guest, is let pass (``inert`` lists it, and why); everything else is refused
by name and line, and nothing is dropped in silence. No file is opened here and no host is asked.
"""

from __future__ import annotations

from aiovirt.domainxml.parse import parse
from aiovirt.domainxml.partly import parse_partly
from aiovirt.domainxml.render import render

__all__ = ["parse", "parse_partly", "render"]
