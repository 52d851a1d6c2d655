#!/usr/bin/env bash
# One would guess: `virsh start 1` and `virsh destroy 1` mean the same domain; or a domain cannot be called 1.
# What happens (libvirt 9.0.0, Debian 9.0.0-4+deb12u2): any digits are a name. Each virsh command tries ID, UUID and name in this order, but
# only those of them that make sense for it: start takes no ID. So `start 1` starts the domain called 1 and `destroy 1` stops the one
# that has the ID 1, which is the first that was started on this host.
# Why it matters: guests that are called by a number (a ticket, a customer, a counter) are at risk in every script that hands names to
# virsh. `virsh destroy "$(virsh domuuid 1)"` is no way out, for domuuid takes IDs too. A name that has a letter in it is safe.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2

echo "<domain type='test'><name>1</name><memory>65536</memory><os><type>hvm</type></os></domain>" >"$folder/1.xml"
virsh --version
running() { # after these commands; the test driver has one domain, called test, with the ID 1
    timeout 30 virsh -q -c test:///default "define $folder/1.xml; ${1:+$1;} list --name" | xargs
}
first=$(running "") started=$(running "start 1") destroyed=$(running "start 1; destroy 1")
echo "running at first: $first | after start 1: $started | after destroy 1: $destroyed"
[ "$first" = test ] && [ "$started" = "test 1" ] && [ "$destroyed" = 1 ]
