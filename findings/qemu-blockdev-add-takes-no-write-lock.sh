#!/usr/bin/env bash
# One would guess: blockdev-add of an image that another QEMU writes to fails: images are locked, and read-only is not asked for.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): it succeeds, and query-named-block-nodes says the node can be written to. The lock
# is asked for when something wants to write: device_add of a disk on it fails with 'Failed to get "write" lock'.
# Why it matters: a manager that takes blockdev-add for the test whether a disk is free finds out only when the device is plugged, with
# the nodes already made; they have to be taken out again.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

truncate -s 1M "$folder/disk"

timeout 60 python3 - "$folder/disk" <<'PYTHON'
import sys
from qmp import Guest, Refused

FILE = f"driver=file,node-name=disk,filename={sys.argv[1]}"
with Guest("-blockdev", FILE, "-device", "virtio-blk-pci,drive=disk"), Guest() as second:
    print("blockdev-add:", second("blockdev-add", driver="file", node_name="disk", filename=sys.argv[1]))
    read_only = second("query-named-block-nodes")[0]["ro"]
    print("read-only:", read_only)
    try:
        second("device_add", driver="virtio-blk-pci", drive="disk")
        refused = ""
    except Refused as problem:
        refused = str(problem)
print("device_add:", refused)
raise SystemExit(read_only or 'Failed to get "write" lock' not in refused)
PYTHON
