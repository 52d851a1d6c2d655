#!/usr/bin/env bash
# One would guess: `qemu-img snapshot -a 1` and `qemu-img snapshot -d 1` mean the same snapshot.
# What happens (qemu-img 7.2.22, Debian 1:7.2+dfsg-7+deb12u18+b3): -a (and convert -l) look for the ID 1 first, -d looks for the tag 1 first.
# In an image with the snapshots ID 1, tag 2 and ID 2, tag 1, `-a 1` goes back to the first and `-d 1` deletes the second.
# Why it matters: tags that are numbers (a counter, a day, a time in seconds) are common, and IDs are counted by QEMU. Who goes back to "1"
# and then deletes "1" has gone back to one state and lost another. Tags that begin with a letter are safe.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$folder"

qemu-img --version | head -1

qemu-img create -q -f qcow2 disk 1M
for tag in 2 1; do
    qemu-io -c "write -q -P 0x4$tag 0 64k" disk # 0x42 is B, 0x41 is A
    qemu-img snapshot -c "$tag" disk
done
qemu-io -c "write -q -P 0x58 0 64k" disk
qemu-img snapshot -l disk

cp disk applied && qemu-img snapshot -a 1 applied && qemu-img convert -O raw applied raw
applied=$(head -c 1 raw)
qemu-img snapshot -d 1 disk
left=$(qemu-img snapshot -l disk | awk '$1 ~ /^[0-9]+$/ {print "ID " $1 ", tag " $2}')
echo "-a 1 went back to the state of tag $(tr AB 12 <<<"$applied"); after -d 1 there is left: $left"
[ "$applied" = B ] && [ "$left" = "ID 1, tag 2" ]
