#!/usr/bin/env bash
# One would guess: one system_reset is one RESET event, with guest false: the host asked for it.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18; SeaBIOS 1.16.2): after RESET host-qmp-system-reset come one to four more, of guest
# true, guest-reset. It is the BIOS, which finds itself started a second time and resets the machine to be sure; no guest was running.
# Why it matters: who counts RESET events counts two to five reboots for one, and blames the guest for them.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

timeout 60 python3 - <<'PYTHON'
import time
from qmp import Guest

with Guest("-device", "VGA") as guest:
    guest("cont")
    time.sleep(3)  # in the BIOS, or past it: there is nothing to boot
    guest("query-status")
    guest.events.clear()
    guest("system_reset")
    guest.wait("RESET", guest=True)
    said = [(event["event"], event["data"]["reason"]) for event in guest.events]
print(*said)
raise SystemExit(said[:2] != [("RESET", "host-qmp-system-reset"), ("RESET", "guest-reset")])
PYTHON
