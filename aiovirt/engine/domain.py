"""``Domain``: the handle of one domain, with libvirt's verbs. It holds nothing but a name for the domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, TypeVar, cast, overload
from uuid import UUID

import msgspec

from aiovirt.engine.abc import Engine
from aiovirt.engine.arguments import checked, state_of
from aiovirt.errors import NoSuchDomain, ProtocolError
from aiovirt.events.feed import Events, Expectation, waiting
from aiovirt.events.types import DomainEvent
from aiovirt.model import orders
from aiovirt.model.machine import Machine
from aiovirt.model.orders import DEFAULT_TIMEOUT, Request
from aiovirt.model.state import DomainState, DomainStatus
from aiovirt.model.words import checked_word, encoded_arguments
from aiovirt.text import plain

if TYPE_CHECKING:
    from aiovirt.drivers.qemu.proxy import QMPProxy
    from aiovirt.model.spec import DomainSpec
    from aiovirt.model.view import DomainView

__all__ = ["Domain"]

E = TypeVar("E", bound=DomainEvent)
R = TypeVar("R")
T = TypeVar("T")


class Domain:
    """A domain of a host: ``host.domain("web")``.

        await domain.start()                       # orders: start, suspend, resume, shutdown, reboot, reset, destroy, undefine
        domain.name, domain.state, domain.status   # what is read: no I/O, as fresh as the events
        await domain.wait_for_state("shut off", timeout=60)
        async with domain.expect("domain.reboot", timeout=10) as seen:
            await domain.reset()
        await domain.xml(), await domain.spec()    # what is asked
        await domain.qmp("query-status")

    Every property raises NoSuchDomain once the domain is gone (undefined, or transient and ended).
    Every order returns after its own event is numbered, and raises OperationInvalid when the domain is not in a state
    for it. All that is awaited takes a ``timeout`` in seconds, and raises OrderTimeout when that passes. Handles
    of the same domain of the same host are equal.
    """

    def __init__(self, engine: Engine, uuid: UUID) -> None:
        self._engine = engine
        self._uuid = uuid

    # -- who it is -------------------------------------------------------------------------

    @property
    def uuid(self) -> UUID:
        """Its uuid; never raises."""
        return self._uuid

    @property
    def subject(self) -> str:
        """Its subject in the event stream; never raises."""
        return f"domain/{self._uuid}"

    @property
    def name(self) -> str:
        """Its name."""
        return self.view.name

    @property
    def id(self) -> int | None:
        """Its number while active, else None."""
        return self.view.id

    @property
    def is_persistent(self) -> bool:
        """Whether it has a definition that outlives its run."""
        return self.view.persistent

    @property
    def is_active(self) -> bool:
        """Whether a process stands behind it."""
        return self.view.is_active

    @property
    def state(self) -> DomainState:
        """Its state."""
        return self.view.state

    @property
    def status(self) -> DomainStatus:
        """State, reason, monitor health and as_of, in one consistent reading."""
        return self.view.status

    @property
    def machine(self) -> Machine | None:
        """Its balloon, vCPUs, devices and jobs, once its hypervisor was asked; None while it is not active."""
        return self.view.machine

    @property
    def view(self) -> DomainView:
        """All of the above in one consistent reading."""
        try:
            return self._engine.bus.state.domains[self._uuid]
        except KeyError:
            raise _no_such_domain(self) from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Domain):
            return NotImplemented
        return (self._engine.uuid, self._uuid) == (other._engine.uuid, other._uuid)

    def __hash__(self) -> int:
        return hash((self._engine.uuid, self._uuid))

    def __repr__(self) -> str:
        view = self._engine.bus.state.domains.get(self._uuid)
        return f"<Domain {plain(view.name)} {view.state}>" if view else f"<Domain {self._uuid} (gone)>"

    async def _call(self, request: Request[R]) -> R:
        return await self._engine.call(checked(request))

    # -- orders ----------------------------------------------------------------------------

    async def start(self, paused: bool = False, autodestroy: bool = False, *, timeout: float = DEFAULT_TIMEOUT) -> None:  # noqa: FBT001, FBT002 - the contract
        """Boots it. With ``autodestroy`` it ends when this connection does. Raises GuestFailed with QEMU's last words."""
        await self._call(orders.Start(uuid=self._uuid, paused=paused, autodestroy=autodestroy, timeout=timeout))

    async def suspend(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Stops its vCPUs; already paused is fine."""
        await self._call(orders.Suspend(uuid=self._uuid, timeout=timeout))

    async def resume(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Lets its vCPUs run again."""
        await self._call(orders.Resume(uuid=self._uuid, timeout=timeout))

    async def shutdown(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Presses its power button, and returns: the guest decides. ``wait_for_state(SHUTOFF)`` waits for it."""
        await self._call(orders.Shutdown(uuid=self._uuid, timeout=timeout))

    async def reboot(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Presses its power button, and returns. Once the guest has powered off it is reset and runs on, or what its ``on_reboot`` says.

        A guest that does not heed the button runs on, and its next power-off is the reboot, unless shutdown or reset comes first.
        """
        await self._call(orders.Reboot(uuid=self._uuid, timeout=timeout))

    async def reset(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Resets its machine, as the reset button does."""
        await self._call(orders.Reset(uuid=self._uuid, timeout=timeout))

    async def destroy(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Powers it off now; the definition stays. It waits for no other order, and needs no monitor."""
        await self._call(orders.Destroy(uuid=self._uuid, timeout=timeout))

    async def undefine(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Forgets its definition; one that runs goes on, transient."""
        await self._call(orders.Undefine(uuid=self._uuid, timeout=timeout))

    async def set_autostart(self, enabled: bool = True, *, timeout: float = DEFAULT_TIMEOUT) -> None:  # noqa: FBT001, FBT002 - as libvirt has it
        """Whether it is started with the host: by the first engine after each boot. Raises OperationInvalid for a transient domain."""
        await self._call(orders.SetAutostart(uuid=self._uuid, enabled=enabled, timeout=timeout))

    # -- questions -------------------------------------------------------------------------

    async def xml(self, *, inactive: bool = False, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Its XML: as it runs, or with ``inactive`` as it will start next."""
        return await self._call(orders.AskXML(uuid=self._uuid, inactive=inactive, timeout=timeout))

    async def spec(self, *, inactive: bool = False, timeout: float = DEFAULT_TIMEOUT) -> DomainSpec:
        """The same as a value."""
        from aiovirt.libvirtxml import parse

        return parse(await self.xml(inactive=inactive, timeout=timeout))

    @overload
    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = ...) -> object: ...
    @overload
    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None, *, returns: type[T], timeout: float = ...) -> T: ...
    async def qmp(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        returns: type[object] = object,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> object:
        """A raw QMP command; the answer as ``returns`` (any type msgspec decodes), else as plain values.

        Raises CommandFailed (also qemu.qmp's ExecuteError) when QEMU refuses, ProtocolError when
        the answer is no ``returns``, Unsupported where there is no QMP, InvalidArgument for arguments that are no JSON or
        too much of it.
        """
        checked_word(command, "the command")
        encoded = encoded_arguments(command, dict(arguments)) if arguments else b"{}"
        request = orders.AskQMP(uuid=self._uuid, command=command, arguments=encoded, timeout=timeout)
        answer = await self._engine.call(request if type(timeout) is float and timeout > 0 else checked(request))
        try:
            return msgspec.json.decode(answer) if returns is object else msgspec.json.decode(answer, type=returns)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ProtocolError(f"the answer to {command!r} is no {returns.__name__}: {error}") from error

    def qmp_proxy(self, path: str | PathLike[str], *, timeout: float = DEFAULT_TIMEOUT) -> QMPProxy:
        """``async with domain.qmp_proxy(path):`` a unix socket at ``path``, mode 0600, for those who speak QMP themselves.

        As long as the block lasts qemu.qmp's QMPClient, qmp-shell and qmp-tui work there beside the engine, up to 16 at a
        time. A client's commands run one after the other, each for ``timeout`` seconds at most, and wait for no other
        client's. What would make the engine's own view of the domain wrong is refused with an error that says why, as is
        what takes descriptors; no capability is offered. Events come as QEMU said them, and before the answers that they
        came before; one whose data were left out (:class:`DomainQMP`'s ``omitted``) has empty data. A client that does
        not read while more than 1 MiB waits for it is disconnected; so are all when the domain stops.

        Entering raises Unsupported where there is no QMP, OperationInvalid when the domain is not running, and
        SystemFailure when no socket can be made at ``path``, as when there is something else.
        """
        from aiovirt.drivers.qemu.proxy import QMPProxy

        return QMPProxy(self._engine, self._uuid, path, timeout)

    async def get_autostart(self, *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """Whether it is started with the host."""
        return await self._call(orders.AskAutostart(uuid=self._uuid, timeout=timeout))

    async def log(self, *, timeout: float = DEFAULT_TIMEOUT) -> str:
        """The last 256 KiB of what its QEMU has said on standard output and error, in this run and those before. Raises SystemFailure."""
        return await self._call(orders.AskLog(uuid=self._uuid, timeout=timeout))

    # -- waiting ---------------------------------------------------------------------------

    @overload
    def expect(self, kind: type[E], *, where: Callable[[E], bool] | None = None, timeout: float | None = None) -> Expectation[E]: ...
    @overload
    def expect(
        self, kind: str, *, where: Callable[[DomainEvent], bool] | None = None, timeout: float | None = None
    ) -> Expectation[DomainEvent]: ...
    def expect(
        self, kind: type[E] | str, *, where: Callable[[E], bool] | None = None, timeout: float | None = None
    ) -> Expectation[E] | Expectation[DomainEvent]:
        """``async with domain.expect(DomainLifecycle, where=…) as seen: await domain.shutdown()``.

        It is armed on entry, so nothing that the order leads to is missed; leaving waits for the
        first match, which is ``seen.value`` then. With a ``timeout`` it waits for as many seconds at most, and raises
        OrderTimeout. Raises InvalidArgument for what is no event of a domain.
        """
        return Events(self._engine.bus).expect(cast("type[E]", kind), subject=self, where=where, timeout=timeout)

    async def wait_for_state(self, state: DomainState | str, *, timeout: float | None = None) -> None:
        """Returns when it is in ``state`` (or its name, as ``"running"``), at once if it is already; a domain that is gone is SHUTOFF.

        Raises OrderTimeout after ``timeout`` seconds (None: it waits for ever), NoSuchDomain where another state than
        SHUTOFF is waited for and the domain is gone, InvalidArgument for what is no state.
        """
        wanted = state_of(state)
        with waiting(timeout, lambda: f"the domain is {self._state_now()} after {timeout:g} s, and not {wanted}", self):
            async with Events(self._engine.bus).subscribe(DomainEvent, subject=self) as events:
                while self._state_now() is not wanted:
                    if self._uuid not in self._engine.bus.state.domains:
                        raise _no_such_domain(self)
                    await events.receive()

    def _state_now(self) -> DomainState:
        view = self._engine.bus.state.domains.get(self._uuid)
        return view.state if view else DomainState.SHUTOFF


def _no_such_domain(domain: Domain) -> NoSuchDomain:
    return NoSuchDomain(f"no domain has the uuid {domain.uuid}", subject=domain.subject)
