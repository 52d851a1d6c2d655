#!/usr/bin/env bash
# One would guess: after connection.close() nothing that came from it works any more, and the host's socket is closed; the more so after
# "with libvirt.open(...)".
# What happens (libvirt-python 9.0.0, Debian python3-libvirt 9.0.0-1): while one domain object is kept, close() returns 1 and the connection
# stays open. domain.destroy() still destroys, whereas the connection object itself raises "invalid connection pointer".
# Why it matters: a service that keeps domains in a cache and closes its connection when it is told to let go of a host, goes on to hold
# one of the host's clients and can still change it. Look at what close() returns: 0 means closed.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 python3-libvirt=9.0.0-1

timeout 30 /usr/bin/python3 - 2>/dev/null <<'PYTHON'
import libvirt

with libvirt.open("test:///default") as connection:
    domain = connection.lookupByName("test")
try:
    connection.getHostname()
    connection_says = "works"
except libvirt.libvirtError as problem:
    connection_says = str(problem)
before, done, after = domain.isActive(), domain.destroy(), domain.isActive()

other = libvirt.open("test:///default")
kept = other.lookupByName("test")
with_one = other.close()
none = libvirt.open("test:///default").close()
print("libvirt", libvirt.getVersion(), "| the connection:", connection_says)
print("the domain, running:", before, "| destroy():", done, "| running:", after)
print("close() with a domain kept:", with_one, "| without:", none)
raise SystemExit((before, done, after, with_one, none) != (1, 0, 0, 1, 0) or "invalid connection" not in connection_says)
PYTHON
