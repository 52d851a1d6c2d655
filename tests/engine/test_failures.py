from __future__ import annotations

import pytest
from qemu.qmp import ExecInterruptedError, ExecuteError
from qemu.qmp.qmp_client import BadReplyError

from aiovirt import errors
from aiovirt.drivers.qemu.errors import command_failed, session_lost, unexpected_reply
from aiovirt.engine.failures import error_of, failure_of
from aiovirt.errors import Error, ErrorCode, ErrorDomain, Place
from aiovirt.wire.attach.messages import Failure, decode_from_engine, encode

EVERY: list[Error] = [
    errors.NoConnect("a", subject="x"),
    errors.HostHeld("a", pid=12),
    errors.ConnectionLost("a"),
    errors.InvalidArgument("a"),
    errors.OperationFailed("a"),
    errors.DomainExists("a", subject="domain/x"),
    errors.GuestFailed("a", log="last words", subject="domain/x"),
    errors.CommandFailed("cont", "GenericError", "not now"),
    errors.ReplyTooLong("a"),
    errors.XMLInvalid("a", path="/domain", line=3),
    errors.SystemFailure("a"),
    errors.NoSuchDomain("a", subject="domain/x"),
    errors.NoSuchDevice("a"),
    errors.AmbiguousDevice("a", candidates=("netdev/1.1", "netdev/2.1"), subject="pci/x"),
    errors.OperationInvalid("a"),
    errors.Unsupported("a"),
    errors.ConfigUnsupported("a"),
    errors.ConfigUnsupported.of([Place("/domain/devices/tpm", 6), Place("/domain/vcpu", None, "too many")]),
    errors.OrderTimeout("a", sent=True, subject="domain/x"),
    errors.OrderTimeout("a", sent=False),
    errors.ProtocolError("a"),
    errors.AccessDenied("a"),
    errors.EventGap("A:2", 4, "A:1"),
    errors.EventGap("A:2", None, "A:1"),
    errors.HostGone("A:1"),
    errors.HostForked("a child that was forked"),
    Error("a", code=ErrorCode.RPC, domain=ErrorDomain.QEMU),
]


def there_and_back(error: Error) -> Error:
    heard = decode_from_engine(encode(failure_of(3, error)))
    assert isinstance(heard, Failure)
    assert heard.number == 3
    return error_of(heard)


def test_every_error_is_among_them() -> None:
    kinds = {getattr(errors, name) for name in errors.__all__} - {ErrorCode, ErrorDomain, Place}
    assert {type(error) for error in EVERY} == kinds


@pytest.mark.parametrize("error", EVERY, ids=repr)
def test_what_is_raised_there_is_raised_here(error: Error) -> None:
    raised = there_and_back(error)
    assert type(raised) is type(error)
    assert str(raised) == str(error)
    assert vars(raised) | {"code": raised.code, "domain": raised.domain} == vars(error) | {"code": error.code, "domain": error.domain}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (command_failed("cont", "GenericError", "not now"), ExecuteError),
        (session_lost("it ended"), ExecInterruptedError),
        (unexpected_reply("cont", "no answer"), BadReplyError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_those_of_a_session_are_qemu_qmps_too(error: Error, kind: type[Exception]) -> None:
    raised = there_and_back(error)
    assert isinstance(raised, kind)
    assert (str(raised), raised.message, raised.code, raised.subject) == (str(error), error.message, error.code, error.subject)


def test_an_error_of_a_later_version_keeps_its_words() -> None:
    raised = error_of(Failure(1, "SomethingNew", "what happened", 9999, 9999, "domain/x", {"more": [1]}))
    assert (type(raised), str(raised), raised.code, raised.domain, raised.subject) == (
        Error,
        "what happened",
        ErrorCode.INTERNAL_ERROR,
        ErrorDomain.NONE,
        "domain/x",
    )
