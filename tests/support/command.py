"""Commands over ``test:///default``, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiovirt.cli.main import main

if TYPE_CHECKING:
    import pytest

TEST: Final = ["-c", "test:///default"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status, and what was printed on standard output and on standard error."""
    status = main([*TEST, *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err
