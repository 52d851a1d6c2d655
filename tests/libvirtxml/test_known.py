"""The names that libvirt knows: all that the schema of the libvirt that is installed has."""

from __future__ import annotations

import pytest

from aiovirt.libvirtxml.known import is_known
from docs.generate_known import SCHEMA, names_of, paths_of


def test_all_that_libvirts_own_schema_names_is_known() -> None:
    paths = paths_of(names_of(SCHEMA))
    assert len(paths) > 2000
    assert [path for path in paths if not is_known(path[:-1], path[-1])] == []


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("domain/devices/interface", True),
        ("domain/devices/disk/@snapshot", True),
        ("domain/devices/disk/backingStore/backingStore/backingStore/source/@file", True),
        ("domain/{http://libvirt.org/schemas/domain/qemu/1.0}commandline", True),
        ("domain/interface", False),
        ("domain/devices/teapot", False),
        ("domain/devices/teapot/@name", False),
        ("domain/devices/disk/@colour", False),
        ("domain/features/{urn:a}acpi", False),
    ],
)
def test_a_name_is_known_where_it_may_stand(path: str, is_there: bool) -> None:  # noqa: FBT001 - a case
    *above, name = path.replace("{http://libvirt.org/schemas/domain/qemu/1.0}", "{Q}").split("/")
    assert is_known(above, name.replace("{Q}", "{http://libvirt.org/schemas/domain/qemu/1.0}")) is is_there
