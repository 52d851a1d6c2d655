"""Commands in this process, for tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line configures for its own process is not for the tests after it."""
    monkeypatch.setattr("aiovirt.cli.logs.configure_logs", lambda: None)
