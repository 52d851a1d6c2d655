#!/usr/bin/env bash
# One would guess: the kernel refuses control characters in the name of a network interface; and `ip -j` always prints JSON.
# What happens (iproute2 6.1.0, Debian 6.1.0-3; Linux 6.18): the kernel refuses white space, '/' and ':' only. Escape, and bytes that
# are not UTF-8, are taken; and `ip -j` prints them as they are, in what a JSON parser then refuses. A quote is escaped as it should be.
# Why it matters: one such device (guests' tools and containers may name theirs) and the list of all devices cannot be read any more,
# by whoever reads it through `ip -j`. What prints names to a terminal must make them harmless by itself.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian iproute2=6.1.0-3

cat >"$folder/run.py" <<'PYTHON'
import json, subprocess

def ip(*words: str | bytes) -> bytes:
    return subprocess.run(["ip", *words], check=True, capture_output=True).stdout

def read_by_json(name: bytes) -> str:
    ip("link", "add", name, "type", "veth", "peer", "name", "v1")
    said = ip("-j", "link", "show", "dev", name)
    ip("link", "del", "v1")
    try:
        return json.loads(said)[0]["ifname"]
    except ValueError as problem:
        return type(problem).__name__

seen = {name: read_by_json(name) for name in (b'a"b', b"a\x1bb", b"a\xffb")}
print(subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout, end="")
print(seen)
raise SystemExit([*seen.values()] != ['a"b', "JSONDecodeError", "UnicodeDecodeError"])
PYTHON
uname -sr
timeout 60 unshare --user --map-root-user --net python3 "$folder/run.py"
