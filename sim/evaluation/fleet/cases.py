"""What a fleet is flown through: manoeuvre, start, what is wrong, and how often the policy is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.quadrotor.fleet import StartRules
from sim.quadrotor.perturbations import Perturbations

Float32Array = NDArray[np.float32]

# The authors' simulator: one Runge-Kutta step a control step. Finer steps are for delays below 10 ms.
_COARSE_S, _FINE_S = 0.01, 0.0025
# The figure eight's ramp, specs of RAPTOR, section 3.1.
RAMP_S = 1.0


class FleetController(Protocol):
    """What flies N vehicles at once."""

    def reset(self, count: int) -> None:
        """Begin anew with so many vehicles."""
        ...

    def act(self, observation: Float32Array, now_ns: int) -> Float32Array:
        """Answer one observation a vehicle.

        Args:
            observation: shape (N, 22), specs of RAPTOR, section 1.5, errors not clipped.
            now_ns: time since the start, nanoseconds.

        Returns:
            Actions, shape (N, 4), -1 to 1 for efforts of 0 to 1.
        """
        ...


class RecurrentController(FleetController, Protocol):
    """One that remembers."""

    @property
    def hidden(self) -> Float32Array:
        """A copy of the hidden states, shape (N, H)."""
        ...


class FleetPolicy(Protocol):
    """A policy that can fly with its error clipping or without."""

    def controller(self, *, clip_errors: bool) -> RecurrentController:
        """Make a controller."""
        ...


@dataclass(frozen=True)
class Case:
    """One row of a table: every airframe flies it once."""

    # A short name, unique in its table.
    name: str
    # Seconds for a loop of the figure eight; None: hover.
    figure_eight_s: float | None = None
    # Loops of the figure eight, after its ramp of 1 s.
    loops: int = 5
    # How long a hover lasts, seconds.
    hover_s: float = 5.0
    # Whether a hover is judged by its last second; if not, as a figure eight is.
    judged_at_end: bool = True
    # Where a hover begins; None: at rest where it should be, the rotors carrying the weight.
    start: StartRules | None = None
    # Whether the controller sees the reference's velocity.
    knows_velocity: bool = True
    # What makes it harder.
    perturbations: Perturbations = field(default_factory=Perturbations)
    # How often the policy is asked, Hz. Its last action is held in between.
    policy_hz: int = 100
    # Whether the physics runs at 400 Hz instead of 100 Hz.
    fine_physics: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be flown.

        Raises:
            ConfigError: a rate that the physics does not fit, or a figure eight from a drawn start.
        """
        physics_hz = 400 if self.fine_physics else 100
        if self.policy_hz < 1 or physics_hz % self.policy_hz:
            raise ConfigError(
                f"policy_hz is {self.policy_hz}",
                where=f"case {self.name!r}",
                expected=f"a divisor of {physics_hz}, the rate of its physics",
                mend="choose 50 or 100, or 400 with fine_physics",
            )
        if self.figure_eight_s is not None and (self.start is not None or not self.figure_eight_s > 0):
            raise ConfigError(
                "a figure eight without length or with a start of its own",
                where=f"case {self.name!r}",
                expected="a positive figure_eight_s and no start",
                mend="leave start out: figure eights begin at rest",
            )

    @property
    def physics_s(self) -> float:
        """Length of a physics step, seconds."""
        return _FINE_S if self.fine_physics else _COARSE_S

    @property
    def physics_steps(self) -> int:
        """Physics steps under one action of the fleet: at least 100 control steps a second."""
        return max(1, round(1.0 / (max(self.policy_hz, 100) * self.physics_s)))

    @property
    def control_s(self) -> float:
        """Length of a control step of the fleet, seconds."""
        return self.physics_s * self.physics_steps

    @property
    def hold(self) -> int:
        """Control steps for which an action is held."""
        return max(1, round(1.0 / (self.policy_hz * self.control_s)))

    @property
    def duration_s(self) -> float:
        """How long it is flown, seconds."""
        return self.hover_s if self.figure_eight_s is None else RAMP_S + self.loops * self.figure_eight_s

    @property
    def steps(self) -> int:
        """Control steps of the fleet from start to end."""
        return round(self.duration_s / self.control_s)
