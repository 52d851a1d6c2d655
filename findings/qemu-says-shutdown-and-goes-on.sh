#!/usr/bin/env bash
# One would guess: after the event SHUTDOWN a guest is down: QEMU ends, or with -no-shutdown stays in the run state shutdown.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18, with -no-reboot -no-shutdown): system_reset of a guest that was not started yet
# says SHUTDOWN (host-qmp-system-reset). The run state is still prelaunch, and cont runs the guest as if nothing had been said.
# Why it matters: libvirt runs its guests so that QEMU stays and reads SHUTDOWN as the end. A manager that then takes down the guest's
# networks and locks does so under a guest that can be run; query-status has the last word.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

timeout 60 python3 - <<'PYTHON'
from qmp import Guest

with Guest("-no-reboot", "-no-shutdown") as guest:
    guest("system_reset")
    guest.wait("SHUTDOWN", reason="host-qmp-system-reset")
    after = guest("query-status")["status"]
    guest("cont")
    at_last = guest("query-status")["status"]
print("SHUTDOWN, then query-status:", after, "| cont, then query-status:", at_last)
raise SystemExit((after, at_last) != ("prelaunch", "running"))
PYTHON
