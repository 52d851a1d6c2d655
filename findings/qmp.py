"""A guest of the QEMU that is first on PATH, without devices, under TCG, not yet started; and its QMP. For the scripts beside this file."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Self


class Refused(Exception):
    """QEMU's answer to a command is an error: its text."""


class Guest:
    """``guest("device_del", id="a")`` is the return value; ``events`` are those that came by."""

    def __init__(self, *options: str) -> None:
        words = ["qemu-system-x86_64", "-nodefaults", "-accel", "tcg", "-m", "32", "-display", "none", "-S", "-qmp", "stdio", *options]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.events: list[dict[str, Any]] = []
        version = self._read()["QMP"]["version"]
        self("qmp_capabilities")
        print("QEMU", version["qemu"], version["package"])

    def __call__(self, command: str, **arguments: object) -> Any:  # noqa: ANN401  what QEMU returns
        """An underscore in an argument's name stands for a hyphen."""
        return self.ask({"execute": command, "arguments": {name.replace("_", "-"): value for name, value in arguments.items()}})["return"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The whole answer to this request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode())
        self._process.stdin.flush()
        while True:
            message = self._read()
            if "error" in message:
                raise Refused(message["error"]["desc"])
            if "return" in message:
                return message
            self.events.append(message)

    def wait(self, event: str, **data: object) -> None:
        """Returns when this event has come, with these members in its data."""
        while not any(one["event"] == event and data.items() <= one.get("data", {}).items() for one in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        message: dict[str, Any] = json.loads(self._process.stdout.readline())
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
