"""Another process that changes one link time and again, and notes when.

    python -m benchmarks.hostdev_changes KIND IFINDEX COUNT EVERY

KIND is one of :data:`KINDS`; change n is made ``EVERY`` seconds after the one before. At the end the times at which
each request was about to be sent are printed: CLOCK_MONOTONIC, in nanoseconds.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

__all__ = ["KINDS", "Changes", "number_of"]

RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK = 16, 1, 4
IFLA_IFNAME, IFLA_MTU = 3, 4
LEAST_MTU: Final = 1000
HEADER, LINK, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")
ERRNO: Final = struct.Struct("=16xi")

KINDS: Final[dict[str, Callable[[int], tuple[int, bytes]]]] = {
    "name": lambda number: (IFLA_IFNAME, f"r{number}".encode() + b"\0"),
    "mtu": lambda number: (IFLA_MTU, struct.pack("=I", LEAST_MTU + number)),
}


def number_of(kind: str, name: str, mtu: int) -> int:
    """Which change made a link so; -1 where none did."""
    if kind == "mtu":
        return mtu - LEAST_MTU if mtu >= LEAST_MTU else -1
    return int(name[1:]) if name[:1] == "r" and name[1:].isdecimal() else -1


class Changes:
    """``start()``, and when the last one was seen ``times()``."""

    def __init__(self, kind: str, ifindex: int, count: int, every: float) -> None:
        self.kind = kind
        self.count = count
        self._command = [sys.executable, "-m", "benchmarks.hostdev_changes", kind, str(ifindex), str(count), str(every)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)

    def times(self) -> list[int]:
        assert self._process, "they were started"
        said, _ = self._process.communicate()
        times: list[int] = json.loads(said)
        return times


def request(kind: str, ifindex: int, number: int) -> bytes:
    attribute, value = KINDS[kind](number)
    body = LINK.pack(0, 0, ifindex, 0, 0) + ATTRIBUTE.pack(ATTRIBUTE.size + len(value), attribute) + value + b"\0" * (-len(value) % 4)
    return HEADER.pack(HEADER.size + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, number, 0) + body


def main(kind: str, ifindex: int, count: int, every: float) -> None:
    requests, times = [request(kind, ifindex, number) for number in range(count)], []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
        opened.bind((0, 0))
        for one in requests:
            time.sleep(every)
            times.append(time.monotonic_ns())
            opened.send(one)
            (failure,) = ERRNO.unpack_from(opened.recv(1 << 16))
            assert failure == 0, failure
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
