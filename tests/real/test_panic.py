"""A guest that panics, for which a boot sector is enough: a real QEMU says so, and ``on_crash`` is done."""

from __future__ import annotations

from typing import Final

import anyio
import pytest

from aiovirt import DomainState, Host
from aiovirt.model.devices.panic import Panic, PanicModel
from aiovirt.model.spec import Action
from tests.real.conftest import PATIENCE, Place
from tests.real.test_devices import spec_with

pytestmark = pytest.mark.anyio

# mov dx, 0x505; mov al, 1 (PVPANIC_PANICKED); out dx, al; hlt; jmp back to hlt
PANICS: Final = bytes.fromhex("BA 05 05 B0 01 EE F4 EB FD").ljust(510, b"\0") + b"\x55\xaa"


@pytest.mark.parametrize(("action", "state"), [(Action.PRESERVE, DomainState.CRASHED), (Action.DESTROY, DomainState.SHUTOFF)])
async def test_what_on_crash_says_is_done(host: Host, place: Place, action: Action, state: DomainState) -> None:
    spec = spec_with(place.spec(on_crash=action), Panic())
    (place.folder / "tiny.img").write_bytes(PANICS)
    domain = await host.define(spec)
    with anyio.fail_after(PATIENCE):
        await domain.start()
        await domain.wait_for_state(state, timeout=PATIENCE)
    if state is not DomainState.SHUTOFF:
        await domain.destroy()


@pytest.mark.parametrize(("model", "kind"), [(PanicModel.ISA, "pvpanic"), (PanicModel.PVPANIC, "pvpanic-pci")])
async def test_qemu_has_it(host: Host, place: Place, model: PanicModel, kind: str) -> None:
    async with host.run(spec_with(place.spec(), Panic(model=model))) as domain:
        assert await domain.qmp("qom-get", {"path": "/machine/peripheral/panic0", "property": "type"}) == kind
