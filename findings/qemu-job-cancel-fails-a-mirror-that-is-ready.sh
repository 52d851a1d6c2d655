#!/usr/bin/env bash
# One would guess: job-cancel, the general form of block-job-cancel, does the same to a mirror that is ready: the copy is finished as of
# now and the guest stays on its disk.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): job-cancel always forces. The job goes to aborting, BLOCK_JOB_CANCELLED comes
# and its error is "Operation canceled". Only block-job-cancel (whose force is false by default) goes through waiting and pending to
# BLOCK_JOB_COMPLETED, without an error. job-cancel has no argument for it.
# Why it matters: "keep the copy" (libvirt: blockjob --abort of a ready copy) by the newer command gives a failed job and a copy of
# which nothing is promised. QEMU 11.1 is the same, and there most other block-job-* commands are deprecated.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

timeout 60 python3 - <<'PYTHON'
from qmp import Guest

def cancelled_by(command: str, **arguments: str) -> list[str]:
    disks = [f"driver=null-co,node-name={name},size=1048576,read-zeroes=on" for name in ("from", "to")]
    with Guest("-blockdev", disks[0], "-blockdev", disks[1]) as guest:
        guest("blockdev-mirror", job_id="copy", device="from", target="to", sync="full", auto_dismiss=False)
        guest.wait("BLOCK_JOB_READY")
        guest.events.clear()
        guest(command, **arguments)
        guest.wait("JOB_STATUS_CHANGE", status="concluded")
        steps = [event["data"].get("status") or event["event"] for event in guest.events]
        steps.append(guest("query-jobs")[0].get("error", "no error"))
    print(command, "->", *steps)
    return steps

hard = cancelled_by("job-cancel", id="copy")
soft = cancelled_by("block-job-cancel", device="copy")
raise SystemExit(
    hard != ["aborting", "BLOCK_JOB_CANCELLED", "concluded", "Operation canceled"]
    or soft != ["waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded", "no error"]
)
PYTHON
