"""What is asked of a host's machine."""

from __future__ import annotations

import threading

import anyio
import pytest

from aiovirt.engine import node
from aiovirt.errors import InvalidArgument, OrderTimeout

pytestmark = pytest.mark.anyio


async def test_a_machine_that_does_not_answer_costs_its_timeout_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's name may be asked for from a name server."""
    late = threading.Event()
    monkeypatch.setattr("aiovirt.system.node.hostname", lambda: str(late.wait(60)))
    try:
        with anyio.fail_after(60), pytest.raises(OrderTimeout):
            await node.hostname(0.05)
    finally:
        late.set()


async def test_a_timeout_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="timeout of 0 s"):
        await node.hostname(0)
