from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.events.types import DriverBound, DriverUnbound
from aiovirt.hostdev.drivers import MAX_NAME, driver_event
from aiovirt.model.busdevice import BusDevice
from aiovirt.wire.uevent import Uevent

CARD = "0000:01:00.0"


def heard(action: str, subsystem: str = "pci", devpath: str = f"/devices/pci0000:00/0000:00:01.0/{CARD}", **env: str) -> Uevent:
    return Uevent(action=action, devpath=devpath, subsystem=subsystem, seqnum=1, env=env)


def test_a_driver_takes_a_device_and_lets_go() -> None:
    assert driver_event(heard("bind", DRIVER="igb")) == DriverBound(device=BusDevice(bus="pci", name=CARD, driver="igb"))
    assert driver_event(heard("unbind")) == DriverUnbound(device=BusDevice(bus="pci", name=CARD))


def test_who_lets_go_has_no_driver_whatever_the_uevent_says() -> None:
    assert driver_event(heard("unbind", DRIVER="igb")) == DriverUnbound(device=BusDevice(bus="pci", name=CARD))


@pytest.mark.parametrize("env", [{}, {"DRIVER": ""}])
def test_a_driver_that_is_not_named(env: dict[str, str]) -> None:
    assert driver_event(heard("bind", **env)) == DriverBound(device=BusDevice(bus="pci", name=CARD))


@pytest.mark.parametrize("action", ["add", "remove", "change", "move", "online", "offline", "BIND", ""])
def test_other_uevents_are_not_about_drivers(action: str) -> None:
    assert driver_event(heard(action, DRIVER="igb")) is None


def test_network_devices_have_no_drivers_of_their_own() -> None:
    assert driver_event(heard("bind", "net", "/devices/virtual/net/v0")) is None


@pytest.mark.parametrize("action", ["bind", "unbind"])
def test_no_driver_comes_or_goes_with_a_uevent_that_was_sent_on_request(action: str) -> None:
    assert driver_event(heard(action, "usb", "/devices/pci0000:00/0000:00:14.0/usb1/1-2", DRIVER="usb", SYNTH_UUID="0")) is None


@pytest.mark.parametrize("devpath", ["", "/", "/devices/"])
def test_a_device_without_a_name_is_none(devpath: str) -> None:
    assert driver_event(heard("bind", devpath=devpath)) is None


def test_names_longer_than_any_are_not_taken() -> None:
    longest, longer = "x" * MAX_NAME, "x" * (MAX_NAME + 1)
    assert driver_event(heard("bind", longest, f"/{longest}", DRIVER=longest)) is not None
    assert driver_event(heard("bind", longer)) is None
    assert driver_event(heard("bind", devpath=f"/{longer}")) is None
    assert driver_event(heard("bind", DRIVER=longer)) is None


odd = st.text(max_size=8) | st.sampled_from(["..", "\\xff", "a!b", "x" * 2000])


@given(st.sampled_from(["bind", "unbind"]), odd, odd, odd)
def test_any_names_are_an_event_or_none(action: str, subsystem: str, devpath: str, driver: str) -> None:
    event = driver_event(heard(action, subsystem, devpath, DRIVER=driver))
    assert event is None or (event.subject == f"{subsystem}/{event.device.name}" and str(event) and devpath.endswith(event.device.name))
