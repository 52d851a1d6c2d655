"""virsh's own verbs, by the group that its manual has them in: 278, and eight of its shell. Pure facts; what is here is in ``verbs/``.

Newer than libvirt 9.0 are await, net-desc, net-metadata, hypervisor-cpu-models, nodedev-update and domthrottlegroup*.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OWN", "TITLES", "group_of", "names", "not_here"]

OWN: Final = "own"
"""The group of the verbs that virsh does not have."""

TITLES: Final = {
    "domain": "Domain Management",
    "monitor": "Domain Monitoring",
    "events": "Domain Events",
    "host": "Host and Hypervisor",
    "checkpoint": "Checkpoint",
    "interface": "Interface",
    "filter": "Network Filter",
    "network": "Networking",
    "nodedev": "Node Device",
    "secret": "Secret",
    "snapshot": "Snapshot",
    "backup": "Backup",
    "pool": "Storage Pool",
    "volume": "Storage Volume",
    "virsh": "Virsh itself",
    OWN: "aiovirt's own",
}
_GROUPS: Final = {
    "domain": """
        attach-device attach-disk attach-interface autostart await blkdeviotune blkiotune blockcommit blockcopy
        blockjob blockpull blockresize change-media console cpu-stats create define desc destroy detach-device
        detach-device-alias detach-disk detach-interface dom-fd-associate domblkthreshold domdirtyrate-calc
        domdisplay domfsfreeze domfsinfo domfsthaw domfstrim domhostname domid domif-setlink domiftune domjobabort
        domjobinfo domlaunchsecinfo domname dompmsuspend dompmwakeup domrename domsetlaunchsecstate
        domthrottlegroupdel domthrottlegroupinfo domthrottlegrouplist domthrottlegroupset domuuid domxml-from-native
        domxml-to-native dump dumpxml edit emulatorpin get-user-sshkeys guest-agent-timeout guestinfo guestvcpus
        inject-nmi iothreadadd iothreaddel iothreadinfo iothreadpin iothreadset lxc-enter-namespace managedsave
        managedsave-define managedsave-dumpxml managedsave-edit managedsave-remove memtune metadata migrate
        migrate-compcache migrate-getmaxdowntime migrate-getspeed migrate-postcopy migrate-setmaxdowntime
        migrate-setspeed numatune perf qemu-agent-command qemu-attach qemu-monitor-command qemu-monitor-event reboot
        reset restore resume save save-image-define save-image-dumpxml save-image-edit schedinfo screenshot send-key
        send-process-signal set-lifecycle-action set-user-password set-user-sshkeys setmaxmem setmem setvcpu
        setvcpus shutdown start suspend ttyconsole undefine update-device update-memory-device vcpucount vcpuinfo
        vcpupin vncdisplay""",
    "monitor": """
        domblkerror domblkinfo domblklist domblkstat domcontrol domif-getlink domifaddr domiflist domifstat dominfo
        dommemstat domstate domstats domtime list""",
    "events": """
        event""",
    "host": """
        allocpages capabilities cpu-baseline cpu-compare cpu-models domcapabilities freecell freepages hostname
        hypervisor-cpu-baseline hypervisor-cpu-compare hypervisor-cpu-models maxvcpus node-memory-tune nodecpumap
        nodecpustats nodeinfo nodememstats nodesevinfo nodesuspend sysinfo uri version""",
    "checkpoint": """
        checkpoint-create checkpoint-create-as checkpoint-delete checkpoint-dumpxml checkpoint-edit checkpoint-info
        checkpoint-list checkpoint-parent""",
    "interface": """
        iface-begin iface-bridge iface-commit iface-define iface-destroy iface-dumpxml iface-edit iface-list
        iface-mac iface-name iface-rollback iface-start iface-unbridge iface-undefine""",
    "filter": """
        nwfilter-binding-create nwfilter-binding-delete nwfilter-binding-dumpxml nwfilter-binding-list
        nwfilter-define nwfilter-dumpxml nwfilter-edit nwfilter-list nwfilter-undefine""",
    "network": """
        net-autostart net-create net-define net-desc net-destroy net-dhcp-leases net-dumpxml net-edit net-event
        net-info net-list net-metadata net-name net-port-create net-port-delete net-port-dumpxml net-port-list
        net-start net-undefine net-update net-uuid""",
    "nodedev": """
        nodedev-autostart nodedev-create nodedev-define nodedev-destroy nodedev-detach nodedev-dettach
        nodedev-dumpxml nodedev-event nodedev-info nodedev-list nodedev-reattach nodedev-reset nodedev-start
        nodedev-undefine nodedev-update""",
    "secret": """
        secret-define secret-dumpxml secret-event secret-get-value secret-list secret-set-value secret-undefine""",
    "snapshot": """
        snapshot-create snapshot-create-as snapshot-current snapshot-delete snapshot-dumpxml snapshot-edit
        snapshot-info snapshot-list snapshot-parent snapshot-revert""",
    "backup": """
        backup-begin backup-dumpxml""",
    "pool": """
        find-storage-pool-sources find-storage-pool-sources-as pool-autostart pool-build pool-capabilities
        pool-create pool-create-as pool-define pool-define-as pool-delete pool-destroy pool-dumpxml pool-edit
        pool-event pool-info pool-list pool-name pool-refresh pool-start pool-undefine pool-uuid""",
    "volume": """
        vol-clone vol-create vol-create-as vol-create-from vol-delete vol-download vol-dumpxml vol-info vol-key
        vol-list vol-name vol-path vol-pool vol-resize vol-upload vol-wipe""",
    "virsh": """
        cd connect echo exit help pwd quit""",
}

_INSTEAD: Final = {
    "await": "aiovirt wait",
    "cd": "the shell's cd",
    "connect": "the option -c URI",
    "domcontrol": "aiovirt dominfo (Monitor)",
    "echo": "the shell's echo",
    "exit": "the shell's exit",
    "iface-dumpxml": "aiovirt nodedev-dumpxml",
    "iface-list": "aiovirt nodedev-list --cap net --details",
    "iface-mac": "aiovirt nodedev-list --cap net --details",
    "pwd": "the shell's pwd",
    "quit": "the shell's exit",
    "vcpucount": "aiovirt dominfo (CPU(s))",
}
"""What does the work of a verb that is not here, where something does."""


def group_of(name: str) -> str:
    """The group of virsh's manual that a verb is in, :data:`OWN` where virsh has no such verb."""
    return next((group for group, words in _GROUPS.items() if name in words.split()), OWN)


def names() -> frozenset[str]:
    """Every verb of virsh."""
    return frozenset(name for words in _GROUPS.values() for name in words.split())


def not_here(name: str) -> str:
    """What is said of a verb of virsh that aiovirt does not have."""
    instead = _INSTEAD.get(name)
    return f"virsh's {name} is not in aiovirt; {instead} does it" if instead else f"virsh's {name} is not in aiovirt yet"
