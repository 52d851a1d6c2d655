from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.engine.paths import find_folders
from aiovirt.engine.uri import Address, find_address, parse_uri
from aiovirt.errors import Error, ErrorCode, InvalidArgument, NoConnect, Unsupported


@pytest.mark.parametrize("uri", ["qemu:///session", "qemu:///system", "test:///default"])
def test_what_there_is(uri: str) -> None:
    address = parse_uri(uri)
    assert (address.driver, address.path, address.root) == (uri[:4], uri[7:], None)


def test_an_engine_in_a_folder() -> None:
    assert parse_uri("qemu:///embed?root=/srv/lab").root == Path("/srv/lab")


@pytest.mark.parametrize(
    ("uri", "kind", "code"),
    [
        ("foo:///x", NoConnect, ErrorCode.NO_CONNECT),
        ("", NoConnect, ErrorCode.NO_CONNECT),
        ("qemu", NoConnect, ErrorCode.NO_CONNECT),
        ("qemu:///", NoConnect, ErrorCode.NO_CONNECT),
        ("test:///session", NoConnect, ErrorCode.NO_CONNECT),
        ("qemu+pigeon:///system", NoConnect, ErrorCode.NO_CONNECT),
        ("qemu+ssh://root@host/system", Unsupported, ErrorCode.NO_SUPPORT),
        ("qemu://host/system", Unsupported, ErrorCode.NO_SUPPORT),
        ("qemu:///embed", InvalidArgument, ErrorCode.INVALID_ARG),
        ("qemu:///embed?root=here", InvalidArgument, ErrorCode.INVALID_ARG),
        ("qemu:///session?root=/x", InvalidArgument, ErrorCode.INVALID_ARG),
        ("qemu:///system?mode=auto", InvalidArgument, ErrorCode.INVALID_ARG),
        ("qemu://[::1/system", InvalidArgument, ErrorCode.INVALID_ARG),
    ],
)
def test_what_there_is_not(uri: str, kind: type[Error], code: ErrorCode) -> None:
    with pytest.raises(kind) as refused:
        parse_uri(uri)
    assert refused.value.code == code


@given(st.text())
def test_any_text_is_an_address_or_an_error_of_ours(uri: str) -> None:
    with contextlib.suppress(Error):
        assert isinstance(parse_uri(uri), Address)


def test_the_uri_where_none_is_given() -> None:
    assert find_address(None, {}, is_root=True).uri == "qemu:///system"
    assert find_address(None, {}, is_root=False).uri == "qemu:///session"
    libvirts = {"LIBVIRT_DEFAULT_URI": "test:///default"}
    assert find_address(None, libvirts, is_root=True).uri == "test:///default"
    assert find_address(None, libvirts | {"AIOVIRT_DEFAULT_URI": "qemu:///session"}, is_root=True).uri == "qemu:///session"
    assert find_address(None, libvirts | {"AIOVIRT_DEFAULT_URI": ""}, is_root=True).uri == "test:///default"
    assert find_address("qemu:///system", libvirts, is_root=False).uri == "qemu:///system"


@pytest.mark.parametrize("uri", ["xen:///system", "lxc:///system", "esx://host/?no_verify=1", "qemu+ssh://host/system"])
def test_a_uri_of_libvirts_in_the_environment_is_refused_by_name(uri: str) -> None:
    """It is not passed over: another host than the one that was meant would be worse."""
    with pytest.raises(Unsupported, match=r"^LIBVIRT_DEFAULT_URI: .* not supported yet") as refused:
        find_address(None, {"LIBVIRT_DEFAULT_URI": uri}, is_root=True)
    assert uri in refused.value.message


def test_the_folders_of_each_kind() -> None:
    session, system, embed = (parse_uri(uri) for uri in ("qemu:///session", "qemu:///system", "qemu:///embed?root=/r"))
    home = {"HOME": "/home/me"}
    found = find_folders(session, home, {})
    assert [str(found.config), str(found.state), str(found.runtime)] == [
        "/home/me/.config/aiovirt",
        "/home/me/.local/state/aiovirt",
        "/home/me/.cache/aiovirt/run",
    ]
    xdg = home | {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/1"}
    found = find_folders(session, xdg, {})
    assert [str(found.config), str(found.state), str(found.runtime)] == ["/c/aiovirt", "/s/aiovirt", "/run/user/1/aiovirt"]
    assert str(find_folders(system, xdg, {}).runtime) == "/run/aiovirt"
    assert str(find_folders(embed, xdg, {}).state) == "/r/state"


def test_arguments_move_folders_and_so_does_the_environment() -> None:
    address = parse_uri("qemu:///session")
    environment = {"HOME": "/h", "AIOVIRT_STATE_DIR": "/from/env", "AIOVIRT_CONFIG_DIR": "/env/config"}
    found = find_folders(address, environment, {"config": "/given", "state": None, "runtime": Path("/r")})
    assert [str(found.config), str(found.state), str(found.runtime)] == ["/given", "/from/env", "/r"]
    with pytest.raises(InvalidArgument, match="absolute"):
        find_folders(address, environment, {"state": "relative"})


def test_what_the_uri_says_wins_over_the_environment() -> None:
    address = parse_uri("qemu:///embed?root=/srv/lab")
    environment = {f"AIOVIRT_{which}_DIR": "/from/env" for which in ("CONFIG", "STATE", "RUNTIME")}
    found = find_folders(address, environment, {})
    assert [str(found.config), str(found.state), str(found.runtime)] == ["/srv/lab/config", "/srv/lab/state", "/srv/lab/runtime"]
    assert str(find_folders(address, environment, {"state": "/given"}).state) == "/given"


def test_the_folders_of_another_driver_are_its_own() -> None:
    """Also where both are moved to the same place: neither attaches to the other's engine."""
    qemu = parse_uri("qemu:///session")
    other = Address("xl:///session", "xl", "/session", qemu.scheme)
    home = {"HOME": "/home/me"}
    found = find_folders(other, home, {})
    assert (str(found.config), str(found.definitions)) == ("/home/me/.config/aiovirt/xl", "/home/me/.config/aiovirt/xl/xl")
    assert not set(found.locks) & set(find_folders(qemu, home, {}).locks)
    moved = {"config": "/c", "state": "/s", "runtime": "/r"}
    assert find_folders(other, home, moved).place != find_folders(qemu, home, moved).place
