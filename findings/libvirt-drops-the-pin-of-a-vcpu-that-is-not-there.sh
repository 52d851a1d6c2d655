#!/usr/bin/env bash
# One would guess: a <vcpupin> for a vCPU number that the domain does not have is refused when the domain is defined.
# What happens (libvirt 9.0.0, Debian 9.0.0-4+deb12u2): it is dropped, the define succeeds. All that tells is a warning in the daemon's
# log ("Ignoring vcpupin for missing vcpus"), also with --validate. Other mistakes in <cputune>, such as shares of 1, are refused.
# Why it matters: who counts vCPUs from 1 (vcpu='1' to '4' of a guest with four) loses the last pin, leaves vCPU 0 unpinned, and is not
# told. A pin for a vCPU that is to be added later has to be given again then.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
debian libvirt0=9.0.0-4+deb12u2 libvirt-clients=9.0.0-4+deb12u2

echo "<domain type='test'><name>n</name><memory unit='KiB'>65536</memory><vcpu>2</vcpu>
    <cputune><vcpupin vcpu='1' cpuset='0'/><vcpupin vcpu='2' cpuset='1'/></cputune><os><type>hvm</type></os></domain>" >"$folder/n.xml"
virsh --version
timeout 30 virsh -q -c test:///default "define --validate $folder/n.xml; dumpxml n" >"$folder/out" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
kept=$(grep -o "<vcpupin.*/>" "$folder/out")
echo "kept: $kept"
echo "log: $(cat "$folder/log")"
[ "$kept" = "<vcpupin vcpu='1' cpuset='0'/>" ]
