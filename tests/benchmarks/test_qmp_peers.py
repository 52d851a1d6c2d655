from __future__ import annotations

import resource
import socket

import pytest

from benchmarks.qmp_contenders import Blocking, as_they_come, blocking_sessions, in_turn
from benchmarks.qmp_libvirt import libvirt_sweep, libvirts_guests
from benchmarks.qmp_peers import GREETING, PeerClock, guests, raise_descriptor_limit, scripted

STATUS = b'{"return": {"status": "running", "singlestep": false, "running": true}, "id": %b}\r\n'


class Client:
    """Sends what it is told to, and reads line by line."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self._lines = self.socket.makefile("rb")

    def line(self) -> bytes:
        return self._lines.readline()

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@pytest.mark.parametrize(
    ("negotiation", "answer"),
    [
        (b'{"execute":"qmp_capabilities","id":1,"arguments":{"enable":["oob"]}}\n', b'{"return": {}, "id": 1}\r\n'),
        (b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}', b'{"return": {}}\r\n'),
    ],
    ids=["with an id", "without"],
)
def test_a_scripted_peer_answers_each_command_by_its_id_wherever_it_was_cut(negotiation: bytes, answer: bytes) -> None:
    sent = b'{"execute":"query-status","id":12}\n{"execute": "query-status", "id": "__qmp#00003"}'
    with scripted() as path:
        for cut in range(len(sent) + 1):
            client = Client(path)
            assert client.line() == GREETING
            client.socket.sendall(negotiation)
            assert client.line() == answer
            client.socket.sendall(sent[:cut])
            client.socket.sendall(sent[cut:])
            assert (client.line(), client.line()) == (STATUS % b"12", STATUS % b'"__qmp#00003"')
            client.close()


def test_a_peer_goes_on_when_a_client_has_left() -> None:
    with scripted() as path:
        client = Client(path)
        client.socket.sendall(b'{"execute":"query-status","id":1}\n' * 100)
        client.close()
        with Blocking(path) as session:
            session.ask()
            assert session.answer()


def test_the_floors_have_every_answer_and_the_peers_clock_goes_on() -> None:
    with scripted() as path:
        clock = PeerClock(path)
        before = clock.read()
        with blocking_sessions([path] * 20) as sessions:
            as_they_come(sessions, 1, 10)
        with blocking_sessions([path]) as sessions:
            in_turn(sessions, 7, 10)
            sessions[0].ask("qmp_capabilities")
            assert sessions[0].answer() == {}, "nothing is left of what was asked before"
        assert clock.read() > before


def test_real_guests_answer() -> None:
    with guests(2) as started, blocking_sessions(list(started)) as sessions:
        for session in sessions:
            session.ask()
            assert session.answer() == {"status": "prelaunch", "singlestep": False, "running": False}


@pytest.mark.parametrize("threads", [1, 5])
def test_libvirt_asks_the_guests_it_has(threads: int) -> None:
    with libvirts_guests(2) as address, libvirt_sweep(address, threads) as sweep:
        sweep()


def test_too_few_descriptors_are_an_error() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with pytest.raises(OSError, match=f"the hard limit of RLIMIT_NOFILE is {before[1]}"):
            raise_descriptor_limit(before[1] + 1)
        raise_descriptor_limit(before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
