#!/usr/bin/env bash
# One would guess: when swtpm dies under a running guest, QEMU sends an event, or at least query-tpm has no TPM any more.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18; swtpm 0.7.1-1.3, libtpms 0.9.2): no event comes, the guest runs on and query-tpm
# lists the TPM as before. There are two signs: query-chardev's file name for it begins with "disconnected:", and there is a line on
# QEMU's stderr each time the guest uses the TPM.
# Why it matters: libvirt starts swtpm beside the guest; who manages guests without it has to watch that process itself, or ask
# query-chardev.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1 \
    swtpm=0.7.1-1.3 swtpm-libs=0.7.1-1.3 libtpms0=0.9.2-3.1+deb12u1
cd "$folder"

timeout 60 python3 - 2>stderr <<'PYTHON' || { tail -3 stderr; exit 1; }
import subprocess, time
from pathlib import Path
from qmp import Guest

def seen() -> tuple:
    name = next(chardev["filename"] for chardev in guest("query-chardev") if chardev["label"] == "tpm")
    return guest("query-status")["status"], [tpm["id"] for tpm in guest("query-tpm")], name.startswith("disconnected:")

words = ["swtpm", "socket", "--tpm2", "--tpmstate", "dir=.", "--ctrl", "type=unixio,path=control"]
swtpm = subprocess.Popen(words)
try:
    while not Path("control").exists():
        time.sleep(0.05)
    device = ["-chardev", "socket,id=tpm,path=control", "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
    with Guest(*device) as guest:
        guest("cont")
        guest.wait("RESUME")
        guest.events.clear()
        before = seen()
        swtpm.kill()
        swtpm.wait()
        time.sleep(2)
        after = seen()
        print("run state, TPMs, disconnected: before", before, "after", after, "events:", guest.events)
        raise SystemExit((before, after, guest.events) != (("running", ["tpm0"], False), ("running", ["tpm0"], True), []))
finally:
    swtpm.kill()
    swtpm.wait()
PYTHON
echo "stderr: $(head -1 stderr)"
