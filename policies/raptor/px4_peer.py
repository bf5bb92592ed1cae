"""`python -m policies.raptor.px4_peer`: the PX4-like vehicle with RAPTOR registered as its external mode.

Real PX4 has the policy in its firmware (`mc_raptor`); here the simulated vehicle gets ours by injection,
so that a client cannot tell the difference. All arguments are those of `python -m sim.peers.px4`, and
`--policy DIR` chooses the policy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from hardware.robot import Observation
from policies.policy import ActContext
from policies.raptor.policy import PUBLISHED, RaptorOptions, RaptorPolicy
from sim.peers.policy import MotorObservation, MotorPolicy
from sim.peers.px4.__main__ import main as run_vehicle
from sim.peers.px4.vehicle import STEP_NS


class RaptorMotors:
    """RAPTOR behind the interface that the PX4-like vehicle calls.

    Args:
        folder: the policy.
    """

    def __init__(self, folder: Path | str = PUBLISHED) -> None:
        """Load the policy; it is asked at every step, its hidden state advances at its own rate."""
        self._policy = RaptorPolicy.load(folder, RaptorOptions(rate_hz=1e9 / STEP_NS))

    def reset(self) -> None:
        """Begin anew: the mode was entered."""
        self._policy.reset()

    def efforts(self, observation: MotorObservation) -> Sequence[float]:
        """Four efforts, 0 to 1, in the order of `sim.quadrotor.MOTORS`."""
        o = observation
        in_body = rotation_matrix(o.orientation).T @ o.linear_velocity
        values = {
            "position": o.position,
            "orientation": o.orientation,
            "linear_velocity": in_body,
            "angular_velocity": o.angular_velocity,
            "reference_position": o.reference_position,
            "reference_velocity": o.reference_velocity,
            "reference_yaw": np.array([o.reference_yaw]),
        }
        seen = Observation(values, o.stamp_ns, o.stamp_ns)
        chunk = self._policy.act(seen, context=ActContext(now_ns=o.stamp_ns))
        return [float(e) for e in chunk.values[0]]


class RunsVehicle(Protocol):
    """The `main` of a simulated vehicle."""

    def __call__(
        self, arguments: Sequence[str] | None = None, *, motor_policy: MotorPolicy | None = None
    ) -> int:
        """Run it; returns the exit code."""


def run_with_policy(arguments: Sequence[str], run_vehicle: RunsVehicle) -> int:
    """Take `--policy DIR` out of a command line, load that policy, and run a vehicle with it.

    Args:
        arguments: the command line without the program.
        run_vehicle: takes the rest of it.

    Returns:
        The exit code: 2 where the policy cannot be loaded.
    """
    rest, folder = list(arguments), PUBLISHED
    if "--policy" in rest:
        place = rest.index("--policy")
        folder = Path(rest[place + 1]) if place + 1 < len(rest) else Path()
        del rest[place : place + 2]
    try:
        motors = RaptorMotors(folder)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run_vehicle(rest, motor_policy=motors)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the vehicle. Returns the exit code: 0 after SIGINT or SIGTERM, 2 after bad input."""
    return run_with_policy(sys.argv[1:] if arguments is None else arguments, run_vehicle)


if __name__ == "__main__":
    raise SystemExit(main())
