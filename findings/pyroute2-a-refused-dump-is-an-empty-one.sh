#!/usr/bin/env bash
# One would guess: where the kernel refuses a dump, pyroute2 raises NetlinkError, as it does for any other request.
# What happens (pyroute2 0.9.7, 0.8.1; Linux 6.18): the kernel puts the errno of a refused dump in NLMSG_DONE, at which pyroute2 does not
# look. With strict_check=True, the addresses of an interface that does not exist are an empty list; the kernel's answer was ENODEV.
# Why it matters: a manager that lists devices, addresses or routes takes "refused" for "there are none", and may take down or free
# what is in use.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyroute2==0.9.7 2>/dev/null
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import errno, socket, struct
from importlib.metadata import version
from pyroute2 import IPRoute

GONE = 99999
with IPRoute(strict_check=True) as route:
    answer = list(route.addr("dump", index=GONE))
print("pyroute2", version("pyroute2"), "says", answer)

with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
    kernel.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK
    kernel.send(struct.pack("=IHHII BBBBI", 24, 22, 0x301, 1, 0, 0, 0, 0, 0, GONE))  # RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP
    _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", kernel.recv(65536))
print("the kernel says", {2: "NLMSG_ERROR", 3: "NLMSG_DONE"}[kind], errno.errorcode.get(-code, code))
raise SystemExit((answer, kind, -code) != ([], 3, errno.ENODEV))
PYTHON
