"""Valid documents for the tests to break: the fullest that is read, and what libvirt itself wrote."""

from __future__ import annotations

from pathlib import Path

LIBVIRT = Path(__file__).parent / "libvirt"

FULL = """\
<domain type='kvm' id='3'>
  <name>web</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <title>The web server</title>
  <description>On two
lines</description>
  <metadata>
    <app:owner xmlns:app="urn:app">me</app:owner>
  </metadata>
  <memory unit='MiB'>512</memory>
  <currentMemory unit='KiB'>524288</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/boot/vmlinuz</kernel>
    <initrd>/boot/initrd</initrd>
    <cmdline>console=ttyS0</cmdline>
    <boot dev='cdrom'/>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
    <pae/>
  </features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
  </cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/images/web.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <alias name='virtio-disk0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/images/install.iso'/>
      <target dev='hdc' bus='ide'/>
      <readonly/>
      <address type='drive' controller='0' bus='1' target='0' unit='0'/>
    </disk>
    <controller type='pci' index='0' model='pci-root'/>
    <serial type='unix'>
      <source mode='bind' path='/run/web.sock'/>
      <target type='isa-serial' port='0'>
        <model name='isa-serial'/>
      </target>
    </serial>
    <serial type='pty'>
      <source path='/dev/pts/4'/>
      <target port='1'/>
    </serial>
    <console type='unix'>
      <source mode='bind' path='/run/web.sock'/>
      <target type='serial' port='0'/>
    </console>
    <input type='mouse' bus='ps2'/>
    <audio id='1' type='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""

SMALL = """\
<domain>
  <name>small</name>
  <memory>65536</memory>
  <os><type>hvm</type></os>
</domain>
"""


def changed(old: str, new: str, *, document: str = FULL) -> tuple[str, int]:
    """``document`` with its first ``old`` replaced by ``new``, and the line on which that is."""
    before, found, after = document.partition(old)
    assert found, f"{old!r} is not in the document"
    return before + new + after, before.count("\n") + 1


def libvirt(name: str) -> str:
    """What libvirt 9.0 printed for ``virsh dumpxml``."""
    return (LIBVIRT / f"{name}.xml").read_text()
