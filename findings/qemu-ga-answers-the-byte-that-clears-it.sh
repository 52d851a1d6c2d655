#!/usr/bin/env bash
# One would guess: the byte 0xFF, which a client of the guest agent should send before guest-sync-delimited so that half a command left by
# someone else is dropped, is swallowed; the next answer is that of the sync.
# What happens (qemu-guest-agent 7.2.22, Debian 1:7.2+dfsg-7+deb12u18+b3): each 0xFF is answered by a line of its own, an error "JSON parse
# error, stray '\uFFFD'", and then comes 0xFF and the sync's answer. Without the byte there is only the latter; it begins with 0xFF anyhow.
# Why it matters: a client that takes the first line for the answer believes the agent to be broken, or is one answer behind from then
# on. Reading has to begin after the 0xFF, as the sync's name says.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-guest-agent=1:7.2+dfsg-7+deb12u18+b3
cd "$folder"

timeout 60 python3 - <<'PYTHON'
import json, socket, subprocess, time
from pathlib import Path

SYNC = b'{"execute":"guest-sync-delimited","arguments":{"id":7}}\n'

def answers(sent: bytes) -> list[bytes]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect("agent")
        client.sendall(sent)
        said = b""
        while not said.endswith(b'{"return": 7}\n'):
            said += client.recv(4096)
    return said.splitlines()

agent = subprocess.Popen(["qemu-ga", "-m", "unix-listen", "-p", "agent", "-t", ".", "-f", "pid"])
try:
    while not Path("agent").exists():
        time.sleep(0.05)
    without, with_it = answers(SYNC), answers(b"\xff" + SYNC)
finally:
    agent.kill()
    agent.wait()
print("without:", without)
print("with 0xFF:", with_it)
answer = b'\xff{"return": 7}'
raise SystemExit(without != [answer] or with_it[1:] != [answer] or "stray" not in json.loads(with_it[0])["error"]["desc"])
PYTHON
