#!/usr/bin/env bash
# One would guess: device_add with the JSON number "addr": 16 puts the device in slot 16, or is refused because addr is a text.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): the number is written out in decimal and that text is read as hexadecimal, as
# all texts for addr are: slot 0x16, which is 22. (QEMU 10 and 11 take a number for slot and function in one: slot 2, function 0.)
# Why it matters: the device is there and works, in another place than the manager has written down; the slot that it believes to be free
# is taken, and the guest's name for the device changes when it is started with the same plan next time.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

timeout 60 python3 - <<'PYTHON'
from qmp import Guest

with Guest() as guest:
    guest("device_add", driver="virtio-rng-pci", id="number", addr=16)
    guest("device_add", driver="virtio-rng-pci", id="text", addr="0x10")
    slots = {device["qdev_id"]: device["slot"] for device in guest("query-pci")[0]["devices"]}
print("addr 16 -> slot", slots["number"], "| addr '0x10' -> slot", slots["text"])
raise SystemExit((slots["number"], slots["text"]) != (22, 16))
PYTHON
