"""`python -m sim.peers.crazyflie`: the Crazyflie-like vehicle as a process, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from sim.peers.crazyflie.firmware import STEP_NS, CrazyflieFirmware
from sim.peers.crazyflie.wire import CrtpPeer
from sim.peers.mocap import DEFAULT_PORT, FlightRecorder, MotionCapture, Watched
from sim.peers.policy import MotorPolicy
from sim.peers.udp import Address, UdpPort, address_of
from sim.quadrotor.airframes import load_airframe

_DEFAULT_BIND = "127.0.0.1:19850"


def _bind_of(card: RobotCard) -> Address:
    link = urlparse(str(card.parameters.get("link", "")))
    if link.scheme != "udp" or link.hostname is None or link.port is None:
        raise ConfigError(
            f"link {card.parameters.get('link')!r}",
            where=f"robot card {card.name!r}",
            expected="udp://HOST:PORT: the simulated vehicle listens there",
            mend="give --bind, or use a card with such a link",
        )
    return link.hostname, link.port


def main(arguments: Sequence[str] | None = None, *, motor_policy: MotorPolicy | None = None) -> int:
    """Run the vehicle.

    Args:
        arguments: the command line; None: this process's.
        motor_policy: the out-of-tree controller in its firmware; None: it has none.

    Returns:
        The exit code: 0 after SIGINT or SIGTERM, 2 after bad input.
    """
    p = argparse.ArgumentParser(description="A Crazyflie-like vehicle on CRTP/UDP.")
    p.add_argument("--card", help="robot card of the crazyflie driver: where to listen, external_pose")
    p.add_argument(
        "--bind", metavar="HOST:PORT", help=f"own address; default: the card's, or {_DEFAULT_BIND}"
    )
    p.add_argument("--seed", type=int, default=0, help="seed of sensor noise and drift")
    p.add_argument(
        "--external", action="store_true", help="no positioning deck: the position comes from outside"
    )
    p.add_argument("--trace", type=Path, help="where to write the flight when it ends (npz)")
    options = p.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        card = None if options.card is None else load_robot_card(options.card)
        if options.bind is None and card is not None:
            bind = _bind_of(card)
        else:
            bind = address_of(options.bind or _DEFAULT_BIND)
        is_external = options.external or bool(card is not None and card.parameters.get("external_pose"))
        firmware = CrazyflieFirmware(
            load_airframe("crazyflie"),
            seed=options.seed,
            motor_policy=motor_policy,
            needs_external=is_external,
        )
        port = UdpPort(bind)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    watched = Watched(
        CrtpPeer(firmware, port.send),
        lambda: (firmware.body.state, firmware.effort),
        capture=None if card is None else MotionCapture(int(card.parameters.get("mocap_port", DEFAULT_PORT))),
        recorder=None if options.trace is None else FlightRecorder(options.trace, robot="crazyflie"),
    )
    sys.stdout.write("ready " + json.dumps({"port": port.port}) + "\n")
    sys.stdout.flush()
    port.run(watched, step_ns=STEP_NS, is_over=stop.is_set)
    watched.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
