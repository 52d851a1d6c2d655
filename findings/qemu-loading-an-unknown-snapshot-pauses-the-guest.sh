#!/usr/bin/env bash
# One would guess: snapshot-load with a tag that does not exist fails and leaves the guest as it was.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): the command succeeds, its job says STOP at once and fails ("Snapshot 'nope'
# does not exist in one or more devices"), and the guest that ran stays stopped, in the run state restore-vm. There is no RESUME.
# Why it matters: a mistyped tag stops a working guest. Who asks for a load has to read the job's error and send cont itself, and who
# checks tags first (by query-named-block-nodes) saves the guest a halt.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

: >"$folder/disk"

timeout 60 python3 - "$folder/disk" <<'PYTHON'
import sys
from qmp import Guest

with Guest("-blockdev", f"driver=file,node-name=file,filename={sys.argv[1]}") as guest:
    guest("blockdev-create", job_id="create", options={"driver": "qcow2", "file": "file", "size": 1048576})
    guest.wait("JOB_STATUS_CHANGE", id="create", status="concluded")
    guest("job-dismiss", id="create")
    guest("blockdev-add", driver="qcow2", node_name="disk", file="file")
    guest("cont")
    guest("snapshot-load", job_id="load", tag="nope", vmstate="disk", devices=["disk"])
    guest.wait("JOB_STATUS_CHANGE", id="load", status="concluded")
    error = guest("query-jobs")[0]["error"]
    state = guest("query-status")
    moves = [event["event"] for event in guest.events if event["event"] in {"STOP", "RESUME"}]
print("the job:", error)
print("the guest, after cont and snapshot-load:", *moves, "->", state["status"], "running:", state["running"])
raise SystemExit((moves, state["status"], state["running"]) != (["RESUME", "STOP"], "restore-vm", False))
PYTHON
