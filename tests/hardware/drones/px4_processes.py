"""The PX4-like vehicle and a driver as processes, for tests over real sockets in real time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind
from hardware.drones.mavlink import Framer
from hardware.drones.px4_setpoints import TextPieces
from hardware.drones.state import REFERENCE_NAMES

ROOT = Path(__file__).parents[3]
# Long: the machine may be busy with everything else. Nothing is measured against it.
PATIENCE_S = 90.0


def environment():
    """One thread each, and our packages importable."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def free_port():
    """A UDP port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_peer(port, *arguments, module="sim.peers.px4"):
    """The vehicle, sending to a port; it is ended however the test ends."""
    settings = [f"--set={name}={value}" for name, value in FIRMWARE.items()]
    command = [sys.executable, "-m", module, "--to", f"127.0.0.1:{port}", *settings, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    try:
        assert process.stdout.readline().startswith("ready ")
        yield process
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=90) == 0
        finally:
            process.kill()
            process.stdout.close()


# The firmware's own patience, long enough for a machine that stands still for a moment.
FIRMWARE = {"COM_OBL_RC_ACT": 4, "COM_OF_LOSS_T": 3, "COM_DISARM_PRFLT": 60}


def card(port, name="px4_peer", **parameters):
    """A card whose link is a port of this test, for a driver and a firmware with patience."""
    loaded = load_robot_card(name)
    wanted = {
        "link": f"udpin:127.0.0.1:{port}",
        "connect_timeout_s": PATIENCE_S,
        "firmware_parameters": FIRMWARE,
    }
    commands = {n: replace(spec, robot_timeout_s=2.0) for n, spec in loaded.commands.items()}
    return replace(loaded, commands=commands, parameters=dict(loaded.parameters) | wanted | parameters)


class GroundStation:
    """A second listener: collects in a thread of its own what the vehicle says to a port."""

    def __init__(self, port):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(0.2)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.said, self.armed = [], None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self._thread.join(timeout=30)
        self._socket.close()

    def _listen(self):
        framer, pieces = Framer(keeps_rest=False), TextPieces()
        while not self._is_over.is_set():
            try:
                data = self._socket.recv(2048)
            except TimeoutError:
                continue
            for received in framer.feed(data):
                m = received.message
                if received.name == "STATUSTEXT":
                    self.said.append(pieces.add(m.id, m.chunk_seq, m.text))
                elif received.name == "HEARTBEAT":
                    self.armed = bool(m.base_mode & 128)


def wait_for(condition, what, patience_s=PATIENCE_S):
    """Poll until a condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.02)


def reference(position, velocity=(0.0, 0.0, 0.0), yaw=0.0):
    """A REFERENCE that starts now."""
    import numpy as np

    return Command(
        CommandKind.REFERENCE,
        REFERENCE_NAMES,
        np.array([*position, *velocity, yaw], dtype=float),
        time.time_ns(),
        time.monotonic_ns(),
    )
