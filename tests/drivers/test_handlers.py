"""What drivers say of orders: each of them about every one that is a driver's to carry out."""

from __future__ import annotations

import pytest

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu import driver as qemu
from aiovirt.drivers.test import driver as memory
from aiovirt.model.orders import REQUESTS, DomainOrder, Reset, Resume, Suspend
from aiovirt.system.deadlines import Deadline

DRIVEN = [kind for kind in REQUESTS.values() if not kind.rule.by_engine]


@pytest.mark.parametrize("table", [qemu.HANDLERS, memory.HANDLERS], ids=["qemu", "test"])
@pytest.mark.parametrize("kind", DRIVEN, ids=lambda kind: kind.__name__)
def test_a_driver_carries_out_each_order_or_says_why_not(table: Handlers[object], kind: type[DomainOrder]) -> None:
    assert kind in table
    assert table.refusal(kind) != ""


def test_what_is_done_by_the_engine_is_nobodys_else() -> None:
    own = [kind for kind in REQUESTS.values() if kind.rule.by_engine]
    assert not [kind for kind in own if kind in qemu.HANDLERS or kind in memory.HANDLERS]


def test_a_table_has_an_order_once() -> None:
    handles = Handlers[object]()

    @handles(Suspend)
    async def suspend(guests: object, domain: Target, order: Suspend, by: Deadline) -> None:
        """Nothing."""

    handles.without("there is no such button", Reset)
    for again in (lambda: handles(Suspend)(suspend), lambda: handles(Reset)(suspend), lambda: handles.without("no", Suspend)):
        with pytest.raises(ValueError, match="already"):
            again()
    with pytest.raises(ValueError, match="already"):
        Handlers(handles, handles)
    assert (handles.refusal(Suspend), handles.refusal(Reset)) == (None, "there is no such button")


def test_an_order_that_a_driver_has_never_heard_of_is_refused() -> None:
    assert Handlers[object]().refusal(Resume) == "this driver does not know it"
