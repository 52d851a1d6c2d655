#!/usr/bin/env bash
# One would guess: a JetStream stream forgets the Nats-Msg-Id of a message that was purged, so that publishing it again stores it again.
# What happens (nats-server 2.9.10, Debian 2.9.10-1+b3): within the duplicate window (120 s by default) the answer is an acknowledgement
# with "duplicate": true and the sequence number of the message that is gone; nothing is stored. Ids are the whole stream's, so the
# same id on another subject is a duplicate too.
# Why it matters: a host that forwards its guests' events under an id of its own (host, number) may purge and send anew, or number per
# subject; each message is acknowledged and none is there. Look at "duplicate" in the acknowledgement, and count.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian nats-server=2.9.10-1+b3
cd "$folder"

timeout 60 python3 - <<'PYTHON'
import json, socket, subprocess
from pathlib import Path

def request(subject: str, body: str = "", headers: str = "") -> dict:
    if headers:
        headers = f"NATS/1.0\r\n{headers}\r\n\r\n"
        client.sendall(f"HPUB {subject} answers {len(headers)} {len(headers + body)}\r\n{headers}{body}\r\n".encode())
    else:
        client.sendall(f"PUB {subject} answers {len(body)}\r\n{body}\r\n".encode())
    while not (line := lines.readline()).startswith(b"MSG "):
        assert not line.startswith(b"-ERR"), line
    return json.loads(lines.read(int(line.split()[-1]) + 2))

def publish(subject: str) -> dict:
    return request(subject, "event", "Nats-Msg-Id: host-1")

def stored() -> int:
    return request("$JS.API.STREAM.INFO.S")["state"]["messages"]

words = "nats-server --jetstream --store_dir store --addr 127.0.0.1 --port -1 --ports_file_dir . --log log"
server = subprocess.Popen(words.split())
try:
    while not (ports := [*Path().glob("*.ports")]) or not (text := ports[0].read_text()):
        pass
    with socket.create_connection(("127.0.0.1", int(json.loads(text)["nats"][0].rpartition(":")[2])), 10) as client, client.makefile("rb") as lines:
        client.sendall(b'CONNECT {"verbose": false, "headers": true}\r\nSUB answers 1\r\n')
        request("$JS.API.STREAM.CREATE.S", json.dumps({"name": "S", "subjects": ["guest.*"], "storage": "file"}))
        print("published:", publish("guest.a"), "stored:", stored())
        request("$JS.API.STREAM.PURGE.S")
        again, other = publish("guest.a"), publish("guest.b")
        print("purged, published again:", again)
        print("on another subject:", other)
        print("stored:", left := stored())
finally:
    server.terminate()
    server.wait()
raise SystemExit(not (again.get("duplicate") and other.get("duplicate") and left == 0))
PYTHON
