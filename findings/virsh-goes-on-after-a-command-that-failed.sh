#!/usr/bin/env bash
# One would guess: virsh "A; B" stops when A fails, or its exit status tells that one of them did; the same for commands from a pipe.
# What happens (virsh 9.0.0, Debian 9.0.0-4+deb12u2): all are run, and the exit status is that of the last. From a pipe it is 0 whatever
# failed, the last one too. That goes for "connect" as well: if it fails, what follows is run on the host that was there before.
# Why it matters: virsh -c A "connect B; destroy x" destroys A's x when B cannot be reached, and says 0. In "save x; undefine x" the domain
# is undefined though it was not saved. One virsh for each command, and its exit status looked at, is safe.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2

export HOME=$folder
virsh() { timeout 30 virsh -q -c test:///default "$@" 2>"$folder/errors"; }
command virsh --version
seen=
try() { # WHAT COMMAND...: what the running domains are then, and the exit status
    local what=$1 status=0 said
    shift
    said=$("$@" | sed '/^virsh #/d' | xargs) || status=$?
    echo "$what -> '$said', exit status $status; stderr: $(head -1 "$folder/errors")"
    seen+="$said $status, "
}
piped() { printf '%s\n' "$@" | virsh; }
try "start nope; list --name" virsh "start nope; list --name"
try "connect to nobody; destroy test; list --name" virsh "connect 'test:///$folder/missing'; destroy test; list --name"
try "from a pipe: start nope" piped "start nope"
[ "$seen" = "test 0,  0,  0, " ]
