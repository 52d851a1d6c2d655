"""``Host``: what ``aiovirt.connect`` gives. Domains, devices, events."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio

from aiovirt.engine import node
from aiovirt.engine.abc import Engine
from aiovirt.engine.arguments import check_flag, checked
from aiovirt.engine.devices import Devices
from aiovirt.engine.domain import Domain
from aiovirt.engine.successors import EngineSuccessors, Reconnection
from aiovirt.errors import HostGone, InvalidArgument, NoSuchDomain, OperationInvalid
from aiovirt.events.feed import Events
from aiovirt.model import orders
from aiovirt.model.orders import DEFAULT_TIMEOUT, Request
from aiovirt.model.words import encoded_xml
from aiovirt.system import to_thread
from aiovirt.text import plain

if TYPE_CHECKING:
    from aiovirt.model.node import Hypervisor, NodeCPUStats, NodeInfo, NodeMemoryStats
    from aiovirt.model.spec import DomainSpec

__all__ = ["Host", "Run"]


class Host:
    """A host, while its ``connect`` block lasts.

        host.domain("web"), host.domains()                  # what there is: no I/O
        await host.define(xml_or_spec)                      # keeps a definition: a Domain, to start
        async with host.run(spec) as domain: ...            # a guest as long as the block
        async with host.events.subscribe("domain") as events: ...
        async with host.events.follow(after=cursor) as events: ...      # from one engine to the next
        host.devices.netdev("eth0"), host.devices.pci()     # this host's devices

    What has no ``async`` does no I/O: it reads the state that the events lead to.
    """

    def __init__(self, engine: Engine, reconnection: Reconnection[Host] | None = None) -> None:
        self._engine = engine
        self._reconnection = reconnection
        self._events = Events(engine.bus, partial(EngineSuccessors, reconnection) if reconnection else None)
        self._devices = Devices(engine)

    @property
    def events(self) -> Events:
        """All that happens, as one stream: ``subscribe()``, ``watch()``, ``follow()``, ``expect()``, ``cursor``."""
        return self._events

    @property
    def devices(self) -> Devices:
        """This host's network devices and PCI functions: ``netdevs()``, ``netdev(name)``, ``pci()``, ``port(nic)``, …"""
        return self._devices

    # -- domains ---------------------------------------------------------------------------

    def domains(self, active: bool | None = None, persistent: bool | None = None) -> list[Domain]:  # noqa: FBT001 - the contract
        """All domains by name, in one consistent read; ``active`` and ``persistent`` narrow it down."""
        check_flag("active", active)
        check_flag("persistent", persistent)
        views = [
            view
            for view in self._engine.bus.state.domains.values()
            if active in (None, view.is_active) and persistent in (None, view.persistent)
        ]
        return [Domain(self._engine, view.uuid) for view in sorted(views, key=lambda view: view.name)]

    def domain(self, name_or_uuid: str | UUID) -> Domain:
        """One domain; raises NoSuchDomain. A name comes before a uuid that is spelled the same."""
        domains = self._engine.bus.state.domains
        for view in domains.values():
            if view.name == name_or_uuid:
                return Domain(self._engine, view.uuid)
        uuid = _as_uuid(name_or_uuid)
        if uuid is None or uuid not in domains:
            raise NoSuchDomain(f"no domain has the name or uuid {str(name_or_uuid)!r}")
        return Domain(self._engine, uuid)

    async def define(self, xml_or_spec: str | DomainSpec, *, validate: bool = False, timeout: float = DEFAULT_TIMEOUT) -> Domain:
        """Keeps a definition, new or in place of the one with its name and uuid.

        What libvirt does not know is kept, listed by ``spec.unknown()`` and, where it is a device's, refused by a start;
        with ``validate`` it is refused here. Raises XMLInvalid with path and line, ConfigUnsupported with all ``places`` of
        what is not to be had, DomainExists.
        """
        check_flag("validate", validate)
        uuid = await self._engine.call(checked(orders.Define(xml=await _xml(xml_or_spec), validate=validate, timeout=timeout)))
        return Domain(self._engine, uuid)

    async def create(
        self,
        xml_or_spec: str | DomainSpec,
        *,
        paused: bool = False,
        autodestroy: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Domain:
        """Boots a transient domain, which is forgotten when it ends. Raises as ``define`` and ``start`` do."""
        request = orders.Create(xml=await _xml(xml_or_spec), paused=paused, autodestroy=autodestroy, timeout=timeout)
        return Domain(self._engine, await self._engine.call(checked(request)))

    def run(self, spec: str | DomainSpec, *, timeout: float = DEFAULT_TIMEOUT) -> Run:
        """``async with host.run(spec) as domain:`` a transient guest that lives as long as the block."""
        return Run(self, spec, timeout)

    # -- the host itself -------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """As it was connected to."""
        return self._engine.uri

    @property
    def uuid(self) -> UUID:
        """The host's UUID, the same after every boot."""
        return self._engine.uuid

    async def info(self, *, timeout: float = DEFAULT_TIMEOUT) -> NodeInfo:
        """The machine: CPUs, how they lie, memory (virNodeGetInfo). Raises SystemFailure."""
        return await node.info(self.uri, timeout)

    async def cpu_stats(self, cpu: int | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> NodeCPUStats:
        """What its CPUs have done since the boot, or one of them (virNodeGetCPUStats). Raises InvalidArgument, SystemFailure."""
        return await node.cpu_stats(self.uri, cpu, timeout)

    async def memory_stats(self, cell: int | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> NodeMemoryStats:
        """Its memory now, or that of one NUMA cell (virNodeGetMemoryStats). Raises InvalidArgument, Unsupported, SystemFailure."""
        return await node.memory_stats(self.uri, cell, timeout)

    async def hypervisor(self, *, timeout: float = DEFAULT_TIMEOUT) -> Hypervisor:
        """What runs the guests (virConnectGetType, virConnectGetVersion). Raises SystemFailure where no emulator is installed."""
        return await node.hypervisor(self.uri, timeout)

    async def can(self, order: type[Request[Any]] | str, *, timeout: float = DEFAULT_TIMEOUT) -> str | None:
        """Whether the host's driver can carry out orders of a class (of ``aiovirt.model.orders``): None, or in words why it cannot.

        ``order`` may be its name, as in docs/drivers.md. Raises Unsupported where the host's engine is of a version that does not say.
        """
        name = order if isinstance(order, str) else order.__name__
        return await self._engine.call(checked(orders.AskAbility(order=name, timeout=timeout)))

    async def hostname(self, *, timeout: float = DEFAULT_TIMEOUT) -> str:
        """The host's name, fully qualified where that is known (virConnectGetHostname)."""
        return await node.hostname(timeout)

    def reconnect(self, *, start_engine: bool = False) -> AbstractAsyncContextManager[Host]:
        """``async with host.reconnect() as host:`` the same host, by the engine that holds it now or next: for when this one is gone.

        It waits until there is one; with ``start_engine`` one is started where there is none. Raises HostGone where no
        other engine can be: ``test:///default``, and once the ``connect`` block is left. Entering raises as ``connect``.
        """
        if self._reconnection is None or self._reconnection.ended:
            raise HostGone(self._engine.bus.cursor)
        return self._reconnection.connect(start_engine=start_engine)

    @property
    def engine(self) -> Engine:
        """What answers for it: for what is built on aiovirt, not for everyday use."""
        return self._engine

    def __repr__(self) -> str:
        return f"<Host {plain(self.uri)}>"


class Run:
    """The block of :meth:`Host.run`. Leaving destroys the guest, however the block was left."""

    def __init__(self, host: Host, spec: str | DomainSpec, timeout: float) -> None:
        self._host = host
        self._spec = spec
        self._timeout = timeout

    async def __aenter__(self) -> Domain:
        self._domain = await self._host.create(self._spec, autodestroy=True, timeout=self._timeout)
        return self._domain

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._domain.destroy()
            except (NoSuchDomain, OperationInvalid):
                return  # it ended by itself


async def _xml(xml_or_spec: str | DomainSpec) -> str:
    if isinstance(xml_or_spec, str):
        encoded_xml(xml_or_spec)  # refused here, wherever the engine is
        return xml_or_spec
    from aiovirt.libvirtxml import render
    from aiovirt.model.spec import DomainSpec

    if not isinstance(xml_or_spec, DomainSpec):
        raise InvalidArgument(f"a domain is described by XML as text or by a DomainSpec, not by {xml_or_spec!r:.80}")
    return await to_thread.run_sync(render, xml_or_spec)


def _as_uuid(text: str | UUID) -> UUID | None:
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError:
        return None
    except (AttributeError, TypeError):
        raise InvalidArgument(f"a domain is named by its name or its uuid, not by {text!r}") from None
