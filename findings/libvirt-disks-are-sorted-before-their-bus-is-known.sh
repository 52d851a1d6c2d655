#!/usr/bin/env bash
# One would guess: a disk's bus that libvirt fills in by its name (vdc: virtio, hda: ide) is as good as one that is said, so both
# texts below make the same domain; disks stay as written, or are sorted by bus and name.
# What happens (libvirt 9.0.0, Debian 9.0.0-4+deb12u2): disks are put in order of their names' letters within one bus, and this is done
# before the bus is filled in. Disks without a bus count as of one bus: vdc, hda becomes hda, vdc. With both buses said it stays.
# Why it matters: without <boot order=...> the first disk of the list is booted. Who fills in the bus before libvirt reads the XML, or
# who adds it later "because it is the default anyway", changes which disk a guest boots from.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2

targets() { # disks as name or name:bus; prints the names in libvirt's order
    local disks=() one
    for one in "$@"; do
        bus=${one#*:}
        [ "$bus" = "$one" ] && bus= || bus=" bus='$bus'"
        disks+=("<disk type='file'><source file='/${one%:*}'/><target dev='${one%:*}'$bus/></disk>")
    done
    echo "<domain type='test'><name>n</name><memory>65536</memory><os><type>hvm</type></os><devices>${disks[*]}</devices></domain>" >"$folder/n.xml"
    timeout 30 virsh -q -c test:///default "define $folder/n.xml; dumpxml n" | sed -n "s/.*<target dev='\([a-z]*\)'.*/\1/p" | xargs
}

virsh --version
unsaid=$(targets vdc hda) said=$(targets vdc:virtio hda:ide)
echo "vdc, hda -> $unsaid"
echo "vdc (virtio), hda (ide) -> $said"
[ "$unsaid" = "hda vdc" ] && [ "$said" = "vdc hda" ]
