"""Writes docs/drivers.md from what is declared of each order, and from what each driver says that it can.

python -m docs.generate_drivers
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu import driver as qemu
from aiovirt.drivers.test import driver as memory
from aiovirt.model.orders import REQUESTS, Request, Turn
from aiovirt.model.orders.rule import Procedure

__all__ = ["DRIVERS", "FILE", "render"]

FILE: Final = Path(__file__).with_name("drivers.md")

DRIVERS: Final[dict[str, Handlers[Any]]] = {"qemu": qemu.HANDLERS, "test": memory.HANDLERS}

HEAD: Final = """\
<!-- Written by `python -m docs.generate_drivers` (`make docs`) from the declarations. Not to be edited. -->
# Orders and drivers

Each order is declared once, in a file of `aiovirt/model/orders/`. **yes**: the driver carries it out. **engine**: the engine does it,
whatever the driver is. **no**: it is refused with `Unsupported` (3) before anything is sent; the reason is below the table, and is in the
error, with the order and the driver.

The number is that of libvirt's procedure that does the same, in `remote_protocol.x` or the file that is named; the permissions are
those that libvirt asks of a caller, and an engine does, too.

What an order waits for, on its own domain:

"""


def render() -> str:
    """The whole file."""
    return HEAD + "".join(_turns()) + "".join(_families())


def _turns() -> Iterator[str]:
    for turn in Turn:
        yield f"- **{turn.name.lower()}**: it {turn.value}\n"


def _families() -> Iterator[str]:
    for module, kinds in groupby(REQUESTS.values(), key=lambda kind: kind.__module__):
        family = module.rpartition(".")[2]
        yield f"\n## {family}\n\n"
        yield from _table(list(kinds))


def _table(kinds: list[type[Request[Any]]]) -> Iterator[str]:
    yield f"| order | what it does | waits as | libvirt | permissions | {' | '.join(DRIVERS)} |\n"
    yield f"|---{'|---' * (4 + len(DRIVERS))}|\n"
    for kind in kinds:
        yield f"| {' | '.join(_row(kind))} |\n"
    for kind in kinds:
        for name, table in DRIVERS.items():
            if not kind.rule.by_engine and (why := table.refusal(kind)) is not None:
                yield f"\n{kind.__name__}, {name}: {why}.\n"


def _row(kind: type[Request[Any]]) -> Iterator[str]:
    rule = kind.rule
    yield f"`{kind.__name__}` (`{rule.verb}`)"
    yield " ".join((kind.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")
    yield rule.turn.name.lower() + (", urgent" if rule.urgent else "")
    yield _number(rule.procedure)
    yield ", ".join(f"`{each}`" for each in rule.permissions)
    for table in DRIVERS.values():
        yield "engine" if rule.by_engine else "yes" if table.refusal(kind) is None else "no"


def _number(procedure: Procedure | None) -> str:
    if procedure is None:
        return ""
    return str(procedure.number) if procedure.program == "remote" else f"{procedure.number} ({procedure.program})"


if __name__ == "__main__":
    FILE.write_text(render())
