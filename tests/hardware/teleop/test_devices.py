"""Protects devices at their wires: SDL, a terminal, HID reports, a servo bus, LeRobot's own interface."""

import json
import math
import os
import pty
import sys
import time
from pathlib import Path

import pytest

from hardware.errors import ConfigError, Refusal
from hardware.teleop import LinkState, Status, load_mapping, make_device
from hardware.teleop.gamepad import Gamepad, GamepadOptions
from hardware.teleop.keyboard import KeyboardWindow, WindowOptions
from hardware.teleop.lerobot_device import LeRobotDevice, LeRobotOptions
from hardware.teleop.so101_leader import (
    LeaderOptions,
    LeaderPairOptions,
    SO101Leader,
    SO101LeaderPair,
    positions,
)
from hardware.teleop.spacemouse import SpaceMouse, SpaceMouseOptions
from hardware.teleop.terminal import TerminalKeyboard, TerminalOptions, keys

sys.path.insert(0, str(Path(__file__).parent))

from servo_bus import ServoBus, checked  # noqa: E402
from virtual_gamepad import VirtualGamepad  # noqa: E402

STATUS = Status(LinkState.READY, "m", "r", 0.0, "ready", {"x": 1.0}, {"w": "x +", "s": "x -"})


def read_until(device, condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while True:
        reading = device.read(time.monotonic_ns())
        if condition(reading):
            return reading
        assert time.monotonic() < deadline_s, reading
        time.sleep(0.005)


# --- gamepad -----------------------------------------------------------------------------------


@pytest.fixture
def gamepad(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    device = Gamepad(GamepadOptions())
    with pytest.raises(Refusal, match="there is no gamepad: plug it in"):
        device.open()
    virtual = VirtualGamepad()
    device.open()
    yield device, virtual
    virtual.unplug()
    device.read(0)
    device.close()


def test_a_gamepads_sticks_triggers_and_buttons_have_names(gamepad):
    device, virtual = gamepad
    virtual.axis("left_y", -1.0)
    virtual.axis("right_trigger", 1.0)
    virtual.button("right_shoulder", True)
    reading = read_until(device, lambda r: r.controls["right_shoulder"] == 1.0)
    assert reading.controls["left_y"] == pytest.approx(-1.0)
    assert reading.controls["right_trigger"] == pytest.approx(1.0)
    assert reading.controls["left_trigger"] == pytest.approx(0.0, abs=0.01)
    assert reading.pressed == {"right_shoulder"}
    assert not device.read(1).pressed, "a press is told once"
    device.show(STATUS)


def test_a_press_between_two_readings_is_not_missed(gamepad):
    device, virtual = gamepad
    device.read(1)
    virtual.button("b", True)
    import pygame

    pygame.event.pump()
    virtual.button("b", False)
    reading = read_until(device, lambda r: r.pressed)
    assert reading.pressed == {"b"}


def test_an_unplugged_gamepad_is_lost_and_may_come_back(gamepad):
    device, virtual = gamepad
    virtual.axis("left_y", -1.0)
    virtual.button("right_shoulder", True)
    read_until(device, lambda r: r.pressed)
    virtual.unplug()
    reading = device.read(2)
    assert not reading.connected
    assert reading.problem == "the gamepad was unplugged"
    assert reading.controls == {}
    assert not device.read(3).connected
    again = VirtualGamepad()
    device.open()
    again.button("a", True)
    read_until(device, lambda r: r.controls.get("a") == 1.0)
    again.unplug()


def test_a_gamepad_can_be_chosen_by_its_name(gamepad):
    other = Gamepad(GamepadOptions(name="Accordion"))
    with pytest.raises(Refusal, match="no gamepad named 'accordion' \\(there are"):
        other.open()


# --- keyboard ----------------------------------------------------------------------------------


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    device = KeyboardWindow(WindowOptions())
    device.open()
    yield device, pygame
    device.close()


def key(pygame, kind, name):
    pygame.event.post(pygame.event.Event(kind, key=pygame.key.key_code(name)))


def test_keys_count_while_they_are_down(window):
    device, pygame = window
    key(pygame, pygame.KEYDOWN, "w")
    key(pygame, pygame.KEYDOWN, "space")
    reading = device.read(10**9)
    assert reading.connected
    assert reading.controls == {"w": 1.0, "space": 1.0}
    assert reading.pressed == {"w", "space"}
    device.show(STATUS)
    drawn = pygame.image.tobytes(pygame.display.get_surface(), "RGB")
    assert len(set(drawn)) > 20, "the window shows the state and the keys"
    key(pygame, pygame.KEYUP, "w")
    assert device.read(8).controls == {"space": 1.0}


def test_without_the_focus_the_keyboard_is_lost_and_no_key_stays_down(window):
    device, pygame = window
    key(pygame, pygame.KEYDOWN, "w")
    device.read(1)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    reading = device.read(2)
    assert not reading.connected
    assert "click on it" in reading.problem
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSGAINED))
    assert device.read(3).controls == {}


def test_a_hidden_window_takes_no_keys_although_they_come_late(window, monkeypatch):
    device, pygame = window
    monkeypatch.setattr(pygame.display, "get_active", lambda: False)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSGAINED))
    key(pygame, pygame.KEYDOWN, "w")
    assert not device.read(1).connected
    monkeypatch.undo()
    assert not device.read(2).connected
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSGAINED))
    reading = device.read(3)
    assert reading.connected
    assert (reading.controls, reading.pressed) == ({}, frozenset())


def test_a_closed_window_stays_closed(window):
    device, pygame = window
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert device.read(1).problem == "the window was closed"
    with pytest.raises(Refusal, match="the window was closed: start teleoperation anew"):
        device.open()


def test_without_a_display_the_window_says_so(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", ":9999")
    device = KeyboardWindow(WindowOptions())
    with pytest.raises(Refusal, match="there is no display for the keyboard's window"):
        device.open()


# --- terminal ----------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    device = TerminalKeyboard(TerminalOptions(tty=os.ttyname(slave)))
    device.open()
    ends = {"master": master, "slave": slave}
    yield device, ends
    device.close()
    for end in ends.values():
        os.close(end)


def test_typed_keys_are_held_for_a_moment(terminal):
    device, ends = terminal
    os.write(ends["master"], b"wW \x1b")
    reading = read_until(device, lambda r: r.pressed)
    assert reading.pressed == {"w", "space", "escape"}
    at = reading.heard_ns
    assert device.read(at + 100_000_000).controls == dict.fromkeys(("w", "space", "escape"), 1.0)
    assert device.read(at + 160_000_000).controls == {}
    device.show(STATUS)


def test_a_terminal_that_hangs_up_is_lost(terminal):
    device, ends = terminal
    os.close(ends.pop("master"))
    assert read_until(device, lambda r: not r.connected).problem == "the terminal has gone"


def test_a_terminal_is_given_back_as_it_was():
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    device = TerminalKeyboard(TerminalOptions(tty=os.ttyname(slave)))
    device.open()
    assert termios.tcgetattr(slave) != before
    device.close()
    device.close()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_what_is_no_terminal_is_refused(tmp_path):
    with pytest.raises(Refusal, match="is no terminal"):
        TerminalKeyboard(TerminalOptions(tty=str(tmp_path / "none"))).open()
    with pytest.raises(Refusal, match="is no terminal"):
        TerminalKeyboard(TerminalOptions(tty="/dev/null")).open()


def test_escape_sequences_are_not_letters():
    assert keys("a\x1b[A\x1b[3~\x1bOBq\r") == ["a", "up", "down", "q", "return"]
    assert keys("\x1b") == ["escape"]
    assert keys("\x1b[") == []


# --- SpaceMouse --------------------------------------------------------------------------------


class Reports:
    """A HID device that gives the reports it was given."""

    def __init__(self):
        self.waiting, self.is_gone, self.is_open = [], False, False

    def open(self):
        self.is_open = True

    product_string = manufacturer_string = serial_number = ""
    release_number = 0

    def read(self, size):
        if self.is_gone:
            raise OSError("read failed")
        return self.waiting.pop(0) if self.waiting else b""

    def close(self):
        self.is_open = False


def words(*values):
    return b"".join(int(v).to_bytes(2, "little", signed=True) for v in values)


@pytest.fixture
def spacemouse(monkeypatch):
    import pyspacemouse
    from pyspacemouse.config_helpers import apply_axis_convention

    hid = Reports()
    device = SpaceMouse(SpaceMouseOptions())

    def open_it(**arguments):
        assert arguments == {"device": None, "nonblocking": True, "axis_convention": "ros"}
        spec = apply_axis_convention(
            pyspacemouse.get_device_specs()["SpaceNavigator"], pyspacemouse.AxisConvention.ROS
        )
        mouse = pyspacemouse.SpaceMouseDevice(spec, hid)
        mouse.open()
        return mouse

    monkeypatch.setattr(pyspacemouse, "open", open_it)
    device.open()
    return device, hid


def test_the_reports_of_a_spacemouse_become_axes_forward_left_and_up(spacemouse):
    device, hid = spacemouse
    assert device.read(1).controls["touched"] == 0.0
    # HID: x right, y towards the user, z down; full deflection is 350 counts.
    hid.waiting = [b"\x01" + words(0, -350, 0), b"\x02" + words(0, 0, 175)]
    reading = device.read(2)
    assert reading.controls["x"] == pytest.approx(1.0)
    assert reading.controls["yaw"] == pytest.approx(-0.5)
    assert reading.controls["touched"] == 1.0
    hid.waiting = [b"\x01" + words(-350, 0, -350)]
    reading = device.read(3)
    assert (reading.controls["y"], reading.controls["z"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_the_buttons_of_a_spacemouse_and_both_together(spacemouse):
    device, hid = spacemouse
    hid.waiting = [b"\x03\x01"]
    assert device.read(1).pressed == {"left_button", "touched"}
    hid.waiting = [b"\x03\x03"]
    reading = device.read(2)
    assert reading.pressed == {"both_buttons"}
    assert reading.controls["left_button"] == 0.0


def test_a_deflected_cap_that_falls_silent_is_a_lost_device(spacemouse):
    device, hid = spacemouse
    hid.waiting = [b"\x01" + words(0, -350, 0)]
    assert device.read(10**9).heard_ns == 10**9
    assert device.read(10**9 + 200_000_000).heard_ns == 10**9 + 200_000_000
    assert device.read(10**9 + 600_000_000).heard_ns == 10**9
    hid.waiting = [b"\x01" + words(0, 0, 0)]
    assert device.read(2 * 10**9).heard_ns == 2 * 10**9
    assert device.read(9 * 10**9).heard_ns == 9 * 10**9, "a cap at rest is silent by right"


def test_a_spacemouse_that_is_pulled_is_lost(spacemouse):
    device, hid = spacemouse
    hid.is_gone = True
    assert device.read(1).problem == "the SpaceMouse has gone (read failed)"
    assert not hid.is_open
    assert not device.read(2).connected


def test_without_a_spacemouse_it_says_what_to_do(monkeypatch):
    import pyspacemouse

    def nothing(**arguments):
        raise RuntimeError("No connected or supported devices found.")

    monkeypatch.setattr(pyspacemouse, "open", nothing)
    with pytest.raises(Refusal, match="there is no SpaceMouse \\(No connected"):
        SpaceMouse(SpaceMouseOptions()).open()


# --- SO-101 leader -----------------------------------------------------------------------------


@pytest.fixture
def bus():
    made = ServoBus()
    yield made
    if made._running:
        made.unplug()


@pytest.fixture
def calibration(tmp_path):
    names = load_mapping("so101_leader_arm").parts["arm"].follow
    data = {n: {"id": i + 1, "drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 3000}
            for i, n in enumerate(names)}  # fmt: skip
    path = tmp_path / "leader.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def leader(bus, calibration):
    device = SO101Leader(LeaderOptions(port=bus.port, calibration=str(calibration), timeout_s=0.5))
    device.open()
    yield device
    device.close()


def test_a_leader_goes_limp_and_its_joints_are_read_in_radians(bus, leader):
    assert [bus.torque(i) for i in range(1, 7)] == [0] * 6
    bus.place(1, 2000)
    bus.place(2, 3024)
    bus.place(5, -24)
    bus.place(6, 1500)
    reading = leader.read(5)
    assert reading.connected
    assert reading.heard_ns == 5
    assert reading.controls["shoulder_pan"] == pytest.approx(0.0)
    assert reading.controls["shoulder_lift"] == pytest.approx(math.pi / 2)
    assert reading.controls["wrist_roll"] == pytest.approx(-2024 * math.tau / 4096)
    assert reading.controls["gripper"] == pytest.approx(0.25)
    bus.place(6, 4000)
    assert leader.read(6).controls["gripper"] == 1.0
    leader.show(STATUS)


@pytest.mark.parametrize("fault", ["silent", "garbled"])
def test_a_servo_that_does_not_answer_makes_the_reading_older(bus, leader, fault):
    first = leader.read(10)
    getattr(bus, fault).add(3)
    leader._port.timeout = 0.05
    later = leader.read(20)
    assert later.heard_ns == 10
    assert later.controls == first.controls
    getattr(bus, fault).clear()
    leader._port.timeout = 0.5
    assert leader.read(30).heard_ns == 30


def test_an_unplugged_leader_is_lost(bus, leader):
    bus.unplug()
    reading = leader.read(1)
    assert not reading.connected
    assert "the leader has gone" in reading.problem
    assert not leader.read(2).connected


def test_a_leader_without_power_is_refused_with_the_names_of_its_joints(bus, calibration):
    bus.silent = {2, 3}
    device = SO101Leader(LeaderOptions(port=bus.port, calibration=str(calibration), timeout_s=0.1))
    with pytest.raises(
        Refusal, match="the leader's elbow_flex, shoulder_lift did not answer: is its power on"
    ):
        device.open()
    missing = SO101Leader(LeaderOptions(port="/dev/none", calibration=str(calibration)))
    with pytest.raises(Refusal, match="the leader's port /dev/none cannot be opened"):
        missing.open()


@pytest.fixture
def buses():
    made = [ServoBus(), ServoBus()]
    yield made
    for one in made:
        if one._running:
            one.unplug()


def leader_pair(buses, calibration, **changes):
    ports = {"left_port": buses[0].port, "right_port": buses[1].port} | changes
    paths = {"left_calibration": str(calibration), "right_calibration": str(calibration)}
    return SO101LeaderPair(LeaderPairOptions(**ports, **paths, timeout_s=0.5))


def test_two_leaders_are_one_device_with_the_sides_before_their_joints(buses, calibration):
    device = leader_pair(buses, calibration)
    device.open()
    assert [bus.torque(1) for bus in buses] == [0, 0]
    buses[0].place(2, 3024)
    buses[1].place(6, 1500)
    reading = device.read(5)
    follow = [name for part in load_mapping("so101_leader_pair").parts.values() for name in part.follow]
    assert sorted(reading.controls) == sorted(follow)
    assert (reading.connected, reading.heard_ns) == (True, 5)
    assert reading.controls["left_shoulder_lift"] == pytest.approx(math.pi / 2)
    assert reading.controls["right_shoulder_lift"] != pytest.approx(math.pi / 2)
    assert reading.controls["right_gripper"] == pytest.approx(0.25)
    # As old as the older one.
    buses[1].silent.add(3)
    for one in device._leaders.values():
        one._port.timeout = 0.05
    assert device.read(9).heard_ns == 5
    device.close()


def test_without_one_leader_the_other_counts_for_nothing(buses, calibration):
    device = leader_pair(buses, calibration)
    device.open()
    buses[1].unplug()
    reading = device.read(1)
    assert not reading.connected
    assert reading.problem.startswith("right: the leader has gone")
    assert not device.read(2).connected
    with pytest.raises(Refusal, match="right: the leader's port .* cannot be opened"):
        device.open()
    assert not device.read(3).connected, "the left one stays closed, too"
    with pytest.raises(ConfigError, match="both leaders have the port"):
        leader_pair(buses, calibration, right_port=buses[0].port)


def test_garbage_between_answers_is_skipped():
    good = checked(bytes([4, 4, 0, 0x10, 0x08]))
    assert positions(b"\xff\x00\xff\xff\x01" + good + b"\xff\xff\xff" + good[:5]) == {4: 0x810}
    assert positions(checked(bytes([4, 4, 32, 0x10, 0x08]))) == {}, "a servo that reports a fault"
    assert positions(b"") == {}


# --- LeRobot -----------------------------------------------------------------------------------


def test_a_teleoperator_of_lerobot_is_used_by_its_name():
    import lerobot_dial

    missing = LeRobotDevice(LeRobotOptions("dial"))
    with pytest.raises(Refusal, match="dial of LeRobot cannot connect \\(no such port\\)"):
        missing.open()
    assert missing.read(1).problem == "dial of LeRobot is not connected"
    device = LeRobotDevice(LeRobotOptions("dial", {"port": "/dev/dial", "turns": 2.5}))
    device.open()
    assert isinstance(device._teleoperator, lerobot_dial.Dial)
    reading = device.read(2)
    assert reading.connected
    assert reading.controls == {"dial.pos": 2.5}
    device._teleoperator.is_broken = True
    assert device.read(3).problem == "dial of LeRobot has gone (no answer)"
    assert not device.read(4).connected
    device.show(STATUS)


def test_every_device_has_no_or_an_address():
    for name in ("gamepad_arm", "keyboard_arm", "terminal_arm", "spacemouse_arm"):
        device = make_device(load_mapping(name))
        assert device.address == ""
        device.close()
