#!/usr/bin/env bash
# One would guess: `virsh domxml-to-native qemu-argv` prints the command line that a definition comes to, and touches nothing of the host:
# a network card of QEMU's own user network is printed as "-netdev user", for a user who may start such a guest by the same driver.
# What happens (libvirt 9.0.0, Debian 9.0.0-4+deb12u2): the command tries to make a tap device on the host for the card, and an unprivileged
# user is refused: "Unable to create tap device vnet0: Operation not permitted", though the definition needs no device of the host. So
# it is with a card between guests (mcast), too. Without a network card the command line is printed.
# Why it matters: who compares command lines, or checks definitions in CI as an ordinary user, cannot do so with this command for any guest
# with a network card; and where the user may make devices it is no dry run.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2 libvirt-daemon-driver-qemu=9.0.0-4+deb12u2

LIBVIRT_DRIVER_DIR=$(dirname "$(find "$folder/debian" -name libvirt_driver_qemu.so)")
export LIBVIRT_DRIVER_DIR
mkdir "$folder/root"
nobody=()
if [ "$(id -u)" = 0 ]; then # as root, libvirt's QEMU driver would want a user of its own to be there
    nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    chmod 755 "$folder" && chown 65534:65534 "$folder/root"
fi
export HOME=$folder/root

native() { # of a domain with this device; what virsh says
    echo "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os>
        <devices><emulator>$(command -v qemu-system-x86_64)</emulator>$1</devices></domain>" >"$folder/n.xml"
    "${nobody[@]}" timeout 60 virsh -q -c "qemu:///embed?root=$folder/root" "domxml-to-native qemu-argv $folder/n.xml" 2>&1 || true
}

virsh --version
for card in "" "<interface type='user'/>" "<interface type='mcast'><source address='230.0.0.1' port='5558'/></interface>"; do
    native "$card" | grep -oE 'Unable to create tap device.*|-netdev [^ ]*|-machine [^, ]*' | xargs echo "${card:-no card}:" | tee -a "$folder/seen"
done
grep -q '^no card: -machine pc' "$folder/seen"
[ "$(grep -c 'Unable to create tap device vnet0: Operation not permitted' "$folder/seen")" = 2 ]
