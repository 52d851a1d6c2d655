"""The pytest plugin: a fixture ``host`` that is a fresh ``test:///default``.

It works with anyio's plugin, on whichever backend the test runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiovirt import Host

__all__ = ["host"]


@pytest.fixture
async def host(anyio_backend: object) -> AsyncIterator[Host]:  # noqa: ARG001 - anyio's plugin needs it to run this
    """A host in memory with one running domain, ``test``, and two network devices."""
    import aiovirt

    async with aiovirt.connect("test:///default") as connected:
        yield connected
