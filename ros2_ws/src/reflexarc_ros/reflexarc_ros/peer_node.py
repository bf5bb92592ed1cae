"""peer_node: the simulated rest of the world beside a robot driver, where the robot's card names one.

It runs the process that speaks a real robot's protocol (Betaflight's firmware with a plant, a PX4-like
vehicle), and publishes what a motion capture would see of it. Nothing else of the stack knows that the
vehicle is simulated; with a card that names no peer this node is not started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from hardware.parameters import whole
from reflexarc_ros import qos
from reflexarc_ros.external_pose import MOCAP_ODOMETRY
from reflexarc_ros.messages import odometry_layout
from reflexarc_ros.node import NotYet, ReflexarcNode, Setting, destroy, run
from reflexarc_ros.peers import PEERS, find_peer
from reflexarc_ros.reference_node import AIRBORNE_TOPIC
from reflexarc_ros.start import BAD_INPUT
from reflexarc_ros.wire import Layout

# A captured pose on its way out of a peer: stamp (ROS clock, ns), position (m), quaternion (w, x, y, z) and
# velocity (m/s) in the world, body rates (rad/s).
POSE = struct.Struct("<q13d")
DEFAULT_MOCAP_PORT = 14_650
_READY = "ready"
# How long a peer is kept for a robot that still lands, and how long it may take to end.
_LINGER_S, _END_S = 45.0, 6.0
_PR_SET_PDEATHSIG = 1


class PeerNode(ReflexarcNode):
    """Runs a peer, and publishes its vehicle's pose on `mocap/odom`."""

    settings = (
        Setting(
            "card", "betaflight_sitl", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        Setting("airframe", "", "Airframe of the simulated vehicle; empty: as on the card."),
        Setting(
            "policy", "", "Folder of the policy that the simulated flight controller flies; empty: its own."
        ),
        Setting("trace_path", "", "Where the peer writes what the vehicle truly did; empty: nowhere."),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("peer_node")
        self._process: subprocess.Popen[str] | None = None
        self._threads: list[threading.Thread] = []
        self._socket: socket.socket | None = None
        self._publisher: Any = None
        self._closing = threading.Event()
        self._ready = threading.Event()

    def configure(self) -> None:
        """Start the peer; it may take minutes to be ready (the first time a firmware is compiled)."""
        card = load_robot_card(self.setting("card"))
        name = find_peer(card)
        if not name:
            raise ConfigError(
                "the card names no peer",
                where=f"robot card {card.name!r}: parameters",
                expected="peer: one of " + ", ".join(PEERS),
                mend="this node is for simulated vehicles alone",
            )
        words = ["--card", self.setting("card")]
        for option, setting in (
            ("--airframe", "airframe"),
            ("--policy", "policy"),
            ("--trace", "trace_path"),
        ):
            if self.setting(setting):
                words += [option, self.setting(setting)]
        self._closing.clear()
        self._ready.clear()
        self._listen(whole(card, "mocap_port", DEFAULT_MOCAP_PORT, most=65535))
        self._process = subprocess.Popen(
            [sys.executable, "-m", PEERS[name], *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        self._start_thread(self._read, "peer-output")
        self._start_thread(self._capture, "motion-capture")

    def activate(self) -> None:
        """Be active once the peer can be connected to. Poses go out before already."""
        if not self._ready.wait(1.0):
            raise NotYet("the simulated vehicle is getting ready")

    def deactivate(self) -> None:
        """A world does not stop; it ends with the node."""

    def cleanup(self) -> None:
        """End the peer."""
        self._closing.set()
        process, self._process = self._process, None
        if process is not None:
            for number, wait_s in ((signal.SIGINT, _END_S), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
                if process.poll() is None:
                    process.send_signal(number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(wait_s)
        for thread in self._threads:
            thread.join(2.0)
        self._threads = []
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._publisher is not None:
            destroy(self, self._publisher)
            self._publisher = None

    def stop(self) -> None:
        """End, but not before the robot is gone: it may be landing, and needs its pose."""
        deadline_s = time.monotonic() + _LINGER_S
        while (
            self._process is not None
            and self._process.poll() is None
            and self.count_publishers(AIRBORNE_TOPIC) > 0
            and time.monotonic() < deadline_s
        ):
            time.sleep(0.05)
        super().stop()

    # --- private ------------------------------------------------------------------------------

    def _start_thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _listen(self, port: int) -> None:
        self._publisher = self.create_publisher(Odometry, MOCAP_ODOMETRY, qos.SENSOR)
        self._layout: Layout = odometry_layout("world", "base_link")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0.2)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"the port {port} of the simulated motion capture cannot be opened ({error.strerror})",
                where=self.get_fully_qualified_name(),
                expected="a free port",
                mend="end the other simulated vehicle, or give the card another mocap_port",
            ) from error

    def _read(self) -> None:
        """Pass on what the peer says; its end is ours."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_READY):
                self._ready.set()
            self.get_logger().info(line.rstrip())
        code = process.wait()
        if not self._closing.is_set():
            self.health.report(DiagnosticStatus.ERROR, f"the simulated vehicle ended with exit code {code}")
            self.get_logger().error(f"the simulated vehicle ended with exit code {code}")
            self.end(BAD_INPUT if code == BAD_INPUT else 1)

    def _capture(self) -> None:
        """Publish every pose that comes."""
        while not self._closing.is_set():
            assert self._socket is not None
            try:
                data = self._socket.recv(256)
            except TimeoutError:
                continue
            if len(data) != POSE.size:
                continue
            stamp_ns, *numbers = POSE.unpack(data)
            values = np.array(numbers)
            # On the wire the velocity is the body's.
            values[7:10] = rotation_matrix(values[3:7]).T @ values[7:10]
            self._publisher.publish(self._layout.encode(stamp_ns, values))


def _end_with_parent() -> Callable[[], None]:
    """What a child does first: ask the kernel to end it when this process dies, however it does."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(PeerNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
