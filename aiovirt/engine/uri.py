"""Connection URIs: ``driver[+transport]://[host]/path[?parameters]`` (https://libvirt.org/uri.html)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from aiovirt.drivers.scheme import LocalScheme, Scheme
from aiovirt.engine.schemes import OWN, find_scheme, installed
from aiovirt.errors import InvalidArgument, NoConnect, Unsupported

__all__ = ["VARIABLES", "Address", "find_address", "parse_uri", "scheme_name"]

VARIABLES: Final = ("AIOVIRT_DEFAULT_URI", "LIBVIRT_DEFAULT_URI")
"""Of the environment, each before the next: the URI where none is given."""

_THERE_ARE: Final = "qemu:///session, qemu:///system and test:///default"
_LIBVIRTS: Final = frozenset(
    {"bhyve", "ch", "esx", "hyperv", "lxc", "openvz", "remote", "vbox", "vmwareplayer", "vmwarews", "vpx", "vz", "xen"}
)
_TRANSPORTS: Final = ("libvirt", "ssh", "tls", "tcp", "unix", "libssh", "libssh2", "ext")


class Address(Struct, frozen=True):
    """A URI taken apart. ``root`` is the folder of ``qemu:///embed``."""

    uri: str
    driver: str
    path: str
    scheme: Scheme
    root: Path | None = None


def parse_uri(uri: str) -> Address:
    """Raises NoConnect for a driver that does not exist or cannot be loaded, Unsupported for a transport, InvalidArgument for the rest.

    Reads the folders of installed packages, once, where the driver is not one of our own.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidArgument(f"{uri!r} is not a URI: {error}") from error
    driver, plus, transport = parts.scheme.partition("+")
    scheme = find_scheme(driver) if driver else None
    if scheme is None:
        raise _unknown(uri, driver)
    if plus and transport not in _TRANSPORTS:
        raise NoConnect(f"{uri!r}: there is no transport {transport!r}")
    if not isinstance(scheme, LocalScheme):
        return Address(uri, driver, parts.path, scheme)
    if plus or parts.netloc:
        raise Unsupported(f"{uri!r}: connections to another server are not supported yet")
    if parts.path not in scheme.paths:
        raise NoConnect(f"{uri!r}: {driver} has the paths {', '.join(scheme.paths)}, not {parts.path or '(none)'!r}")
    return Address(uri, driver, parts.path, scheme, _root(uri, parts.path, parts.query))


def scheme_name(uri: str) -> str:
    """The name of its scheme, as far as there is one."""
    return uri.partition(":")[0].partition("+")[0].lower()


def _unknown(uri: str, driver: str) -> NoConnect | Unsupported:
    more = "".join(f", {name}:///" for name in installed() if name not in OWN) if driver else ""
    if driver in _LIBVIRTS:
        return Unsupported(f"{uri!r}: libvirt's {driver} is not supported yet; there are {_THERE_ARE}{more}")
    return NoConnect(f"no connection driver available for {uri!r}; there are {_THERE_ARE}{more}")


def _root(uri: str, path: str, query: str) -> Path | None:
    parameters = parse_qs(query, keep_blank_values=True)
    root = parameters.pop("root", [""])[-1]
    if parameters:
        raise InvalidArgument(f"{uri!r}: unknown parameter {next(iter(parameters))!r}")
    if path != "/embed":
        if root:
            raise InvalidArgument(f"{uri!r}: only qemu:///embed has a root")
        return None
    if not root.startswith("/"):
        raise InvalidArgument(f"{uri!r}: qemu:///embed needs ?root=/an/absolute/folder")
    return Path(root)


def find_address(uri: str | None, environment: Mapping[str, str], *, is_root: bool) -> Address:
    """``uri``, or the usual one: AIOVIRT_DEFAULT_URI, LIBVIRT_DEFAULT_URI, ``qemu:///system`` for root, ``qemu:///session``.

    Raises as :func:`parse_uri`; where the environment has the URI, the message says so.
    """
    if uri:
        return parse_uri(uri)
    for name in VARIABLES:
        if given := environment.get(name):
            try:
                return parse_uri(given)
            except (InvalidArgument, NoConnect, Unsupported) as error:
                raise type(error)(f"{name}: {error.message}") from error
    return parse_uri("qemu:///system" if is_root else "qemu:///session")
