#!/usr/bin/env bash
# One would guess: IPRoute.link("set", state="UP") brings an interface up or is refused, and so is a misspelt argument.
# What happens (pyroute2 0.9.7; Linux 6.18): any state but "up" in small letters means down. state="UP" takes an interface that is up down,
# without an error. An argument that pyroute2 does not know (mut=1400 for mtu=1400) is left out without a word.
# Why it matters: operstate in sysfs is "up", but `ip -j` says "UP": whoever hands on the latter takes the host's network down, and guests
# with it, while everything says that it was done. Check states by an enum, and read back what was set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyroute2==0.9.7 2>/dev/null
cat >"$folder/run.py" <<'PYTHON'
from importlib.metadata import version
from pyroute2 import IPRoute

with IPRoute() as route:
    route.link("add", ifname="v0", kind="veth", peer="v1")
    (index,) = route.link_lookup(ifname="v0")

    def after(**change: object) -> tuple[str, int]:
        route.link("set", index=index, **change)
        link = route.link("get", index=index)[0]
        return "up" if link["flags"] & 1 else "down", link.get("mtu")

    seen = [after(state="up"), after(state="UP"), after(state="up", mut=1400)]
print("pyroute2", version("pyroute2"), "| up, UP, up with mut=1400:", *seen)
raise SystemExit(seen != [("up", 1500), ("down", 1500), ("up", 1500)])
PYTHON
timeout 60 unshare --user --map-root-user --net "$folder/venv/bin/python" "$folder/run.py"
