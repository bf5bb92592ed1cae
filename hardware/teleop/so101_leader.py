"""SO-101 leader arms, one or two: six limp servos each, whose angles are read over their bus.

Speaks the STS3215's serial protocol itself (half duplex, 1 Mbit/s, little endian) and reads the calibration
file that `lerobot-calibrate` writes. Tested against an emulated bus on a
pseudo terminal; not run on hardware.
"""

from __future__ import annotations

import json
import math
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError, Refusal
from hardware.teleop.reading import Reading, Status, lost

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
_GRIPPER = "gripper"
_TURN = 4096
_WRITE, _SYNC_READ, _BROADCAST = 3, 0x82, 0xFE
# Registers: torque on or off, homing offset (sign in bit 11), measured position (sign in bit 15).
_TORQUE, _POSITION = 40, 56
_HEADER = b"\xff\xff"


@dataclass(frozen=True)
class LeaderOptions:
    """Where the leader is."""

    # Its serial port.
    port: str
    # The calibration file of LeRobot (JSON).
    calibration: str
    # Bits a second.
    baud_rate: int = 1_000_000
    # How long to wait for the answers of all servos, seconds.
    timeout_s: float = 0.02


@dataclass(frozen=True)
class Servo:
    """One servo's calibration."""

    # Its number on the bus.
    id: int
    # The encoder counts at both ends of its range; the middle is zero.
    range_min: int
    range_max: int


class SO101Leader:
    """The leader's joints in radians; its gripper as a share of its range, 0 (closed) to 1.

    Args:
        options: where it is.

    Raises:
        ModuleNotFoundError: pyserial is not installed.
        ConfigError: the calibration is missing or has faults.
    """

    def __init__(self, options: LeaderOptions) -> None:
        """Load the calibration."""
        import serial

        self._serial_library: Any = serial
        self._options = options
        self._servos = load_calibration(options.calibration)
        self._port: Any = None
        self._heard_ns = 0
        self._controls: dict[str, float] = {}

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Open the port, let the servos go limp, and see that all of them answer."""
        options = self._options
        try:
            self._port = self._serial_library.Serial(
                options.port, options.baud_rate, timeout=options.timeout_s, write_timeout=options.timeout_s
            )
        except (OSError, ValueError) as error:
            raise Refusal(f"the leader's port {options.port} cannot be opened ({error})") from error
        self._heard_ns, self._controls = 0, {}
        try:
            for servo in self._servos.values():
                self._port.write(packet(servo.id, _WRITE, [_TORQUE, 0]))
                self._port.read(6)
            missing = set(self._servos) - set(self._positions())
        except (OSError, termios.error) as error:
            self.close()
            raise Refusal(f"the leader does not answer ({error})") from error
        if missing:
            self.close()
            raise Refusal(f"the leader's {', '.join(sorted(missing))} did not answer: is its power on?")

    def read(self, now_ns: int) -> Reading:
        """Ask all servos where they are; what is not answered makes the last reading older."""
        if self._port is None:
            return lost("the leader is not connected")
        try:
            counts = self._positions()
        except (OSError, termios.error) as error:
            self.close()
            return lost(f"the leader has gone ({error})")
        if len(counts) == len(self._servos):
            self._heard_ns = now_ns
            self._controls = {name: _angle(name, self._servos[name], n) for name, n in counts.items()}
        return Reading(connected=True, heard_ns=self._heard_ns, controls=self._controls)

    def show(self, status: Status) -> None:
        """It shows nothing."""

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _positions(self) -> dict[str, int]:
        """The counts of the servos that answered."""
        ids = {servo.id: name for name, servo in self._servos.items()}
        self._port.reset_input_buffer()
        self._port.write(packet(_BROADCAST, _SYNC_READ, [_POSITION, 2, *ids]))
        # Header, id, length, error, two bytes of data, checksum.
        answer = self._port.read(8 * len(ids))
        return {ids[i]: count for i, count in positions(answer).items() if i in ids}


@dataclass(frozen=True)
class LeaderPairOptions:
    """Where two leaders are, each on a bus of its own."""

    # Their serial ports.
    left_port: str
    right_port: str
    # Their calibration files of LeRobot (JSON).
    left_calibration: str
    right_calibration: str
    # Bits a second.
    baud_rate: int = 1_000_000
    # How long to wait for the answers of the servos of one of them, seconds.
    timeout_s: float = 0.02


class SO101LeaderPair:
    """Two leaders as one device: the controls of `SO101Leader`, with `left_` and `right_` before them.

    Without one of them the other counts for nothing either.

    Args:
        options: where they are.

    Raises:
        ModuleNotFoundError: pyserial is not installed.
        ConfigError: a calibration is missing or has faults, or both have the same port.
    """

    def __init__(self, options: LeaderPairOptions) -> None:
        """Load both calibrations."""
        if options.left_port == options.right_port:
            raise ConfigError(
                f"both leaders have the port {options.left_port}",
                where="device 'so101_leader_pair'",
                expected="a port for each",
                mend="correct left_port or right_port",
            )
        ends = {
            "left": (options.left_port, options.left_calibration),
            "right": (options.right_port, options.right_calibration),
        }
        self._leaders = {
            side: SO101Leader(LeaderOptions(port, calibration, options.baud_rate, options.timeout_s))
            for side, (port, calibration) in ends.items()
        }

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Open both ports; where one cannot be, neither stays open."""
        try:
            for side, leader in self._leaders.items():
                try:
                    leader.open()
                except Refusal as error:
                    raise Refusal(f"{side}: {error}") from error
        except Refusal:
            self.close()
            raise

    def read(self, now_ns: int) -> Reading:
        """Ask both; the reading is as old as the older one."""
        readings = {side: leader.read(now_ns) for side, leader in self._leaders.items()}
        problems = [f"{side}: {r.problem}" for side, r in readings.items() if not r.connected]
        if problems:
            self.close()
            return lost("; ".join(problems))
        controls = {f"{side}_{n}": x for side, r in readings.items() for n, x in r.controls.items()}
        heard_ns = min(reading.heard_ns for reading in readings.values())
        return Reading(connected=True, heard_ns=heard_ns, controls=controls)

    def show(self, status: Status) -> None:
        """They show nothing."""

    def close(self) -> None:
        """Close both ports."""
        for leader in self._leaders.values():
            leader.close()


def load_calibration(path: str | Path) -> dict[str, Servo]:
    """Read a calibration file of LeRobot.

    Args:
        path: the JSON file.

    Returns:
        The servos by joint.

    Raises:
        ConfigError: the file is missing, no such file, or lacks a joint.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        servos = {n: Servo(*(int(data[n][k]) for k in ("id", "range_min", "range_max"))) for n in JOINTS}
        if not all(0 <= s.range_min < s.range_max < _TURN for s in servos.values()):
            raise ValueError("a range is empty or beyond one turn")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"the leader's calibration {str(path)!r} cannot be used ({type(error).__name__}: {error})",
            where="device 'so101_leader': option calibration",
            expected="the JSON file that lerobot-calibrate writes, with " + ", ".join(JOINTS),
            mend="calibrate the leader, and give the path of the file",
        ) from error
    return servos


def packet(servo: int, instruction: int, parameters: Sequence[int]) -> bytes:
    """Compose a request.

    Args:
        servo: its number, or 254 for all.
        instruction: what to do.
        parameters: bytes.

    Returns:
        The bytes of the wire.
    """
    body = bytes([servo, len(parameters) + 2, instruction, *parameters])
    return _HEADER + body + bytes([~sum(body) & 0xFF])


def positions(answer: bytes) -> dict[int, int]:
    """Take the answers to a read of positions apart; what is garbled is left out.

    Args:
        answer: bytes of the wire.

    Returns:
        Servo numbers to encoder counts.
    """
    found = {}
    at = answer.find(_HEADER)
    while at >= 0 and at + 8 <= len(answer):
        servo, length, error, low, high, check = answer[at + 2 : at + 8]
        if length == 4 and ~sum(answer[at + 2 : at + 7]) & 0xFF == check:
            if error == 0:
                count = low | high << 8
                found[servo] = count if count < 0x8000 else -(count & 0x7FFF)
            at = answer.find(_HEADER, at + 8)
        else:
            at = answer.find(_HEADER, at + 1)
    return found


def _angle(name: str, servo: Servo, count: int) -> float:
    if name == _GRIPPER:
        share = (count - servo.range_min) / (servo.range_max - servo.range_min)
        return min(max(share, 0.0), 1.0)
    return (count - (servo.range_min + servo.range_max) / 2) * math.tau / _TURN
