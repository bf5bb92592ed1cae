"""A Betaflight quadrotor to connect to: the real firmware in closed loop with MuJoCo, as a process.

    python -m sim.peers.betaflight --card betaflight_sitl

The driver reaches the firmware where the card's `link` points (TCP, or a pseudo-terminal as serial port)
and a simulated motion capture sends the vehicle's pose in UDP datagrams (`POSE`) to the card's
`mocap_port`. The firmware's own ports are fixed, so it lives in a network namespace of its own where the
machine allows that, and otherwise on the machine's loopback, once. Nothing but the pose leaves the
simulation: the firmware gets its sensors, its motors move the plant. SIGINT or SIGTERM end it; the firmware
ends with it, however it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hardware.cards import load_robot_card
from hardware.drones.betaflight_config import SWITCH_HIGH_US, ControlPath
from hardware.drones.betaflight_settings import settings_of
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from sim.peers import betaflight_wire as wire
from sim.peers.betaflight_firmware import build_firmware
from sim.peers.netns import enter_private_network
from sim.peers.relay import Relay
from sim.quadrotor.airframes import MOTORS, load_airframe
from sim.twin.trace import Trace, TraceRecorder

# A captured pose: stamp (ROS clock, ns), position (m), quaternion (w, x, y, z), velocity (m/s), all in the
# world (z up), then the body's rates (rad/s, forward-left-up).
POSE = struct.Struct("<q13d")
DEFAULT_MOCAP_PORT = 14_650
_POSE_EVERY = 4
_RADIO_EVERY = 8
# A radio that is heard before the firmware's receiver is ready stays unheard for ever, seconds.
_RADIO_FROM_S = 1.5
# A loop that is later than this goes on from now: simulated time is then behind, it never leaps.
_SLACK_S = 0.02
# The firmware answers a state in a millisecond; on its first states, and where it is stopped, it does not.
_ANSWER_S = 0.3
_BOOT_S = 60.0
_PR_SET_PDEATHSIG = 1
# Folders of a firmware's files; the number of the process that they belong to follows.
_PREFIX = "reflexarc-betaflight-"
# Settings of the simulated flight controller itself: short calibration, no wait for more bytes than come.
_BENCH = ("set gyro_calib_duration = 50", "set pwr_on_arm_grace = 0", "set serial_update_rate_hz = 500")


class BetaflightPeer:
    """The firmware, its plant, its pose and its link. Made, entered, and stepped by `run`.

    Args:
        card: a card of the betaflight driver.
        firmware: the executable; None: the firmware as it is, compiled when missing.
        airframe: a name of `sim.quadrotor.airframe_names`; None: the card's parameter `airframe`.
        private: whether to try to live in a network namespace of its own.
        trace_limit_s: how much of the flight the trace keeps, seconds.

    Raises:
        ConfigError: the card is no Betaflight, the link's place is taken, or the firmware cannot be had.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        firmware: Path | None = None,
        airframe: str | None = None,
        private: bool = True,
        trace_limit_s: float = 900.0,
    ) -> None:
        """Open the side that faces the driver, then move into the private network."""
        self._settings = settings_of(card)
        self._firmware = build_firmware() if firmware is None else firmware
        name = airframe or str(card.parameters.get("airframe", "arpl"))
        self._plant = wire.Plant(load_airframe(name))
        self._pose_to = ("127.0.0.1", int(card.parameters.get("mocap_port", DEFAULT_MOCAP_PORT)))
        # These two stay in the network in which they are made: they are the way out.
        self._pose = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._relay = Relay(self._settings.link, self._connect)
        self.shared_because = enter_private_network() if private else "not asked for"
        self._recorder = TraceRecorder(
            robot=card.name, command_names=MOTORS, row_limit=round(trace_limit_s / self._plant.step_s)
        )
        _remove_orphans()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def __enter__(self) -> Self:
        """Start the firmware and wait until it answers."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the firmware."""
        self.close()

    def close(self) -> None:
        """End the firmware and take everything away."""
        self._closing = True
        if self._thread is not None:
            self._relay.stop()
            self._thread.join(timeout=3.0)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._relay.close()
        self._pose.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Process id of the firmware."""
        assert self._process is not None
        return self._process.pid

    def trace(self) -> Trace:
        """What the vehicle did: rows of true states, and its motors' set-points as commands."""
        return self._recorder.trace()

    # --- start --------------------------------------------------------------------------------

    def _start(self) -> None:
        self._prepare_settings()
        self._boot()
        self._thread = threading.Thread(target=self._relay.run, name="relay", daemon=True)
        self._thread.start()

    def _prepare_settings(self) -> None:
        """Put the flight controller's settings into its memory, as its owner would with the configurator."""
        settings = self._settings
        lines = (*_BENCH, *settings.firmware_lines, *settings.wanted.command_lines())
        kept = (
            self._firmware.parent / f"eeprom-{hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:12]}.bin"
        )
        own = self._folder / "eeprom.bin"
        if kept.is_file():
            shutil.copy(kept, own)
            return
        self._boot()
        with contextlib.closing(self._connect()) as console:
            answer = _command_lines(console, lines)
        assert self._process is not None
        self._process.wait(timeout=_BOOT_S)
        if "###ERROR" in answer or "INVALID" in answer.upper():
            raise ConfigError(
                "the firmware refuses a setting",
                where="simulated flight controller",
                expected="settings that it knows",
                mend=f"see its answer:\n{answer}\n",
            )
        fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copy(own, fresh)
        fresh.replace(kept)

    def _boot(self) -> None:
        """Start the firmware; once more where its port was not free yet."""
        for last in (False, False, True):
            self._launch()
            if self._answers():
                return
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            said = (self._folder / "firmware.log").read_text("utf-8", "replace")[-800:]
            if last or "failed!!" not in said:
                raise ConfigError(
                    "the firmware does not answer",
                    where="simulated flight controller",
                    expected=f"an answer on TCP {wire.PORT_MSP} within {_BOOT_S:.0f} s",
                    mend=f"end other simulators on this machine; it said:\n{said}\n",
                )
            time.sleep(1.0)

    def _launch(self) -> None:
        with (self._folder / "firmware.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._firmware), "127.0.0.1"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent(),
            )

    def _answers(self) -> bool:
        """Wait for its first answer."""
        assert self._process is not None
        deadline = time.monotonic() + _BOOT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), contextlib.closing(self._connect()) as probe:
                probe.settimeout(5.0)
                probe.sendall(b"$M<\x00\x01\x01")
                if probe.recv(64).startswith(b"$M>"):
                    return True
            time.sleep(0.05)
        return False

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", wire.PORT_MSP), timeout=5.0)

    # --- flight -------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool]) -> None:
        """Fly in real time.

        Args:
            until: asked every step; True ends the flight.

        Raises:
            ConfigError: the firmware ended, or another simulator holds its ports.
        """
        plant, recorder = self._plant, self._recorder
        with contextlib.ExitStack() as stack:
            motors = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            out = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                motors.bind(("127.0.0.1", wire.PORT_MOTORS))
            except OSError as error:
                raise ConfigError(
                    f"port {wire.PORT_MOTORS}: {error.strerror}",
                    where="simulated flight controller",
                    expected="one simulator per machine where network namespaces are not allowed",
                    mend="end the other one",
                ) from error
            motors.settimeout(_ANSWER_S)
            has_radio = self._settings.control is ControlPath.OVERRIDE
            step = 0
            next_s = time.monotonic()
            efforts: tuple[float, ...] | None = None
            while not until():
                out.sendto(plant.step(efforts), ("127.0.0.1", wire.PORT_STATE))
                # One answer to every state, in step: how busy the machine is changes the pace, not the
                # flight.
                efforts = _answer(motors)
                step += 1
                if step % _POSE_EVERY == 0:
                    self._capture(recorder)
                if has_radio and step % _RADIO_EVERY == 0 and plant.time_s > _RADIO_FROM_S:
                    out.sendto(self._radio(), ("127.0.0.1", wire.PORT_RADIO))
                if efforts is None:
                    self._check_alive()
                # What is late is caught up with a quarter faster than real time, and not beyond a little: the
                # simulation must not leave behind who commands it.
                now_s = time.monotonic()
                next_s = max(next_s + plant.step_s, now_s - _SLACK_S)
                time.sleep(min(plant.step_s, max(next_s - now_s, 0.0)))

    def _check_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ConfigError(
                f"the firmware ended with code {self._process.returncode}",
                where="simulated flight controller",
                expected="a firmware that runs until it is told to end",
                mend="see whether it was restarted through its configurator",
            )

    def _capture(self, recorder: TraceRecorder) -> None:
        stamp_ns = time.time_ns()
        data = self._plant.world.data
        qpos, qvel = data.qpos.copy(), data.qvel.copy()
        recorder.row(stamp_ns, qpos, qvel)
        recorder.command(stamp_ns, np.array(self._plant.world.setpoint))
        with contextlib.suppress(OSError):
            # Nobody has to listen.
            self._pose.sendto(POSE.pack(stamp_ns, *qpos, *qvel), self._pose_to)

    def _radio(self) -> bytes:
        """The pilot: sticks at rest, throttle low, the override switch on."""
        channels = [1500, 1500, 1000, 1500] + [1000] * 12
        channels[3 + self._settings.channels.override] = SWITCH_HIGH_US
        return wire.radio_packet(self._plant.time_s, channels)


def _answer(motors: socket.socket) -> tuple[float, ...] | None:
    """The firmware's answer to a state, or None when none comes in time."""
    try:
        return wire.motor_efforts(motors.recv(64))
    except TimeoutError:
        return None


def _command_lines(console: socket.socket, lines: Sequence[str]) -> str:
    """Type lines into the firmware's command line and save, which restarts it. Returns what it said."""

    def until_quiet(quiet_s: float) -> str:
        said = b""
        while select.select([console], [], [], quiet_s)[0]:
            data = console.recv(4096)
            if not data:
                break
            said += data
        return said.decode("utf-8", "replace")

    # It takes the hash for the command line only after a pause.
    console.sendall(b"#")
    answer = until_quiet(1.5)
    for line in lines:
        console.sendall(line.encode() + b"\n")
        answer += until_quiet(0.15)
    console.sendall(b"save\n")
    return answer + until_quiet(1.0)


def _die_with_parent() -> Callable[[], None]:
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _remove_orphans() -> None:
    """Take away what peers left behind that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process. Returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description="The real Betaflight firmware in closed loop with MuJoCo.")
    parser.add_argument("--card", required=True, help="robot card of the betaflight driver")
    parser.add_argument("--firmware", type=Path, help="executable; default: the firmware as it is")
    parser.add_argument("--airframe", help="vehicle; default: the card's parameter airframe")
    parser.add_argument("--trace", type=Path, help="where to write the flight when it ends (npz)")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with BetaflightPeer(
            load_robot_card(options.card), firmware=options.firmware, airframe=options.airframe
        ) as peer:
            ready: dict[str, Any] = {"firmware_pid": peer.pid, "network": peer.shared_because or "private"}
            sys.stdout.write("ready " + json.dumps(ready) + "\n")
            sys.stdout.flush()
            peer.run(stop.is_set)
            if options.trace is not None:
                peer.trace().save(options.trace)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
