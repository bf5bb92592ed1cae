"""Real Betaflight firmware and our driver as processes, for tests in real time over real sockets.

The firmware and its world move in step: a busy machine makes them slow, not wrong. What a test waits for
has long deadlines; only arming is tried again, because a firmware that has just started refuses it for good
reasons.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardware.cards import load_robot_card
from hardware.drones.vehicle import ExternalPose
from hardware.errors import Refusal
from hardware.schema import dump
from sim.peers.betaflight import POSE
from sim.twin.trace import Trace

ROOT = Path(__file__).parents[3]
PATIENCE_S = 90.0
# The world's own time between two poses.
POSE_S = 0.01


def environment():
    """One thread each, and our packages importable."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl", "PYTHONPATH": str(ROOT)}


def free_port(kind):
    """A port of this machine that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def card_file(folder, name, *, serial=False, **settings):
    """A card with ports of this test's own, as a file for processes."""
    card = load_robot_card(name)
    link = f"serial:{folder / 'tty'}" if serial else f"tcp:127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    own = dict(card.parameters["betaflight"]) | {"link": link} | settings
    parameters = dict(card.parameters) | {"mocap_port": free_port(socket.SOCK_DGRAM), "betaflight": own}
    path = folder / "card.yaml"
    path.write_text(dump(replace(card, parameters=parameters)), encoding="utf-8")
    return path


class Peer:
    """The firmware in its world, as a process; `trace` is what the vehicle truly did, once it has ended."""

    def __init__(self, card, folder, module="sim.peers.betaflight"):
        self._trace = folder / "trace.npz"
        command = [sys.executable, "-m", module, "--card", str(card), "--trace", str(self._trace)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
        )

    def __enter__(self):
        line = read_line(self.process.stdout)
        if not line.startswith("ready "):
            self.process.kill()
            raise AssertionError(f"the peer said {line!r}: {self.process.stderr.read()}")
        return self

    def end(self):
        """End it as a person would; gives the trace."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=PATIENCE_S) == 0
        return Trace.load(self._trace)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def read_line(stream):
    """One line, or a failed test."""
    assert select.select([stream], [], [], PATIENCE_S)[0], "nothing was said in time"
    return stream.readline()


class MotionCapture:
    """Hands the peer's poses to a vehicle, in a thread of its own, while it is open."""

    def __init__(self, vehicle):
        self._vehicle = vehicle
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A test may listen in our place for a while (`simulated`).
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", vehicle.card.parameters["mocap_port"]))
        self._socket.settimeout(0.2)
        self._is_over, self.is_blind = threading.Event(), threading.Event()
        # The world's time since the first pose, seconds: it is what a reference has to follow.
        self.time_s = 0.0
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def _carry(self):
        while not self._is_over.is_set():
            with contextlib.suppress(TimeoutError):
                stamp_ns, *numbers = POSE.unpack(self._socket.recv(256))
                self.time_s += POSE_S
                if not self.is_blind.is_set():
                    n = np.array(numbers)
                    self._vehicle.external_pose(ExternalPose(n[:3], n[3:7], stamp_ns, n[7:10]))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()
        self._socket.close()


def simulated(card, seconds):
    """Wait until the world has moved on by so much of its own time, however long that takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as poses:
        poses.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        poses.bind(("127.0.0.1", load_robot_card(card).parameters["mocap_port"]))
        poses.settimeout(PATIENCE_S)
        for _ in range(round(seconds / POSE_S)):
            poses.recv(256)


def wait_for(condition, what, vehicle=None):
    """Poll until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        state = "" if vehicle is None else f": {vehicle.status}, {vehicle.safe_stopped}"
        assert time.monotonic() < deadline, f"not in time: {what}{state}"
        time.sleep(0.02)


def arm(vehicle):
    """Arm, as soon as the firmware finds no reason against it."""
    deadline = time.monotonic() + PATIENCE_S
    while not vehicle.status.armed:
        with contextlib.suppress(Refusal):
            vehicle.arm()
        assert time.monotonic() < deadline, f"not armed: {vehicle.status}"
        time.sleep(0.1)


def take_off(vehicle, height_m):
    """Arm and climb."""
    arm(vehicle)
    vehicle.take_off(height_m)
    wait_for(lambda: vehicle.status.follows_commands, "up", vehicle)
