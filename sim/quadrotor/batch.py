"""One step and one observation of many quadrotors at once; numba is imported at the first call."""

from __future__ import annotations

import functools
import math

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.dynamics import STATE_SIZE
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array

OBSERVATION_SIZE = 22
PRIVILEGED_SIZE = 26


def step_batch(
    airframes: AirframeBatch,
    state: Float32Array,
    setpoint: Float32Array,
    *,
    dt_s: float,
    force_n: Float32Array | None = None,
    motor_gain: Float32Array | None = None,
    out: Float32Array | None = None,
) -> Float32Array:
    """Advance N vehicles one Runge-Kutta step under constant set-points and a constant force.

    The equations are those of `sim.quadrotor.dynamics.step`, in float32. All arrays are C-contiguous.

    Args:
        airframes: N of them.
        state: shape (17, N), rows: position 3 (m, world), orientation 4 (w, x, y, z, body to world),
            velocity 3 (m/s, world), body rates 3 (rad/s), effort 4 (0 to 1, order of `MOTORS`).
        setpoint: efforts, shape (4, N), limited to 0 to 1 here.
        dt_s: length of the step, seconds.
        force_n: an external force, shape (3, N), newtons, world frame; None for none.
        motor_gain: factor on each rotor's thrust, shape (4, N); None for 1.
        out: where to write, shape (17, N), `state` itself allowed; a new array when absent.

    Returns:
        The new state, shape (17, N); the quaternions have length 1.

    Raises:
        ConfigError: an array has another shape, type or order.
    """
    from sim.quadrotor import kernels

    count = len(airframes)
    force = _constant(3, count, 0.0) if force_n is None else force_n
    gain = _constant(4, count, 1.0) if motor_gain is None else motor_gain
    if out is None:
        out = np.empty((STATE_SIZE, count), np.float32)
    for name, array, rows in (
        ("state", state, STATE_SIZE),
        ("setpoint", setpoint, 4),
        ("force_n", force, 3),
        ("motor_gain", gain, 4),
        ("out", out, STATE_SIZE),
    ):
        _check(name, array, (rows, count))
    kernels.step(state, setpoint, airframes.coefficients, force, gain, np.float32(dt_s), out)
    return out


def observe_batch(
    state: Float32Array,
    reference_position: Float32Array,
    reference_velocity: Float32Array,
    previous_action: Float32Array,
    *,
    position_clip_m: float = math.inf,
    velocity_clip_m_s: float = math.inf,
    out: Float32Array | None = None,
) -> Float32Array:
    """Build RAPTOR's observation of N vehicles; the reference heading is 0.

    Args:
        state: shape (13, N) or (17, N), rows as in `step_batch`.
        reference_position: shape (3, N), metres, world.
        reference_velocity: shape (3, N), m/s, world.
        previous_action: shape (4, N), -1 to 1, copied as it is.
        position_clip_m: largest position error per axis.
        velocity_clip_m_s: largest velocity error per axis.
        out: where to write, shape (N, 22); a new array when absent.

    Returns:
        Shape (N, 22): position error 3, rotation matrix 9 row by row, velocity error 3, body rates 3,
        previous action 4 (specs of RAPTOR, section 1.5).

    Raises:
        ConfigError: an array has another shape, type or order.
    """
    return _observe(
        *(state, reference_position, reference_velocity, previous_action),
        *(position_clip_m, velocity_clip_m_s, out, OBSERVATION_SIZE),
    )


def privileged_batch(
    state: Float32Array,
    reference_position: Float32Array,
    reference_velocity: Float32Array,
    previous_action: Float32Array,
    *,
    out: Float32Array | None = None,
) -> Float32Array:
    """Build what RAPTOR's teachers observe of N vehicles: unclipped, with the rotors' speeds.

    Args:
        state: shape (17, N).
        reference_position: shape (3, N), metres, world.
        reference_velocity: shape (3, N), m/s, world.
        previous_action: shape (4, N).
        out: where to write, shape (N, 26); a new array when absent.

    Returns:
        Shape (N, 26): as `observe_batch`, then 2 times effort minus 1 of the four rotors.

    Raises:
        ConfigError: an array has another shape, type or order.
    """
    return _observe(
        *(state, reference_position, reference_velocity, previous_action),
        *(math.inf, math.inf, out, PRIVILEGED_SIZE),
    )


def _observe(
    state: Float32Array,
    reference_position: Float32Array,
    reference_velocity: Float32Array,
    previous_action: Float32Array,
    position_clip_m: float,
    velocity_clip_m_s: float,
    out: Float32Array | None,
    size: int,
) -> Float32Array:
    from sim.quadrotor import kernels

    count = state.shape[-1]
    if out is None:
        out = np.empty((count, size), np.float32)
    rows = STATE_SIZE if size == PRIVILEGED_SIZE or len(state) == STATE_SIZE else 13
    _check("state", state, (rows, count))
    _check("reference_position", reference_position, (3, count))
    _check("reference_velocity", reference_velocity, (3, count))
    _check("previous_action", previous_action, (4, count))
    _check("out", out, (count, size))
    kernels.observe(
        state,
        reference_position,
        reference_velocity,
        np.float32(position_clip_m),
        np.float32(velocity_clip_m_s),
        previous_action,
        out,
    )
    return out


@functools.lru_cache(maxsize=64)
def _constant(rows: int, count: int, value: float) -> Float32Array:
    # Writable, though nobody writes: numba compiles once more for read-only arrays.
    return np.full((rows, count), value, np.float32)


def _check(name: str, array: Float32Array, shape: tuple[int, int]) -> None:
    if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise ConfigError(
            f"{name} is {array.dtype} of shape {array.shape}",
            where="quadrotor batch",
            expected=f"C-contiguous float32 of shape {shape}",
            mend=f"np.ascontiguousarray({name}, dtype=np.float32), one vehicle a column",
        )
