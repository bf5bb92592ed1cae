"""Many airframes as arrays: one vehicle a column, float32, as the fleet's compiled step reads them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe

Float32Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class AirframeBatch:
    """N quadrotors in X layout; field by field what `Airframe` says of one.

    Every array is float32, C-contiguous and read-only.
    """

    # Take-off mass in kilograms, shape (N,).
    mass: Float32Array
    # Moments of inertia about the body's x, y and z axes in kg m^2, shape (3, N).
    inertia: Float32Array
    # Thrust curve of one rotor, c0, c1, c2 in newtons, shape (3, N).
    thrust: Float32Array
    # Distance of every rotor from the centre of mass along x in metres, shape (N,).
    rotor_x: Float32Array
    # The same along y, shape (N,).
    rotor_y: Float32Array
    # Reaction torque of a rotor per thrust in metres, shape (N,).
    torque_constant: Float32Array
    # Time constant of a rotor that speeds up, in seconds, shape (N,).
    rising: Float32Array
    # Time constant of a rotor that slows down, in seconds, shape (N,).
    falling: Float32Array
    # Standard deviation, per axis, of the constant force that an episode may draw, in newtons, shape
    # (N,). The sampler draws it with the airframe, as the RAPTOR authors' does; zero for named airframes.
    force_std_n: Float32Array

    def __post_init__(self) -> None:
        """Bring every array to its type and shape, and hold it fast.

        Raises:
            ConfigError: an array has another shape than the mass says, or a number is not finite.
        """
        count = np.size(self.mass)
        for field in fields(self):
            given = getattr(self, field.name)
            array = np.array(given, dtype=np.float32, order="C")
            shape = (3, count) if field.name in ("inertia", "thrust") else (count,)
            if array.shape != shape or not np.isfinite(array).all():
                raise ConfigError(
                    f"{field.name} has shape {array.shape}"
                    if array.shape != shape
                    else f"{field.name} is not finite",
                    where="AirframeBatch",
                    expected=f"finite numbers of shape {shape}",
                    mend=f"correct {field.name}",
                )
            array.flags.writeable = False
            object.__setattr__(self, field.name, array)

    @classmethod
    def of(cls, airframes: Sequence[Airframe]) -> AirframeBatch:
        """Turn airframes into a batch, in their order.

        Args:
            airframes: at least one.

        Returns:
            The batch, without a constant force.

        Raises:
            ConfigError: there is no airframe.
        """
        if not airframes:
            raise ConfigError("no airframes", where="AirframeBatch", expected="at least one", mend="add one")
        return cls(
            mass=_row([a.mass_kg for a in airframes]),
            inertia=_row([a.inertia_kg_m2 for a in airframes]).T,
            thrust=_row([a.thrust_n for a in airframes]).T,
            rotor_x=_row([a.rotor_x_m for a in airframes]),
            rotor_y=_row([a.rotor_y_m for a in airframes]),
            torque_constant=_row([a.torque_constant_m for a in airframes]),
            rising=_row([a.rising_s for a in airframes]),
            falling=_row([a.falling_s for a in airframes]),
            force_std_n=np.zeros(len(airframes), np.float32),
        )

    def __len__(self) -> int:
        """How many vehicles."""
        return len(self.mass)

    def airframe(self, index: int) -> Airframe:
        """One vehicle of the batch.

        Args:
            index: 0 to N - 1.

        Returns:
            The airframe, named `airframe-INDEX`.
        """
        return Airframe(
            name=f"airframe-{index}",
            mass_kg=float(self.mass[index]),
            rotor_x_m=float(self.rotor_x[index]),
            rotor_y_m=float(self.rotor_y[index]),
            thrust_n=tuple(self.thrust[:, index].tolist()),
            torque_constant_m=float(self.torque_constant[index]),
            rising_s=float(self.rising[index]),
            falling_s=float(self.falling[index]),
            inertia_kg_m2=tuple(self.inertia[:, index].tolist()),
        )

    def take(self, indices: Sequence[int] | IndexArray | BoolArray) -> AirframeBatch:
        """Some vehicles, in the order asked for; an index may come more than once.

        Args:
            indices: positions in this batch, or a mask of shape (N,).

        Returns:
            The batch of them.
        """
        chosen = np.asarray(indices)
        return AirframeBatch(**{field.name: getattr(self, field.name)[..., chosen] for field in fields(self)})

    @functools.cached_property
    def arm_m(self) -> Float32Array:
        """Distance of a rotor's axis from the centre of mass in metres, shape (N,)."""
        return np.hypot(self.rotor_x, self.rotor_y)

    @functools.cached_property
    def max_thrust_n(self) -> Float32Array:
        """Thrust of all four rotors at full effort in newtons, shape (N,)."""
        return _row(4.0 * self.thrust.sum(axis=0))

    @functools.cached_property
    def thrust_to_weight(self) -> Float32Array:
        """Full thrust as a multiple of the weight, shape (N,)."""
        return _row(self.max_thrust_n / (self.mass * GRAVITY_M_S2))

    @functools.cached_property
    def hover_effort(self) -> Float32Array:
        """The effort at which the four rotors carry the weight, 0 to 1, shape (N,)."""
        c0, c1, c2 = self.thrust.astype(np.float64)
        excess = self.mass.astype(np.float64) * (GRAVITY_M_S2 / 4.0) - c0
        # The root that also holds for a line (c2 = 0) and for a falling slope (c2 < 0).
        root = np.sqrt(np.maximum(c1 * c1 + 4.0 * c2 * excess, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            effort = 2.0 * excess / (c1 + root)
        return _row(np.where(excess <= 0.0, 0.0, np.where(excess >= c1 + c2, 1.0, effort)))

    @functools.cached_property
    def torque_to_inertia(self) -> Float32Array:
        """How quickly the vehicle can roll: arm times a rotor's full thrust over inertia, 1/s^2, (N,).

        The sampler's parameter r (specs of RAPTOR, section 2.1): slow vehicles, below about 100, are the
        hard ones. In an X layout with equal sides the arm is the rotor's x coordinate times sqrt(2).
        """
        return _row(self.arm_m * (self.max_thrust_n / 4.0) / self.inertia[0])

    @functools.cached_property
    def coefficients(self) -> Float32Array:
        """What the compiled step reads, shape (12, N).

        1/mass, c0, c1, c2; the angular acceleration per newton about x, y, z; the three gyroscopic
        factors (Jy - Jz)/Jx and so on; 1/rising, 1/falling.
        """
        jx, jy, jz = self.inertia.astype(np.float64)
        rows = [
            1.0 / self.mass.astype(np.float64),
            *self.thrust,
            self.rotor_y / jx,
            self.rotor_x / jy,
            self.torque_constant / jz,
            (jy - jz) / jx,
            (jz - jx) / jy,
            (jx - jy) / jz,
            1.0 / self.rising.astype(np.float64),
            1.0 / self.falling.astype(np.float64),
        ]
        return np.ascontiguousarray(rows, dtype=np.float32)


def _row(values: object) -> Float32Array:
    return np.ascontiguousarray(values, dtype=np.float32)
