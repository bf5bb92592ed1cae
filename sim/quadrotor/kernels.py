"""The dynamics as compiled loops over vehicles, float32; importing this module imports numba.

Arrays are component-first, so that neighbouring vehicles are neighbours in memory, and the loop's body has
no branch. Vehicles go through in blocks: their rows are copied into one small array, where LLVM can see
that no two rows overlap, and so makes SIMD code, eight or sixteen vehicles an instruction. The copies also
keep a fleet of 2^k vehicles, whose rows all fall on the same cache lines, from evicting itself.

The equations are those of `sim.quadrotor.dynamics`. Acceleration depends on neither position nor velocity,
so that these two need no Runge-Kutta stages of their own; the sums below are what remains of them.

Compiled code is kept beside this file, in numba's user cache where the installation is read-only, or
nowhere when neither can be written.
"""

# mypy: disallow-untyped-defs=false
# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types; the arrays are told in the docstrings.

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sim.quadrotor.airframes import GRAVITY_M_S2

# Rounding may be traded for speed, NaN and infinity may not: a lost vehicle must show as one.
_FASTMATH = {"contract", "reassoc", "arcp", "nsz"}
# Vehicles a block: 40 rows of them fit a first-level cache.
_BLOCK = 128
_GRAVITY = np.float32(GRAVITY_M_S2)
_ZERO, _HALF, _ONE, _TWO, _SIX = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0, 6.0))


def _compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    try:
        return numba.njit(cache=True, fastmath=_FASTMATH, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(fastmath=_FASTMATH, nogil=True, error_model="numpy")(function)


@_compiled
def _wrench(e0, e1, e2, e3, g0, g1, g2, g3, c0, c1, c2, roll, pitch, yaw, per_mass):
    """Specific thrust and angular accelerations of four rotors at these efforts."""
    f0 = g0 * (c0 + e0 * (c1 + e0 * c2))
    f1 = g1 * (c0 + e1 * (c1 + e1 * c2))
    f2 = g2 * (c0 + e2 * (c1 + e2 * c2))
    f3 = g3 * (c0 + e3 * (c1 + e3 * c2))
    lift = per_mass * ((f0 + f1) + (f2 + f3))
    return (
        lift,
        roll * ((f2 + f3) - (f0 + f1)),
        pitch * ((f1 + f2) - (f0 + f3)),
        yaw * ((f1 + f3) - (f0 + f2)),
    )


@_compiled
def _motion(w, x, y, z, p, q, r, lift, roll, pitch, yaw, gyro_x, gyro_y, gyro_z):
    """Derivatives of orientation and rates, and the thrust's acceleration along the world's axes."""
    return (
        -_HALF * (x * p + y * q + z * r),
        _HALF * (w * p + y * r - z * q),
        _HALF * (w * q - x * r + z * p),
        _HALF * (w * r + x * q - y * p),
        roll + gyro_x * q * r,
        pitch + gyro_y * p * r,
        yaw + gyro_z * p * q,
        _TWO * (x * z + w * y) * lift,
        _TWO * (y * z - w * x) * lift,
        (_ONE - _TWO * (x * x + y * y)) * lift,
    )


@_compiled
def _rotor(effort, setpoint, rising, falling):
    """Derivative of an effort: towards its set-point, rising when it is at or above."""
    gap = setpoint - effort
    return gap * (rising if gap >= _ZERO else falling)


@_compiled
def _limited(setpoint):
    """A set-point within 0 to 1; NaN stays NaN."""
    setpoint = _ZERO if setpoint < _ZERO else setpoint
    return _ONE if setpoint > _ONE else setpoint


@_compiled
def step(state, setpoint, coefficients, force, gain, dt, out):
    """Advance every vehicle one Runge-Kutta step; all arrays float32, C-contiguous.

    Args:
        state: (17, N), rows as in `sim.quadrotor.dynamics`.
        setpoint: (4, N), efforts.
        coefficients: (12, N), `AirframeBatch.coefficients`.
        force: (3, N), newtons, world frame.
        gain: (4, N), factor on each rotor's thrust.
        dt: seconds, float32.
        out: (17, N); may be `state` itself.
    """
    count = state.shape[1]
    half = _HALF * dt
    sixth = dt / _SIX
    square = dt * dt / _SIX
    fall = _HALF * dt * dt
    n = _BLOCK
    block = np.empty(40 * _BLOCK, np.float32)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        for row in range(17):
            for v in range(size):
                block[row * n + v] = state[row, start + v]
        for row in range(4):
            for v in range(size):
                block[(17 + row) * n + v] = setpoint[row, start + v]
                block[(21 + row) * n + v] = gain[row, start + v]
        for row in range(3):
            for v in range(size):
                block[(25 + row) * n + v] = force[row, start + v]
        for row in range(12):
            for v in range(size):
                block[(28 + row) * n + v] = coefficients[row, start + v]
        for v in range(size):
            s0, s1 = _limited(block[17 * n + v]), _limited(block[18 * n + v])
            s2, s3 = _limited(block[19 * n + v]), _limited(block[20 * n + v])
            g0, g1, g2, g3 = block[21 * n + v], block[22 * n + v], block[23 * n + v], block[24 * n + v]
            per_mass = block[28 * n + v]
            c0, c1, c2 = block[29 * n + v], block[30 * n + v], block[31 * n + v]
            lx, ly, lz = block[32 * n + v], block[33 * n + v], block[34 * n + v]
            gx, gy, gz = block[35 * n + v], block[36 * n + v], block[37 * n + v]
            up, down = block[38 * n + v], block[39 * n + v]
            w, x, y, z = block[3 * n + v], block[4 * n + v], block[5 * n + v], block[6 * n + v]
            p, q, r = block[10 * n + v], block[11 * n + v], block[12 * n + v]
            e0, e1, e2, e3 = block[13 * n + v], block[14 * n + v], block[15 * n + v], block[16 * n + v]
            # Stage 1.
            m0_1, m1_1 = _rotor(e0, s0, up, down), _rotor(e1, s1, up, down)
            m2_1, m3_1 = _rotor(e2, s2, up, down), _rotor(e3, s3, up, down)
            lift, tx, ty, tz = _wrench(e0, e1, e2, e3, g0, g1, g2, g3, c0, c1, c2, lx, ly, lz, per_mass)
            w_1, x_1, y_1, z_1, p_1, q_1, r_1, ax_1, ay_1, az_1 = _motion(
                w, x, y, z, p, q, r, lift, tx, ty, tz, gx, gy, gz
            )
            # Stage 2.
            u0, u1 = e0 + half * m0_1, e1 + half * m1_1
            u2, u3 = e2 + half * m2_1, e3 + half * m3_1
            m0_2, m1_2 = _rotor(u0, s0, up, down), _rotor(u1, s1, up, down)
            m2_2, m3_2 = _rotor(u2, s2, up, down), _rotor(u3, s3, up, down)
            lift, tx, ty, tz = _wrench(u0, u1, u2, u3, g0, g1, g2, g3, c0, c1, c2, lx, ly, lz, per_mass)
            w_2, x_2, y_2, z_2, p_2, q_2, r_2, ax_2, ay_2, az_2 = _motion(
                w + half * w_1,
                x + half * x_1,
                y + half * y_1,
                z + half * z_1,
                p + half * p_1,
                q + half * q_1,
                r + half * r_1,
                *(lift, tx, ty, tz, gx, gy, gz),
            )
            # Stage 3.
            u0, u1 = e0 + half * m0_2, e1 + half * m1_2
            u2, u3 = e2 + half * m2_2, e3 + half * m3_2
            m0_3, m1_3 = _rotor(u0, s0, up, down), _rotor(u1, s1, up, down)
            m2_3, m3_3 = _rotor(u2, s2, up, down), _rotor(u3, s3, up, down)
            lift, tx, ty, tz = _wrench(u0, u1, u2, u3, g0, g1, g2, g3, c0, c1, c2, lx, ly, lz, per_mass)
            w_3, x_3, y_3, z_3, p_3, q_3, r_3, ax_3, ay_3, az_3 = _motion(
                w + half * w_2,
                x + half * x_2,
                y + half * y_2,
                z + half * z_2,
                p + half * p_2,
                q + half * q_2,
                r + half * r_2,
                *(lift, tx, ty, tz, gx, gy, gz),
            )
            # Stage 4.
            u0, u1 = e0 + dt * m0_3, e1 + dt * m1_3
            u2, u3 = e2 + dt * m2_3, e3 + dt * m3_3
            m0_4, m1_4 = _rotor(u0, s0, up, down), _rotor(u1, s1, up, down)
            m2_4, m3_4 = _rotor(u2, s2, up, down), _rotor(u3, s3, up, down)
            lift, tx, ty, tz = _wrench(u0, u1, u2, u3, g0, g1, g2, g3, c0, c1, c2, lx, ly, lz, per_mass)
            w_4, x_4, y_4, z_4, p_4, q_4, r_4, ax_4, ay_4, az_4 = _motion(
                w + dt * w_3,
                x + dt * x_3,
                y + dt * y_3,
                z + dt * z_3,
                p + dt * p_3,
                q + dt * q_3,
                r + dt * r_3,
                *(lift, tx, ty, tz, gx, gy, gz),
            )
            # Together.
            fx = per_mass * block[25 * n + v]
            fy = per_mass * block[26 * n + v]
            fz = per_mass * block[27 * n + v] - _GRAVITY
            vx, vy, vz = block[7 * n + v], block[8 * n + v], block[9 * n + v]
            block[0 * n + v] += dt * vx + square * (ax_1 + ax_2 + ax_3) + fall * fx
            block[1 * n + v] += dt * vy + square * (ay_1 + ay_2 + ay_3) + fall * fy
            block[2 * n + v] += dt * vz + square * (az_1 + az_2 + az_3) + fall * fz
            block[7 * n + v] = vx + sixth * (ax_1 + _TWO * (ax_2 + ax_3) + ax_4) + dt * fx
            block[8 * n + v] = vy + sixth * (ay_1 + _TWO * (ay_2 + ay_3) + ay_4) + dt * fy
            block[9 * n + v] = vz + sixth * (az_1 + _TWO * (az_2 + az_3) + az_4) + dt * fz
            w += sixth * (w_1 + _TWO * (w_2 + w_3) + w_4)
            x += sixth * (x_1 + _TWO * (x_2 + x_3) + x_4)
            y += sixth * (y_1 + _TWO * (y_2 + y_3) + y_4)
            z += sixth * (z_1 + _TWO * (z_2 + z_3) + z_4)
            unit = _ONE / np.sqrt((w * w + x * x) + (y * y + z * z))
            block[3 * n + v] = w * unit
            block[4 * n + v] = x * unit
            block[5 * n + v] = y * unit
            block[6 * n + v] = z * unit
            block[10 * n + v] = p + sixth * (p_1 + _TWO * (p_2 + p_3) + p_4)
            block[11 * n + v] = q + sixth * (q_1 + _TWO * (q_2 + q_3) + q_4)
            block[12 * n + v] = r + sixth * (r_1 + _TWO * (r_2 + r_3) + r_4)
            block[13 * n + v] = e0 + sixth * (m0_1 + _TWO * (m0_2 + m0_3) + m0_4)
            block[14 * n + v] = e1 + sixth * (m1_1 + _TWO * (m1_2 + m1_3) + m1_4)
            block[15 * n + v] = e2 + sixth * (m2_1 + _TWO * (m2_2 + m2_3) + m2_4)
            block[16 * n + v] = e3 + sixth * (m3_1 + _TWO * (m3_2 + m3_3) + m3_4)
        for row in range(17):
            for v in range(size):
                out[row, start + v] = block[row * n + v]


@_compiled
def observe(state, reference_position, reference_velocity, position_clip, velocity_clip, previous, out):
    """Write RAPTOR's observation, (N, 22) or with the efforts (N, 26), one vehicle a row.

    Args:
        state: (17, N); only 13 rows are read for an `out` of 22 columns.
        reference_position: (3, N), metres.
        reference_velocity: (3, N), m/s.
        position_clip: largest position error per axis, float32.
        velocity_clip: largest velocity error per axis, float32.
        previous: (4, N), the previous action.
        out: (N, 22) or (N, 26).
    """
    for v in range(state.shape[1]):
        for k in range(3):
            error = state[k, v] - reference_position[k, v]
            error = -position_clip if error < -position_clip else error
            out[v, k] = position_clip if error > position_clip else error
            error = state[7 + k, v] - reference_velocity[k, v]
            error = -velocity_clip if error < -velocity_clip else error
            out[v, 12 + k] = velocity_clip if error > velocity_clip else error
            out[v, 15 + k] = state[10 + k, v]
        w, x, y, z = state[3, v], state[4, v], state[5, v], state[6, v]
        out[v, 3] = _ONE - _TWO * (y * y + z * z)
        out[v, 4] = _TWO * (x * y - w * z)
        out[v, 5] = _TWO * (x * z + w * y)
        out[v, 6] = _TWO * (x * y + w * z)
        out[v, 7] = _ONE - _TWO * (x * x + z * z)
        out[v, 8] = _TWO * (y * z - w * x)
        out[v, 9] = _TWO * (x * z - w * y)
        out[v, 10] = _TWO * (y * z + w * x)
        out[v, 11] = _ONE - _TWO * (x * x + y * y)
        for k in range(4):
            out[v, 18 + k] = previous[k, v]
        if out.shape[1] == 26:
            for k in range(4):
                out[v, 22 + k] = _TWO * state[13 + k, v] - _ONE
