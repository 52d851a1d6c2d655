"""Run where ``aiovirt_tiny`` is installed: opens its URI, and holds its driver against the conformance suite."""

from __future__ import annotations

import sys

import anyio

import aiovirt
from aiovirt.engine.local import LocalEngine
from aiovirt.model.spec import DomainSpec
from aiovirt.testing.conformance import (
    EVENTS,
    POLICIES,
    REFUSED,
    Bench,
    check_events,
    check_order,
    check_policy,
    check_refused,
    orders_of_drivers,
)


async def main() -> None:
    up = anyio.Event()
    up.set()
    async with aiovirt.connect("tiny:///default") as host:
        assert isinstance(host.engine, LocalEngine)
        bench = Bench(host, DomainSpec(name="one", memory=16 * aiovirt.MiB), up.wait, host.engine.driver.can)
        for name in EVENTS:
            await check_events(bench, name)
        for name in POLICIES:
            await check_policy(bench, name)
        for given, refused in REFUSED:
            await check_refused(bench, given, refused)
        for kind in orders_of_drivers():
            await check_order(bench, kind)
        print(host.engine.driver.name, await host.hypervisor())


anyio.run(main, backend=sys.argv[1])
