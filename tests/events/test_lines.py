"""Every event's line for people."""

from __future__ import annotations

import pytest

from aiovirt.events import DomainReboot, Event, MonitorLost, NetdevAdded, NetdevChanged, NetdevRenamed, SourceResynced
from aiovirt.model.netdev import OperState, Unreadable
from tests.events import samples
from tests.events.samples import netdev, started


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (started(0), "d0  started  booted"),
        (DomainReboot(uuid=samples.UUIDS[0], name="d0", by_guest=True), "d0  reboot  by the guest"),
        (MonitorLost(uuid=samples.UUIDS[0], name="d0", why="end of file"), "d0  monitor lost  end of file"),
        (MonitorLost(uuid=samples.UUIDS[0], name="d0", why="held", degraded=True), "d0  monitor degraded  held"),
        (
            NetdevAdded(device=netdev(1, mac="52:54:00:00:00:01", mtu=1500, operstate=OperState.UP, phys_port_id="c0ffee")),
            "eth1  added  mac 52:54:00:00:00:01  mtu 1500  operstate up  phys_port_id c0ffee",
        ),
        (NetdevAdded(device=netdev(1)), "eth1  added  mtu 0  operstate unknown  phys_port_id unsupported"),
        (NetdevRenamed(old=netdev(1), new=netdev(1, name="lan0")), "lan0  renamed  from eth1"),
        (NetdevChanged(old=netdev(1), new=netdev(1, mtu=9000)), "eth1  changed  mtu 0 -> 9000"),
        (NetdevChanged(old=netdev(1), new=netdev(1, flags=0x41)), "eth1  changed  flags +up +running"),
        (
            NetdevChanged(old=netdev(1), new=netdev(1, phys_port_id=Unreadable("EIO"))),
            "eth1  changed  phys_port_id unsupported -> unreadable (EIO)",
        ),
        (SourceResynced(source="rtnetlink", reason="ENOBUFS"), "rtnetlink  resynced  ENOBUFS"),
    ],
)
def test_a_line_says_whom_what_and_how(event: Event, words: str) -> None:
    time, _, rest = str(event).partition("  ")
    assert len(time) == len("14:03:12.345")
    assert rest == words
