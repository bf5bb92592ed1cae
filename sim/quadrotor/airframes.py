"""Airframes: what a quadrotor weighs, where its rotors sit and how they push."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware import schema
from hardware.command import FloatArray
from hardware.errors import ConfigError

# Standard gravity as RAPTOR's dynamics use it, m/s^2.
GRAVITY_M_S2 = 9.81
# Every array over motors is in this order.
MOTORS = ("front_right", "back_right", "back_left", "front_left")
# Per motor: sign of its x (forward) and y (left) coordinate.
ROTOR_SIGNS = {"front_right": (1, -1), "back_right": (-1, -1), "back_left": (-1, 1), "front_left": (1, 1)}
# Per motor: sign of the reaction torque about the body's z axis (up). Negative: the rotor turns
# counter-clockwise seen from above.
TORQUE_SIGNS = {"front_right": -1, "back_right": 1, "back_left": -1, "front_left": 1}

_FILE = Path(__file__).with_name("airframes.yaml")


@dataclass(frozen=True)
class Airframe:
    """One quadrotor in X layout with four equal rotors, body frame forward-left-up.

    A rotor at effort u (0 to 1, its speed as a share of the fastest) pushes up with
    `c0 + c1 u + c2 u^2` and turns the body with `torque_constant_m` times that thrust. The effort
    follows its set-point with a first-order lag. Source: RAPTOR's simulator (rl_tools, l2f).
    """

    # A short name.
    name: str
    # Take-off mass.
    mass_kg: float
    # Distance of every rotor from the centre of mass along x and along y.
    rotor_x_m: float
    rotor_y_m: float
    # Thrust curve of one rotor, (c0, c1, c2) in newtons.
    thrust_n: tuple[float, ...]
    # Reaction torque of a rotor per thrust, in metres.
    torque_constant_m: float
    # Time constant of a rotor that speeds up.
    rising_s: float
    # Time constant of a rotor that slows down.
    falling_s: float
    # Moments of inertia about the body's x, y and z axes, kg m^2.
    inertia_kg_m2: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse an airframe that is impossible or cannot fly.

        Raises:
            ConfigError: a quantity is not positive, the inertia is none of a rigid body, the
                thrust curve falls somewhere, or full thrust does not lift the mass.
        """
        where = f"airframe {self.name!r}"
        for field, size in (("thrust_n", 3), ("inertia_kg_m2", 3)):
            if len(getattr(self, field)) != size:
                raise ConfigError(
                    f"{field} has {len(getattr(self, field))} numbers",
                    where=where,
                    expected=str(size),
                    mend=f"complete {field}",
                )
        scalars = ("mass_kg", "rotor_x_m", "rotor_y_m", "torque_constant_m", "rising_s", "falling_s")
        for field in scalars:
            if not getattr(self, field) > 0:
                raise ConfigError(
                    f"{field} {getattr(self, field)} is not positive",
                    where=where,
                    expected="a positive number",
                    mend=f"correct {field}",
                )
        small, middle, large = sorted(self.inertia_kg_m2)
        if not (small > 0 and small + middle >= large):
            raise ConfigError(
                f"inertia_kg_m2 {self.inertia_kg_m2} belongs to no rigid body",
                where=where,
                expected="positive moments, none larger than the other two together",
                mend="correct inertia_kg_m2",
            )
        _, c1, c2 = self.thrust_n
        if c1 < 0 or c1 + 2 * c2 < 0 or not self.max_thrust_n > self.weight_n:
            raise ConfigError(
                f"thrust_n {self.thrust_n} cannot fly {self.mass_kg} kg",
                where=where,
                expected="thrust that grows with effort and lifts the mass at full effort",
                mend="correct thrust_n or mass_kg",
            )

    @property
    def weight_n(self) -> float:
        """Weight in newtons."""
        return self.mass_kg * GRAVITY_M_S2

    @property
    def max_thrust_n(self) -> float:
        """Thrust of all four rotors at full effort, in newtons."""
        return 4.0 * sum(self.thrust_n)

    @property
    def thrust_to_weight(self) -> float:
        """Full thrust as a multiple of the weight."""
        return self.max_thrust_n / self.weight_n

    @property
    def hover_effort(self) -> float:
        """The effort at which the four rotors carry the weight."""
        return self.effort_for(self.weight_n / 4.0)

    @property
    def arm_m(self) -> float:
        """Distance of a rotor's axis from the centre of mass, in metres."""
        return math.hypot(self.rotor_x_m, self.rotor_y_m)

    @property
    def rotor_positions_m(self) -> FloatArray:
        """Rotor positions in the body frame, shape (4, 3), in the order of `MOTORS`."""
        x, y = self.rotor_x_m, self.rotor_y_m
        return np.array([(ROTOR_SIGNS[m][0] * x, ROTOR_SIGNS[m][1] * y, 0.0) for m in MOTORS])

    @property
    def mixer(self) -> FloatArray:
        """From the four thrusts (N) to collective thrust (N) and body torques (N m), shape (4, 4)."""
        position = self.rotor_positions_m
        spin = np.array([TORQUE_SIGNS[m] for m in MOTORS]) * self.torque_constant_m
        return np.array([np.ones(4), position[:, 1], -position[:, 0], spin])

    def thrust(self, effort: FloatArray) -> FloatArray:
        """Thrust of rotors.

        Args:
            effort: any shape, 0 to 1.

        Returns:
            The same shape, newtons.
        """
        c0, c1, c2 = self.thrust_n
        return c0 + effort * (c1 + effort * c2)

    def effort_for(self, thrust_n: float) -> float:
        """The effort at which one rotor pushes that hard, limited to what it can.

        Args:
            thrust_n: newtons.

        Returns:
            0 to 1.
        """
        c0, c1, c2 = self.thrust_n
        excess = thrust_n - c0
        if excess <= 0.0:
            return 0.0
        if excess >= c1 + c2:
            return 1.0
        # The root that also holds for a line (c2 = 0) and for a falling slope (c2 < 0).
        return 2.0 * excess / (c1 + math.sqrt(c1 * c1 + 4.0 * c2 * excess))


@dataclass(frozen=True)
class _Library:
    airframes: tuple[Airframe, ...]


@functools.cache
def _library() -> dict[str, Airframe]:
    return {airframe.name: airframe for airframe in schema.load(_Library, _FILE).airframes}


def airframe_names() -> tuple[str, ...]:
    """The names of the airframes that come with the twin."""
    return tuple(_library())


def load_airframe(name: str) -> Airframe:
    """Find an airframe.

    Args:
        name: one of `airframe_names`.

    Returns:
        The airframe.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return _library()[name]
    except KeyError:
        raise ConfigError(
            f"there is no airframe {name!r}",
            where="airframe",
            expected="one of " + ", ".join(airframe_names()),
            mend="correct the name, or pass an Airframe of your own",
        ) from None
