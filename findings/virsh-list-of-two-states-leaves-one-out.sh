#!/usr/bin/env bash
# One would guess: virsh list --state-running --state-shutoff shows domains of either state, as --state-running --state-paused does.
# What happens (virsh 9.0.0, Debian 9.0.0-4+deb12u2): --state-shutoff stands for --inactive, too, and no inactive domain runs: the one
# that runs is left out, in silence and with status 0. With --all it is there.
# Why it matters: a script that asks "which are running or shut off", to save or to start them, passes over all that run.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2

export HOME=$folder
virsh() { timeout 30 virsh -q -c test:///default "$@"; }
command virsh --version
seen=
try() { # the names that virsh list prints with these options; the test driver's one domain runs
    local said
    said=$(virsh list --name "$@" | xargs)
    echo "list $* -> '$said'"
    seen+="$said,"
}
try --state-running
try --state-running --state-paused
try --state-running --state-shutoff
try --all --state-running --state-shutoff
[ "$seen" = "test,test,,test," ]
