"""The backend matrix, and the watch over calls that block a loop; every test is under both.

An async test (``pytestmark = pytest.mark.anyio``) runs on asyncio, uvloop and trio; with
``pytest.mark.virtual_time`` beside it, in virtual time on asyncio and trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from aiovirt.testing.clock import virtual_backends
from tests.blocking import BlockingCalls, watch_blocking_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

Backend = tuple[str, dict[str, object]]

# A busy machine is not a bug: what a test may take is no part of what it says.
hypothesis.settings.register_profile("aiovirt", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("aiovirt")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """The (backend, options) that anyio's plugin runs a test on."""
    backend: Backend = request.param
    return backend


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a test in virtual time its own backends, each with a clock of its own."""
    if "anyio_backend" in metafunc.fixturenames and metafunc.definition.get_closest_marker("virtual_time"):
        params = [pytest.param((backend, options), id=name) for name, backend, options in virtual_backends()]
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", params, indirect=True))


@pytest.fixture(scope="session")
def blocking_calls() -> Iterator[BlockingCalls]:
    """The one watch of the session; a test that blocks a loop on purpose takes what was seen from it."""
    with watch_blocking_calls() as calls:
        yield calls


@pytest.fixture(autouse=True)
def no_blocking_calls(blocking_calls: BlockingCalls) -> Iterator[None]:
    """Fails each test during which our code blocked a loop's thread."""
    yield
    if seen := blocking_calls.take():
        pytest.fail("\n".join(["blocked the event loop's thread:", *seen]), pytrace=False)


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """How log lines are rendered is one setting of the process: what a test sets ends with it."""
    yield
    structlog.reset_defaults()
