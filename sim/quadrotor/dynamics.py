"""The reference dynamics of a quadrotor, batched, in NumPy and double precision.

Position, attitude, both velocities and the four rotor efforts are integrated together by classical
Runge-Kutta; the quaternion is normalised after the step. There is no aerodynamic drag. Rotors follow
their set-point with the rising time constant when it is at or above them, else with the falling one,
chosen at every stage. Source: RAPTOR's simulator (rl_tools `l2f`), paper section "Materials and
Methods". This is what the MuJoCo world is checked against, and what fast evaluations run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe

STATE_SIZE = 17


@dataclass(frozen=True)
class QuadrotorState:
    """State of one vehicle or of many, packed so that a whole batch moves in few operations."""

    # Shape (..., 17): position 3 (m, world), orientation 4 (w, x, y, z, body to world), linear
    # velocity 3 (m/s, world), angular velocity 3 (rad/s, body), effort 4 (0 to 1).
    packed: FloatArray

    @property
    def position(self) -> FloatArray:
        """Shape (..., 3), metres, world."""
        return self.packed[..., 0:3]

    @property
    def orientation(self) -> FloatArray:
        """Shape (..., 4), quaternion (w, x, y, z), body to world."""
        return self.packed[..., 3:7]

    @property
    def linear_velocity(self) -> FloatArray:
        """Shape (..., 3), m/s, world."""
        return self.packed[..., 7:10]

    @property
    def angular_velocity(self) -> FloatArray:
        """Shape (..., 3), rad/s, body."""
        return self.packed[..., 10:13]

    @property
    def effort(self) -> FloatArray:
        """Shape (..., 4), 0 to 1, in the order of `MOTORS`."""
        return self.packed[..., 13:17]


def make_state(
    *,
    position: Sequence[float] | FloatArray = (0.0, 0.0, 0.0),
    orientation: Sequence[float] | FloatArray = (1.0, 0.0, 0.0, 0.0),
    linear_velocity: Sequence[float] | FloatArray = (0.0, 0.0, 0.0),
    angular_velocity: Sequence[float] | FloatArray = (0.0, 0.0, 0.0),
    effort: float | Sequence[float] | FloatArray = 0.0,
) -> QuadrotorState:
    """Pack a state; leading axes broadcast.

    Args:
        position: shape (..., 3), metres, world.
        orientation: shape (..., 4), quaternion (w, x, y, z), body to world; normalised here.
        linear_velocity: shape (..., 3), m/s, world.
        angular_velocity: shape (..., 3), rad/s, body.
        effort: shape (..., 4) or one number for all rotors, 0 to 1.

    Returns:
        The state.
    """
    parts = [
        np.asarray(p, dtype=np.float64) for p in (position, orientation, linear_velocity, angular_velocity)
    ]
    rotors = np.asarray(effort, dtype=np.float64)
    parts.append(np.full(4, rotors) if rotors.ndim == 0 else rotors)
    leading = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    packed = np.concatenate([np.broadcast_to(part, (*leading, part.shape[-1])) for part in parts], axis=-1)
    packed[..., 3:7] /= np.linalg.norm(packed[..., 3:7], axis=-1, keepdims=True)
    return QuadrotorState(packed)


@dataclass(frozen=True)
class DynamicsParameters:
    """Airframes as arrays; the leading axes broadcast against those of the state."""

    # Shape (...), kilograms.
    mass: FloatArray
    # Shape (..., 3), kg m^2, about the body axes.
    inertia: FloatArray
    # Shape (..., 3): c0, c1, c2 of one rotor, newtons.
    thrust: FloatArray
    # Shape (..., 4, 4): from the four thrusts to collective thrust and body torques.
    mixer: FloatArray
    # Shape (..., 1), seconds.
    rising: FloatArray
    # Shape (..., 1), seconds.
    falling: FloatArray


def parameters_of(airframe: Airframe | Sequence[Airframe]) -> DynamicsParameters:
    """Turn an airframe, or a batch of them, into arrays.

    Args:
        airframe: one airframe (no leading axis) or B of them (leading axis B).

    Returns:
        The parameters.
    """
    if isinstance(airframe, Airframe):
        single = parameters_of([airframe])
        return DynamicsParameters(
            single.mass[0],
            single.inertia[0],
            single.thrust[0],
            single.mixer[0],
            single.rising[0],
            single.falling[0],
        )
    return DynamicsParameters(
        mass=np.array([a.mass_kg for a in airframe]),
        inertia=np.array([a.inertia_kg_m2 for a in airframe]),
        thrust=np.array([a.thrust_n for a in airframe]),
        mixer=np.array([a.mixer for a in airframe]),
        rising=np.array([[a.rising_s] for a in airframe]),
        falling=np.array([[a.falling_s] for a in airframe]),
    )


def step(
    parameters: DynamicsParameters,
    state: QuadrotorState,
    effort: FloatArray,
    dt_s: float,
    external_force_n: FloatArray | None = None,
) -> QuadrotorState:
    """Advance one Runge-Kutta step under constant set-points and a constant force.

    Args:
        parameters: of the airframes.
        state: leading axes (...).
        effort: set-points, shape (..., 4), limited to 0 to 1 here.
        dt_s: length of the step, seconds; RAPTOR's training used 0.01.
        external_force_n: shape (..., 3), world frame, newtons; None for none.

    Returns:
        The new state.
    """
    setpoint = np.clip(effort, 0.0, 1.0)
    gravity = np.array([0.0, 0.0, -GRAVITY_M_S2])
    mass = np.asarray(parameters.mass)[..., None]
    pull = gravity if external_force_n is None else gravity + external_force_n / mass
    x = state.packed
    k1 = _derivative(parameters, x, setpoint, mass, pull)
    k2 = _derivative(parameters, x + 0.5 * dt_s * k1, setpoint, mass, pull)
    k3 = _derivative(parameters, x + 0.5 * dt_s * k2, setpoint, mass, pull)
    k4 = _derivative(parameters, x + dt_s * k3, setpoint, mass, pull)
    new = x + (dt_s / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
    new[..., 3:7] /= np.sqrt((new[..., 3:7] ** 2).sum(axis=-1, keepdims=True))
    return QuadrotorState(new)


def _derivative(
    parameters: DynamicsParameters, x: FloatArray, setpoint: FloatArray, mass: FloatArray, pull: FloatArray
) -> FloatArray:
    w, i, j, k = (x[..., n] for n in range(3, 7))
    p, q, r = (x[..., n] for n in range(10, 13))
    effort = x[..., 13:17]
    curve = parameters.thrust
    thrusts = curve[..., 0:1] + effort * (curve[..., 1:2] + effort * curve[..., 2:3])
    wrench = (parameters.mixer @ thrusts[..., None])[..., 0]
    out = np.empty(
        np.broadcast_shapes(x.shape, wrench.shape[:-1] + (STATE_SIZE,), pull.shape[:-1] + (STATE_SIZE,))
    )
    out[..., 0:3] = x[..., 7:10]
    out[..., 3] = -0.5 * (i * p + j * q + k * r)
    out[..., 4] = 0.5 * (w * p + j * r - k * q)
    out[..., 5] = 0.5 * (w * q - i * r + k * p)
    out[..., 6] = 0.5 * (w * r + i * q - j * p)
    # The thrust points along the body's z axis, the third column of the rotation matrix.
    lift = wrench[..., 0] / mass[..., 0]
    out[..., 7] = 2.0 * (i * k + w * j) * lift
    out[..., 8] = 2.0 * (j * k - w * i) * lift
    out[..., 9] = (1.0 - 2.0 * (i * i + j * j)) * lift
    out[..., 7:10] += pull
    jx, jy, jz = (parameters.inertia[..., n] for n in range(3))
    out[..., 10] = (wrench[..., 1] + (jy - jz) * q * r) / jx
    out[..., 11] = (wrench[..., 2] + (jz - jx) * p * r) / jy
    out[..., 12] = (wrench[..., 3] + (jx - jy) * p * q) / jz
    lag = np.where(setpoint >= effort, parameters.rising, parameters.falling)
    out[..., 13:17] = (setpoint - effort) / lag
    return out
