"""The machine that is here, beside what libvirt says of it; and machines that are files below a folder."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from aiovirt.errors import InvalidArgument, SystemFailure
from aiovirt.model.node import NodeInfo, NodeMemoryStats, node_info
from aiovirt.model.units import KiB
from aiovirt.system.node import hostname, read_cpu_stats, read_memory_stats, read_node_info

NOBODY = 65534 if os.geteuid() == 0 else None


def virsh(words: str) -> str:
    """By libvirt's QEMU driver, embedded; as nobody where we are root, as it would want a user of its own to be there."""
    groups: list[int] | None = [] if NOBODY is not None else None
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        Path(folder).chmod(0o777)
        command = ["virsh", "-q", "-c", f"qemu:///embed?root={folder}/root", words]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=groups,
            env=os.environ | {"HOME": folder},
        )
    return done.stdout


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r":\s+(\d+)", text)]


def test_libvirt_sees_the_same_machine() -> None:
    info = read_node_info()
    theirs = virsh("nodeinfo")
    assert theirs.split("\n")[0].split() == ["CPU", "model:", info.model]
    cpus, mhz, *rest = numbers(theirs)
    assert [cpus, *rest] == [info.cpus, info.sockets, info.cores, info.threads, info.nodes, info.memory // KiB]
    assert abs(mhz - info.mhz) <= max(mhz, info.mhz) // 2  # it changes from moment to moment
    assert hostname() == virsh("hostname").strip()


def test_libvirt_counts_the_same_time_and_memory() -> None:
    """What only grows lies between our two looks; memory in all does not change."""
    for cpu in (None, 0):
        before, after = read_cpu_stats(cpu), virsh("nodecpustats" + ("" if cpu is None else f" --cpu {cpu}"))
        later = read_cpu_stats(cpu)
        for low, theirs, high in zip(
            (before.user, before.kernel, before.idle), numbers(after)[:3], (later.user, later.kernel, later.idle), strict=True
        ):
            assert low <= theirs <= high
    assert numbers(virsh("nodememstats"))[0] == read_memory_stats().total // KiB
    assert numbers(virsh("nodememstats --cell 0"))[0] == read_memory_stats(0).total // KiB


def machine(root: Path, places: list[tuple[int, int, int]], online: str) -> Path:
    """A machine in files: ``places`` are (node, socket, core) of its CPUs."""
    for cpu, (_, socket, core) in enumerate(places):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{socket}\n")
        (topology / "core_id").write_text(f"{core}\n")
    (root / "sys/devices/system/cpu/online").write_text(online + "\n")
    for node in {node for node, _, _ in places}:
        folder = root / f"sys/devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(",".join(str(cpu) for cpu, place in enumerate(places) if place[0] == node) + "\n")
        (folder / "meminfo").write_text(f"Node {node} MemTotal:        1024 kB\nNode {node} MemFree:        512 kB\n")
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("processor\t: 0\ncpu MHz\t\t: 1995.312\n")
    (root / "proc/meminfo").write_text("MemTotal:  4096 kB\nMemFree:  2048 kB\nMemAvailable: 9 kB\nBuffers: 3 kB\nCached: 5 kB\n")
    (root / "proc/stat").write_text("cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 5\n")
    return root


def test_two_nodes_with_threads(tmp_path: Path) -> None:
    places = [(node, node, core) for node in (0, 1) for core in (0, 1) for _ in (0, 1)]
    info = read_node_info(machine(tmp_path, places, "0-7"))
    model = os.uname().machine
    assert info == NodeInfo(model=model, memory=2 << 20, cpus=8, mhz=1995, nodes=2, sockets=1, cores=2, threads=2)
    assert read_memory_stats(1, tmp_path) == NodeMemoryStats(total=1 << 20, free=512 * KiB)
    assert read_memory_stats(None, tmp_path) == NodeMemoryStats(total=4 << 20, free=2 << 20, buffers=3 * KiB, cached=5 * KiB)


def test_a_machine_with_cpus_offline_is_one_socket(tmp_path: Path) -> None:
    places = [(0, 0, core) for core in (0, 1) for _ in (0, 1)]
    info = read_node_info(machine(tmp_path, places, "0,2-3"))
    assert (info.cpus, info.nodes, info.sockets, info.cores, info.threads) == (3, 1, 1, 3, 1)


def test_without_numa_all_is_one_node(tmp_path: Path) -> None:
    machine(tmp_path, [(0, 0, 0), (0, 0, 1)], "0-1")
    (tmp_path / "sys/devices/system/node/node0").rename(tmp_path / "gone")
    info = read_node_info(tmp_path)
    assert (info.memory, info.nodes, info.cores) == (4 << 20, 1, 2)


def test_times_are_nanoseconds_and_irqs_the_kernels(tmp_path: Path) -> None:
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    machine(tmp_path, [(0, 0, 0)], "0")
    every, first = read_cpu_stats(None, tmp_path), read_cpu_stats(0, tmp_path)
    assert (every.user, every.kernel, every.idle, every.iowait) == (30 * tick, 160 * tick, 40 * tick, 50 * tick)
    assert first.total == 28 * tick


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    machine(tmp_path, [(0, 0, 0)], "0")
    with pytest.raises(InvalidArgument, match="no CPU 7"):
        read_cpu_stats(7, tmp_path)
    with pytest.raises(InvalidArgument, match="no NUMA cell 7"):
        read_memory_stats(7, tmp_path)
    with pytest.raises(SystemFailure, match=r"cannot read .*proc/stat: No such file"):
        read_cpu_stats(0, tmp_path / "nowhere")


def test_no_cpus_at_all_is_no_division_by_zero() -> None:
    assert node_info([], model="x", memory=0, mhz=0).cpus == 0
