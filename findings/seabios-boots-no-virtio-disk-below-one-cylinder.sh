#!/usr/bin/env bash
# One would guess: a disk of one boot sector (512 bytes) boots, on whatever controller: the BIOS reads its first sector and jumps there.
# What happens (SeaBIOS 1.16.2, Debian 1.16.2-1; QEMU 7.2.22): on IDE it boots. On virtio-blk it does not, without a word, until the
# disk has one whole cylinder of 16 heads and 63 sectors: 516,096 bytes. With one sector less nothing is printed.
# Why it matters: tiny images for tests (and rescue or chain-loader disks) that boot everywhere else seem to hang as soon as the disk
# is virtio, libvirt's usual choice. Padding the file is enough.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 qemu-system-common=1:7.2+dfsg-7+deb12u18+b3 \
    qemu-system-data=1:7.2+dfsg-7+deb12u18 seabios=1.16.2-1

boots() { # SIZE DEVICE: a boot sector that prints K to the first serial port and halts
    printf '\xba\xf8\x03\xb0K\xee\xfa\xf4' >"$folder/disk"
    truncate -s 510 "$folder/disk"
    printf '\x55\xaa' >>"$folder/disk"
    truncate -s "$1" "$folder/disk"
    : >"$folder/out"
    timeout 10 qemu-system-x86_64 -nodefaults -accel tcg -m 16 -display none -serial "file:$folder/out" \
        -drive "if=none,id=d,format=raw,file=$folder/disk" -device "$2,drive=d,bootindex=1" 2>/dev/null &
    for _ in {1..90}; do [ -s "$folder/out" ] && break || sleep 0.1; done
    kill $! && wait $! 2>/dev/null || true
    [ -s "$folder/out" ] && echo boots || echo "is silent"
}

qemu-system-x86_64 --version | head -1
seen=
for one in "512 ide-hd" "512 virtio-blk-pci" "515584 virtio-blk-pci" "516096 virtio-blk-pci"; do
    answer=$(boots $one)
    echo "$one: $answer"
    seen+="$answer, "
done
[ "$seen" = "boots, is silent, is silent, boots, " ]
