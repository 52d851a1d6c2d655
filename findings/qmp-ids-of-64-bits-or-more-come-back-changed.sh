#!/usr/bin/env bash
# One would guess: QMP's "id" may be any JSON value and comes back as it was sent.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): it goes through QEMU's own numbers. Integers from 2**64 on come back as rounded
# floats, and 1.0 as 1. Texts come back as they were.
# Why it matters: a client that numbers its commands by 128-bit integers (a UUID's int) never finds the command that an answer belongs to,
# and waits until its time limit. A text of the same digits is safe.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

timeout 60 python3 - <<'PYTHON'
from qmp import Guest

SENT = [2**64 - 1, 2**64, 0x4DEA22B31D52D8F32516782E98AB3FA0, str(2**64)]
with Guest() as guest:
    back = [guest.ask({"execute": "query-name", "id": one})["id"] for one in SENT]
for one, other in zip(SENT, back, strict=True):
    print(repr(one), "->", repr(other))
raise SystemExit([type(one) for one in back] != [int, float, float, str] or (back[0], back[3]) != (SENT[0], SENT[3]))
PYTHON
