#!/usr/bin/env bash
# One would guess: when the kernel had to drop uevents, pyudev's Monitor.poll() raises once, and the next call gives the next uevent.
# What happens (pyudev 0.24.5, libudev 252.39, Linux 6.18): poll() raises OSError "Error while polling fd" each time, for ever, though
# uevents wait in the socket: it never reads while the socket has an error, and only a read (or SO_ERROR) takes the error away.
# getsockopt(SO_ERROR) on a duplicate of its descriptor says ENOBUFS (105), and from then on poll() gives what is there.
# Why it matters: a burst of devices, such as a network card's virtual functions, blinds a watcher until it is made anew. One that
# waits until the descriptor can be read and then polls again goes round without a pause.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libudev1=252.39-1~deb12u2

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyudev==0.24.5 2>/dev/null
cat >"$folder/run.py" <<'PYTHON'
import os, socket, pyudev

monitor = pyudev.Monitor.from_netlink(pyudev.Context(), "kernel")
monitor.start()
own = socket.socket(fileno=os.dup(monitor.fileno()))
own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it its least: room for a uevent or two
for _ in range(100):
    with open("/sys/class/net/lo/uevent", "w") as uevent:
        uevent.write("change")

def poll() -> str:
    try:
        return monitor.poll(1).action
    except OSError as problem:
        return str(problem)

before = [poll() for _ in range(20)]
error = own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
after = poll()
print("pyudev", pyudev.__version__, "udev", pyudev.udev_version())
print(len(before), "times:", *set(before), "| SO_ERROR:", error, "| then:", after)
raise SystemExit(not (all("Error while polling" in one for one in before) and (error, after) == (105, "change")))
PYTHON
timeout 60 unshare --user --map-root-user --net --mount sh -ec "mount -t sysfs sysfs /sys; exec $folder/venv/bin/python $folder/run.py"
