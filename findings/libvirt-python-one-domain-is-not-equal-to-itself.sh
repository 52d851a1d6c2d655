#!/usr/bin/env bash
# One would guess: two virDomain objects of one domain on one connection are equal and may be keys of a dict or members of a set.
# What happens (libvirt-python 9.0.0, Debian python3-libvirt 9.0.0-1): each lookup makes a new object, and objects are compared by identity.
# lookupByName("test") == lookupByName("test") is False, and neither is in a set of the other. UUID() is the same.
# Why it matters: the domain that an event callback gets is a new object too, so "is it one of mine?" by == or in is always no, and a dict
# with domains as its keys grows. Keep UUIDs.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 python3-libvirt=9.0.0-1

timeout 30 /usr/bin/python3 - <<'PYTHON'
import libvirt

connection = libvirt.open("test:///default")
one, other = connection.lookupByName("test"), connection.lookupByName("test")
seen = one == other, one in {other}, one.UUID() == other.UUID()
print("libvirt", libvirt.getVersion(), "| equal, in a set, same UUID:", *seen)
raise SystemExit(seen != (False, False, True))
PYTHON
