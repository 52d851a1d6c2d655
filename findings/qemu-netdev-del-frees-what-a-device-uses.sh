#!/usr/bin/env bash
# One would guess: netdev_del of a backend that a network card uses is refused, as blockdev-del of a disk in use is; or the card is
# seen to have none from then on.
# What happens (QEMU 7.2.22, Debian 1:7.2+dfsg-7+deb12u18): it succeeds and the backend's connection is closed. But the card's property
# `netdev` goes on to name it and `info network` goes on to list it below the card. A new backend of the same name is taken, and stands
# alone: the card is not connected to it.
# Why it matters: "the card says net0, and net0 exists" proves nothing. A manager that swaps a backend under a running guest gets no error,
# no event and a guest without a network.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1 \
    ipxe-qemu=1.0.0+git-20190125.36a4c85-5.1

timeout 60 python3 - "$folder/peer" <<'PYTHON'
import socket, sys
from qmp import Guest

def card() -> tuple[str, list[str]]:
    info = guest("human-monitor-command", command_line="info network").split("\r\n")
    return guest("qom-get", path="/machine/peripheral/nic", property="netdev"), [line.split(":")[0] for line in info if line]

with socket.socket(socket.AF_UNIX) as peer, Guest() as guest:
    peer.bind(sys.argv[1])
    peer.listen()
    peer.settimeout(10)
    guest("netdev_add", type="stream", id="net0", addr={"type": "unix", "path": sys.argv[1]})
    connection, _ = peer.accept()
    guest("device_add", driver="virtio-net-pci", id="nic", netdev="net0")
    seen = [card()]
    guest("netdev_del", id="net0")
    closed = connection.recv(1) == b""
    seen.append(card())
    guest("netdev_add", type="stream", id="net0", addr={"type": "unix", "path": sys.argv[1]})
    seen.append(card())
for when, (netdev, info) in zip(("at first", "after netdev_del", "after netdev_add"), seen, strict=True):
    print(f"{when}: netdev={netdev}; info network: {info}")
print("the backend's connection was closed:", closed)
attached = ("net0", ["nic", r" \ net0"])
raise SystemExit(not closed or seen != [attached, attached, ("net0", ["nic", r" \ net0", "net0"])])
PYTHON
