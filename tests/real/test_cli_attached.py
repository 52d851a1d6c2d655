"""The command line beside an engine that it finds, or starts: several terminals on one host."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiovirt.libvirtxml import render
from aiovirt.system.files import FileLock
from tests.real.conftest import Place

PATIENCE = 60


class Terminals:
    """Commands of one user, whose folders are the test's."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        places = {f"AIOVIRT_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "STATE", "RUNTIME")}
        self.environment = os.environ | places
        self.lock = folder / "runtime/engine.lock"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "aiovirt", "-c", "qemu:///session", *words]

    def run(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=PATIENCE, env=self.environment)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    @contextmanager
    def beside(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on, once it has said something."""
        with subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, text=True, env=self.environment) as process:
            try:
                yield process
            finally:
                process.terminate()

    @property
    def attached(self) -> int:
        """How many processes are."""
        path = f"{self.lock.with_name('.engine.sock')}."  # it had when it was bound
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return len([words for words in lines if words[-1].startswith(path) and words[5] == "03"])

    @property
    def engine(self) -> int:
        """The process that holds the host, 0 for none."""
        try:
            FileLock(self.lock).look()
        except Exception as held:  # noqa: BLE001 - whoever holds it
            return int(getattr(held, "pid", 0) or 0)
        return 0


@pytest.fixture
def user() -> Iterator[Terminals]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        terminals = Terminals(Path(folder))
        try:
            yield terminals
        finally:
            for line in terminals.run("list", "--name").split():
                terminals.run("destroy", line)
            if pid := terminals.engine:
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not terminals.engine)


def wait_until(holds: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def define(user: Terminals, name: str = "tiny") -> None:
    xml = user.place.folder / f"{name}.xml"
    xml.write_text(render(user.place.spec(name)))
    user.run("define", str(xml))


def test_the_first_command_starts_an_engine_and_the_others_find_it(user: Terminals) -> None:
    assert user.engine == 0
    define(user)
    engine = user.engine
    assert engine > 0
    user.run("start", "tiny")
    assert user.run("list").splitlines()[2].split() == ["1", "tiny", "running"]
    assert user.run("domstate", "tiny", "--reason").strip() == "running (booted)"
    assert [json.loads(line)["name"] for line in user.run("list", "--all", "--json").splitlines()] == ["tiny"]
    assert "no domain has the name" in user.run("domstate", "nobody", status=4)
    user.run("destroy", "tiny")
    assert user.engine == engine
    assert Path(f"/proc/{engine}/stat").read_text().split()[4] != str(os.getpgid(0))  # of a session of its own


def test_three_terminals(user: Terminals) -> None:
    """One watches, one starts a guest, one kills the engine: the guest runs on, and a watch goes on where it was."""
    define(user)
    with user.beside("watch", "tiny", "--json") as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["name"] == "tiny"
        user.run("start", "tiny")
        started = json.loads(watch.stdout.readline())
        assert started["data"]["kind"] == "started"
        seen = [started]
        for state, order, kind in (("running", "suspend", "suspended"), ("paused", "resume", "resumed")):
            os.kill(killed := user.engine, signal.SIGKILL)
            while (gone := json.loads(watch.stdout.readline())).get("state") != "gone":
                seen.append(gone)
            assert gone["cursor"] >= seen[-1]["id"]
            assert user.engine in {0, killed}, "who only watches starts no engine"
            assert user.run("list").splitlines()[2].split()[1:] == ["tiny", state]
            user.run(order, "tiny")
            while (news := json.loads(watch.stdout.readline()))["data"].get("kind") != kind:
                seen.append(news)
            seen.append(news)
        ids = [news["id"] for news in seen]
        assert ids == sorted(set(ids))
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE) == 0
    shown = user.run("event", "--since", started["id"], "--type", "domain.lifecycle", "--json", "--timeout", "60")
    assert json.loads(shown)["data"]["kind"] == "suspended"


def test_an_engine_leaves_when_nobody_needs_it(user: Terminals) -> None:
    define(user)
    user.run("start", "tiny")
    user.run("engine", "--stop")
    with user.beside("engine", "--idle", "2") as engine:
        assert engine.stdout is not None
        assert "Holding qemu:///session" in engine.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            engine.wait(3)  # a guest runs
        with user.beside("watch") as watch:
            assert watch.stdout is not None
            watch.stdout.readline()
            user.run("destroy", "tiny")
            with pytest.raises(subprocess.TimeoutExpired):
                engine.wait(3)  # somebody watches
        assert engine.wait(PATIENCE) == 0


def test_an_engine_ends_in_order_and_harms_no_guest(user: Terminals) -> None:
    with user.beside("engine", "--json") as engine:
        assert engine.stdout is not None
        said = json.loads(engine.stdout.readline())
        assert (said["uri"], said["pid"]) == ("qemu:///session", engine.pid)
        define(user)
        user.run("start", "tiny")
        assert "held by process" in user.run("engine", status=1)
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(PATIENCE) == 0
    assert user.run("list").splitlines()[2].split()[1:] == ["tiny", "running"]
    assert '"clean":true' in user.run("event", "--since", said["cursor"], "--type", "host", "--json")


def test_a_service_manager_is_told_and_may_hand_over_the_socket(user: Terminals) -> None:
    user.run("list")  # makes the folders
    os.kill(user.engine, signal.SIGTERM)
    wait_until(lambda: not user.engine)
    path, told = user.lock.with_name("engine.sock"), user.place.folder / "notify"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        listening.bind(str(path))
        listening.listen()
        notified.bind(str(told))
        notified.settimeout(PATIENCE)
        os.dup2(listening.fileno(), 3) if listening.fileno() != 3 else None
        script = "import os,sys; os.environ['LISTEN_PID']=str(os.getpid()); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        command = [sys.executable, "-c", script, *user.command("engine")[1:]]
        environment = user.environment | {"LISTEN_FDS": "1", "NOTIFY_SOCKET": str(told)}
        with subprocess.Popen(command, env=environment, pass_fds=[3], stdout=subprocess.PIPE, text=True) as engine:
            assert notified.recv(4096).startswith(b"READY=1\nSTATUS=Holding qemu:///session")
            assert user.run("list", "--name").strip() == ""
            assert user.engine == engine.pid
            engine.terminate()
            assert notified.recv(4096) == b"STOPPING=1"
            assert engine.wait(PATIENCE) == 0
        assert path.exists()  # it is the service manager's
        path.unlink()


def test_the_monitor_from_any_terminal(user: Terminals) -> None:
    define(user)
    with user.beside("qemu-monitor-event", "--loop", "--event", "re.ume", "--regex", "--no-case") as events:
        assert events.stdout is not None
        wait_until(lambda: user.attached)
        user.run("start", "tiny")

        def ask(*words: str) -> str:
            return user.run("qemu-monitor-command", "tiny", *words)

        assert json.loads(ask('{"execute": "query-status"}'))["return"]["status"] == "running"
        assert json.loads(ask("--return-value", "--pretty", '{"execute": "query-kvm", "arguments": {}}')).keys() == {"enabled", "present"}
        assert ask("--hmp", "info", "status") == "VM status: running\n"
        assert "unable to execute" in user.run("qemu-monitor-command", "tiny", '{"execute": "no-such"}', status=1)
        assert "not a QMP command" in user.run("qemu-monitor-command", "tiny", "info status", status=1)
        path = user.place.folder / "q.sock"
        with user.beside("qmp-proxy", "tiny", str(path)) as proxy:
            assert proxy.stdout is not None
            assert proxy.stdout.readline() == f"Speaking QMP for domain 'tiny' at {path}; Ctrl-C ends\n"
            with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as said:
                client.connect(str(path))
                assert "QMP" in said.readline()
                for command in ("qmp_capabilities", "stop", "cont"):
                    said.write(json.dumps({"execute": command}))
                    said.flush()
                    while "return" not in json.loads(said.readline()):
                        pass
            proxy.send_signal(signal.SIGINT)
            assert proxy.wait(PATIENCE) == 0
        line = events.stdout.readline()
        assert re.fullmatch(r"event RESUME at \d+\.\d{6} for domain 'tiny': <null>\n", line)
        events.send_signal(signal.SIGINT)
        rest, _ = events.communicate(timeout=PATIENCE)
        assert rest.splitlines()[-1] == "events received: 2"


def test_the_log_of_a_guest_is_there_when_it_has_ended(user: Terminals) -> None:
    define(user)
    user.run("start", "tiny")
    user.run("destroy", "tiny")
    assert "terminating on signal 15" in user.run("log", "tiny")
    assert "signal 15" in json.loads(user.run("log", "tiny", "--json"))["log"]


@pytest.mark.parametrize("verb", [["domstate", "tiny"], ["list", "--all"], ["start", "tiny"], ["dumpxml", "tiny"], ["watch"]], ids=" ".join)
def test_an_engine_that_is_stopped_costs_a_command_its_own_deadline(user: Terminals, verb: list[str]) -> None:
    define(user)
    engine = user.engine
    os.kill(engine, signal.SIGSTOP)
    try:
        said = user.run("--timeout", "2", *verb, status=124)
    finally:
        os.kill(engine, signal.SIGCONT)
    who = f"the engine of qemu:///session, process {engine}, does not answer"
    assert said == f"error: {who}, as a signal has stopped it: kill -CONT {engine} lets it go on\n"


def test_without_a_deadline_it_is_said_what_to_do(user: Terminals) -> None:
    define(user)
    engine = user.engine
    os.kill(engine, signal.SIGSTOP)
    try:
        said = user.run("domstate", "tiny", status=1)
    finally:
        os.kill(engine, signal.SIGCONT)
    assert f"kill -CONT {engine} lets it go on" in said
