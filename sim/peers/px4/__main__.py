"""`python -m sim.peers.px4`: the PX4-like vehicle, until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from hardware.errors import ConfigError
from sim.peers.px4.parameters import ParameterStore
from sim.peers.px4.process import Address, UdpPeer
from sim.peers.px4.vehicle import MotorPolicy, PeerVehicle
from sim.quadrotor.airframes import airframe_names, load_airframe


def address_of(text: str) -> Address:
    """Read HOST:PORT.

    Raises:
        ConfigError: the text is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(
            f"{text!r} is no address",
            where="PX4-like vehicle",
            expected="HOST:PORT",
            mend="write it as 127.0.0.1:14540",
        )
    return host, int(port)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m sim.peers.px4", description="A PX4-like vehicle on MAVLink/UDP."
    )
    p.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="where to send telemetry; may be repeated (default 127.0.0.1:14540)",
    )
    p.add_argument("--bind", default="127.0.0.1:14580", metavar="HOST:PORT", help="the vehicle's own address")
    p.add_argument("--airframe", default="x500_sim", choices=airframe_names(), help="what flies")
    p.add_argument("--seed", type=int, default=0, help="seed of sensor noise and drift")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a PX4 parameter; may be repeated"
    )
    return p


def main(arguments: Sequence[str] | None = None, *, motor_policy: MotorPolicy | None = None) -> int:
    """Run the vehicle.

    Args:
        arguments: the command line; None: this process's.
        motor_policy: what flies the mode EXTERNAL1; None: the mode is not registered.

    Returns:
        The exit code: 0 after an interrupt, 2 after bad input.
    """
    settings = parser().parse_args(arguments)
    is_over = False

    def stop(number: int, frame: object) -> None:
        nonlocal is_over
        is_over = True

    try:
        changes = {}
        for pair in settings.set:
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
        vehicle = PeerVehicle(
            load_airframe(settings.airframe),
            seed=settings.seed,
            parameters=ParameterStore(changes),
            motor_policy=motor_policy,
        )
        send_to = [address_of(text) for text in settings.to or ["127.0.0.1:14540"]]
        peer = UdpPeer(vehicle, send_to=send_to, bind=address_of(settings.bind))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    sys.stdout.write(f"port {peer.port}\n")
    sys.stdout.flush()
    peer.run(lambda: is_over)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
