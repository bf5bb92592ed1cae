"""`python -m sim.peers.px4`: the PX4-like vehicle as a process, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from sim.peers.mocap import DEFAULT_PORT, FlightRecorder, MotionCapture, Watched
from sim.peers.policy import MotorPolicy
from sim.peers.px4.parameters import ParameterStore
from sim.peers.px4.vehicle import STEP_NS, PeerVehicle
from sim.peers.px4.wire import MavlinkPeer
from sim.peers.udp import UdpPort, address_of
from sim.quadrotor.airframes import load_airframe

_DEFAULT_TO = "127.0.0.1:14540"
_DEFAULT_AIRFRAME = "x500_sim"


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="A PX4-like vehicle on MAVLink/UDP.")
    p.add_argument("--card", help="robot card of the px4 driver: where to send, airframe, peer_parameters")
    p.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help=f"where to send telemetry; may be repeated; default: the card's link, or {_DEFAULT_TO}",
    )
    p.add_argument("--bind", default="127.0.0.1:0", metavar="HOST:PORT", help="own address; 0: a free port")
    p.add_argument("--airframe", help=f"what flies; default: the card's, or {_DEFAULT_AIRFRAME}")
    p.add_argument("--seed", type=int, default=0, help="seed of sensor noise and drift")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a PX4 parameter")
    p.add_argument("--trace", type=Path, help="where to write the flight when it ends (npz)")
    return p


def _parameters(card: RobotCard | None, pairs: Sequence[str]) -> ParameterStore:
    changes: dict[str, float] = {}
    if card is not None:
        changes |= {str(k): float(v) for k, v in dict(card.parameters.get("peer_parameters", {})).items()}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            raise ConfigError(
                f"{pair!r} cannot be read",
                where="--set",
                expected="NAME=VALUE with a number",
                mend="correct the parameter",
            ) from None
    return ParameterStore(changes)


def _link_of(card: RobotCard) -> str:
    link = str(card.parameters.get("link", f"udpin:{_DEFAULT_TO}"))
    kind, _, rest = link.partition(":")
    if kind != "udpin":
        raise ConfigError(
            f"link {link!r}",
            where=f"robot card {card.name!r}",
            expected="udpin:HOST:PORT: the simulated vehicle sends there",
            mend="give --to, or use a card with such a link",
        )
    return rest


def main(arguments: Sequence[str] | None = None, *, motor_policy: MotorPolicy | None = None) -> int:
    """Run the vehicle.

    Args:
        arguments: the command line; None: this process's.
        motor_policy: what flies the mode EXTERNAL1; None: the mode is not registered.

    Returns:
        The exit code: 0 after SIGINT or SIGTERM, 2 after bad input.
    """
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        card = None if options.card is None else load_robot_card(options.card)
        send_to = options.to or [_DEFAULT_TO if card is None else _link_of(card)]
        given = _DEFAULT_AIRFRAME if card is None else str(card.parameters.get("airframe", _DEFAULT_AIRFRAME))
        vehicle = PeerVehicle(
            load_airframe(options.airframe or given),
            seed=options.seed,
            parameters=_parameters(card, options.set),
            motor_policy=motor_policy,
        )
        port = UdpPort(address_of(options.bind), send_to=[address_of(text) for text in send_to])
        watched = Watched(
            MavlinkPeer(vehicle, port.send),
            lambda: (vehicle.body.state, vehicle.effort),
            capture=_capture(card),
            recorder=_recorder(options.trace, card),
        )
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("ready " + json.dumps({"port": port.port, "to": send_to}) + "\n")
    sys.stdout.flush()
    port.run(watched, step_ns=STEP_NS, is_over=stop.is_set)
    watched.close()
    return 0


def _capture(card: RobotCard | None) -> MotionCapture | None:
    if card is None:
        return None
    return MotionCapture(int(card.parameters.get("mocap_port", DEFAULT_PORT)))


def _recorder(path: Path | None, card: RobotCard | None) -> FlightRecorder | None:
    return None if path is None else FlightRecorder(path, robot="px4" if card is None else card.name)


if __name__ == "__main__":
    raise SystemExit(main())
