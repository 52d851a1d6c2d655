#!/usr/bin/env bash
# One would guess: `echo change > uevent` in sysfs makes the very uevent that the device itself would make.
# What happens (Linux 6.18): it has one key more, SYNTH_UUID=0, though no UUID was written. A device that is made has none.
# Why it matters: `udevadm trigger` and scripts write to this file for every device of a host. Who counts uevents, or takes "add" for a
# device that came, can tell the two apart by this key, also where no udevd runs.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian iproute2=6.1.0-3

cat >"$folder/run.py" <<'PYTHON'
import socket, subprocess

def heard() -> list[str]:
    return kernel.recv(8192).decode().split("\0")[1:]

with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as kernel:  # NETLINK_KOBJECT_UEVENT
    kernel.settimeout(10)
    kernel.bind((0, 1))
    with open("/sys/class/net/lo/uevent", "w") as uevent:
        uevent.write("change")
    by_hand = heard()
    subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    own = heard()
print("by hand:", *by_hand)
print("its own:", *own)
raise SystemExit("SYNTH_UUID=0" not in by_hand or any(one.startswith("SYNTH_UUID") for one in own))
PYTHON
uname -sr
timeout 60 unshare --user --map-root-user --net --mount sh -ec "mount -t sysfs sysfs /sys; exec python3 $folder/run.py"
