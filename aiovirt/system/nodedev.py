"""What libvirt's nodedev XML says beside the inventory, read from sysfs, the kernel and pci.ids in worker threads.

A network device is found by its number, whatever its name is by then. Its offloads are asked with ``SIOCETHTOOL``
(linux/ethtool.h), as libvirt does; that waits for RTNL, so it has a deadline like every other read.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import socket
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails, PCIExpress, PCILink
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCI_ADDRESS, PCIDevice
from aiovirt.system.again import SuppressLasting
from aiovirt.system.attributes import link_target, read_bytes, read_text
from aiovirt.system.sysfs import DEADLINE
from aiovirt.system.threads import BoundedThreads

__all__ = ["PCI_IDS", "DetailsReader", "express_of", "names_of"]

PCI_IDS: Final = ("/usr/share/misc/pci.ids.gz", "/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
"""Where systems keep the names of PCI devices (https://pci-ids.ucw.cz): the first that is there counts."""

_MAX_PCI_IDS: Final = 16 * 1024 * 1024
_MAX_RDMA: Final = 256
_BUSES: Final = frozenset({"pci", "usb"})

_SIOCETHTOOL: Final = 0x8946
_IFREQ: Final = struct.Struct("16sP16x")
_SWITCHES: Final = {"rx": 0x14, "tx": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}
"""libvirt's name -> the question (``ETHTOOL_GRXCSUM``, …) that is answered with 0 or 1."""
_ETHTOOL_GFLAGS: Final = 0x25
_FLAGS: Final = {"lro": 1 << 15, "rxvlan": 1 << 8, "txvlan": 1 << 7, "ntuple": 1 << 27, "rxhash": 1 << 28}
_ETHTOOL_GFEATURES: Final = 0x3A
_FEATURE_WORDS: Final = 2
_TUNNEL: Final = 1 << 25
"""The bit that libvirt takes for UDP tunnels (``TX_UDP_TNL``). The kernel has since given it to another offload;
so that the XML is the same, it is looked at all the same."""

_CONFIG: Final = 256
_STATUS, _HEADER_TYPE, _FIRST_CAPABILITY = 0x06, 0x0E, 0x34
_HAS_CAPABILITIES: Final = 0x10
_HEADER: Final = 0x40
_NOTHING: Final = 0xFF
_EXPRESS: Final = 0x10
_EXPRESS_SIZE: Final = 0x14
_WITHOUT_LINK: Final = frozenset({0x9, 0xA})  # an endpoint and an event collector inside the root complex
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")


class DetailsReader:
    """Reads below ``root``. Raises NoSuchDevice when the device is gone, SystemFailure when it cannot be read in time."""

    def __init__(self, root: str | os.PathLike[str] = "/sys", *, deadline: float = DEADLINE) -> None:
        self._root = os.path.realpath(root)
        self._threads = BoundedThreads(deadline)

    async def read(self, device: Netdev | PCIDevice) -> DeviceDetails:
        """What ``device`` has now."""
        found: list[DeviceDetails] = []
        work = self._net if isinstance(device, Netdev) else self._pci
        if not await self._threads.run(lambda: found.append(work(device))):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - each has its own
            raise SystemFailure(f"{device.subject} did not answer in time", subject=device.subject)
        return found[0]

    # What follows runs in worker threads.

    def _net(self, device: Netdev) -> DeviceDetails:
        with _failures(device):
            name = socket.if_indextoname(device.ifindex)
            path = os.path.realpath(f"{self._root}/class/net/{name}", strict=True)
            details = DeviceDetails(
                path=self._outside(path),
                parent=self._parent(path),
                features=tuple(_features(name, self._is_rdma(path))),
                wireless="DEVTYPE=wlan" in read_text(f"{path}/uevent").splitlines(),
                speed=_speed(path),
            )
            if read_text(f"{path}/ifindex") != str(device.ifindex):
                raise FileNotFoundError(errno.ENOENT, "another device has its name now")
            return details

    def _pci(self, device: PCIDevice) -> DeviceDetails:
        if not PCI_ADDRESS.fullmatch(device.address):
            raise NoSuchDevice(f"{device.address!r} is no address of a PCI function")
        with _failures(device):
            path = os.path.realpath(f"{self._root}/bus/pci/devices/{device.address}", strict=True)
            config = read_bytes(f"{path}/config", most=_CONFIG)
            vendor_name, device_name = _names(device)
            return DeviceDetails(
                path=self._outside(path),
                parent=self._parent(path),
                vendor_name=vendor_name,
                device_name=device_name,
                header_type=config[_HEADER_TYPE] & 0x7F if len(config) > _HEADER_TYPE else 0,
                express=express_of(config, os.stat(f"{path}/config").st_size),
            )

    def _outside(self, path: str) -> str:
        """A path below the root as it is called below /sys."""
        return "/sys" + os.fsencode(path.removeprefix(self._root)).decode(errors="backslashreplace")

    def _parent(self, path: str) -> BusDevice | None:
        """The nearest device above that is on one of the buses."""
        for folder in Path(path).parents:
            if str(folder) == self._root:
                break
            with SuppressLasting(OSError):
                bus = link_target(f"{folder}/subsystem")
                if bus in _BUSES:
                    return BusDevice(bus=bus, name=folder.name)
        return None

    def _is_rdma(self, path: str) -> bool:
        """Whether an RDMA device has the same registers as this one."""
        with SuppressLasting(OSError):
            resource = read_text(f"{path}/device/resource")
            folder = f"{self._root}/class/infiniband"
            return any(_resource(f"{folder}/{name}") == resource for name in os.listdir(folder)[:_MAX_RDMA])
        return False


@contextmanager
def _failures(device: Netdev | PCIDevice) -> Iterator[None]:
    """What a failure to read means."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as gone:
        raise NoSuchDevice(f"{device.subject} is gone", subject=device.subject) from gone
    except OSError as failure:
        if failure.errno in {errno.ENXIO, errno.ENODEV}:
            raise NoSuchDevice(f"{device.subject} is gone", subject=device.subject) from failure
        raise SystemFailure(f"cannot read {device.subject}: {failure.strerror}", subject=device.subject) from failure


# -- network devices ---------------------------------------------------------------------------


def _features(name: str, rdma: bool) -> Iterator[str]:  # noqa: FBT001 - one of the features
    """libvirt's names of what is on, in libvirt's order. What a driver does not answer is off, as libvirt has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:

        def ask(question: int, *room: int) -> array[int]:
            words = array("I", (question, *room))
            with SuppressLasting(OSError):
                fcntl.ioctl(channel, _SIOCETHTOOL, _IFREQ.pack(os.fsencode(name), words.buffer_info()[0]))
                return words
            return array("I", (0,) * len(words))

        yield from (feature for feature, question in _SWITCHES.items() if ask(question, 0)[1])
        flags = ask(_ETHTOOL_GFLAGS, 0)[1]
        yield from (feature for feature, flag in _FLAGS.items() if flags & flag)
        if rdma:
            yield "rdma"
        if _tunnels(ask):
            yield "txudptnl"


def _tunnels(ask: Callable[..., array[int]]) -> bool:
    """In ``struct ethtool_gfeatures``: each word is available, requested, active, never_changed."""
    return bool(ask(_ETHTOOL_GFEATURES, _FEATURE_WORDS, *(0,) * 4 * _FEATURE_WORDS)[4] & _TUNNEL)


def _speed(path: str) -> int | None:
    with SuppressLasting(OSError, ValueError):
        return int(read_text(f"{path}/speed"))
    return None


def _resource(device: str) -> str:
    with SuppressLasting(OSError):
        return read_text(f"{device}/device/resource")
    return ""


# -- PCI functions -----------------------------------------------------------------------------


def express_of(config: bytes, size: int) -> PCIExpress | None:
    """What a configuration space says of PCI Express; None where it is not there.

    Where no list of capabilities can be read, its ``size`` says so, as libvirt has it: PCI Express has more than 256 bytes.
    """
    at = _capability(config, _EXPRESS)
    if at is None or at + _EXPRESS_SIZE > len(config):
        return PCIExpress() if size != _CONFIG else None
    if not at:
        return None
    if (_U16.unpack_from(config, at + 2)[0] >> 4) & 0xF in _WITHOUT_LINK:
        return PCIExpress()
    (capable,), (status,) = _U32.unpack_from(config, at + 0xC), _U16.unpack_from(config, at + 0x12)
    return PCIExpress(port=capable >> 24, capable=_link(capable), status=_link(status))


def _link(register: int) -> PCILink:
    return PCILink(speed=register & 0xF, width=register >> 4 & 0x3F)


def _capability(config: bytes, wanted: int) -> int | None:
    """Where a capability begins, 0 where the list does not have it, None where there is no list to read.

    A list that goes in circles ends when it has been everywhere.
    """
    if len(config) < _HEADER or not config[_STATUS] & _HAS_CAPABILITIES:
        return None
    at = config[_FIRST_CAPABILITY]
    for _ in range(_CONFIG):
        if at < _HEADER or at == _NOTHING:
            return 0
        if at + 1 >= len(config):
            return None
        if config[at] == wanted:
            return at
        at = config[at + 1]
    return 0


def _names(device: PCIDevice) -> tuple[str | None, str | None]:
    """(vendor's, device's) name, as far as the system knows them."""
    for path in PCI_IDS:
        with SuppressLasting(OSError, EOFError, zlib.error), (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return names_of(file.read(_MAX_PCI_IDS), device.vendor, device.device)
    return None, None


def names_of(ids: bytes, vendor: int, device: int) -> tuple[str | None, str | None]:
    """(vendor's, device's) name in the text of a pci.ids, None where it does not have them."""
    text = b"\n" + ids
    if (start := text.find(b"\n%04x  " % vendor)) < 0:
        return None, None
    name, _, rest = text[start + 7 :].partition(b"\n")
    for line in rest.split(b"\n"):
        if line.startswith(b"\t%04x  " % device):
            return _decoded(name), _decoded(line[7:])
        if line and not line.startswith((b"\t", b"#")):
            break
    return _decoded(name), None


def _decoded(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
