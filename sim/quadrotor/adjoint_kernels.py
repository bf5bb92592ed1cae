"""The derivative of one simulation step as compiled loops; importing this module imports numba.

Reverse accumulation through the four Runge-Kutta stages, written by hand. Nothing is stored between a step
and its derivative: the stages are computed again, which is cheaper than reading them back. `advance_block`
and `pull_back_block` work on `LANES` vehicles in one array, where LLVM can see that no two rows overlap and
so makes SIMD code; every vehicle has a step length of its own. Other compiled loops call them.
"""

# mypy: disallow-untyped-defs=false
# ruff: noqa: ANN001, ANN201, ANN202, D417 - numba infers the types; the arrays are told in the docstrings.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sim.quadrotor.airframes import GRAVITY_M_S2

# Vehicles that the compiled loops move at once; one array of them fits a first-level cache.
LANES = 64
# Rows of a block: state, set-points, factors of the thrusts, external force (N), coefficients of the
# airframe, step length (s), new state; then the cotangent, of the new state before and of the old state
# after `pull_back_block`, and the cotangent of the set-points that it gives.
STATE, SETPOINT, GAIN, FORCE, COEFFICIENTS, STEP, NEW, COTANGENT, SETPOINT_COTANGENT = (
    0, 17, 21, 25, 28, 40, 41, 58, 75,
)  # fmt: skip
ROWS = 79

# Rounding may be traded for speed, NaN and infinity may not: a lost vehicle must show as one.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    "nogil": True,
    "error_model": "numpy",
}

_G = np.float32(GRAVITY_M_S2)
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1.0), np.float32(2.0)
_THIRD, _SIXTH = np.float32(1.0 / 3.0), np.float32(1.0 / 6.0)
_QUARTER = np.float32(0.25)


def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Compile a loop over vehicles; the code is kept on disk where a folder for it can be written.

    Numba compiles again when the file changes that a loop is in, but not when one changes that it calls:
    whoever edits this one removes the `__pycache__` folders of those that build on it.

    Args:
        function: the loop.

    Returns:
        The compiled loop.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(**_OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Compile the arithmetic of one vehicle into the loops that call it, where it becomes SIMD code."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


@inlined
def _decay(dt, rate):
    """Rotor: share of the distance to the set-point left at stages 2, 3, 4 and after the step."""
    z = -dt * rate
    zz = z * z
    e2 = _ONE + _HALF * z
    e3 = e2 + _QUARTER * zz
    e4 = _ONE + z + _HALF * zz + _QUARTER * zz * z
    return e2, e3, e4, _ONE + z + _HALF * zz + _SIXTH * zz * z + zz * zz / np.float32(24.0)


@inlined
def _pushes(u0, u1, u2, u3, c0, c1, c2, g0, g1, g2, g3):
    return (
        g0 * (c0 + u0 * (c1 + u0 * c2)),
        g1 * (c0 + u1 * (c1 + u1 * c2)),
        g2 * (c0 + u2 * (c1 + u2 * c2)),
        g3 * (c0 + u3 * (c1 + u3 * c2)),
    )


@inlined
def _wrench(t0, t1, t2, t3, im, ax, ay, az):
    """Thrusts to specific lift (m/s^2) and to angular acceleration without the gyroscopic part."""
    return (
        (t0 + t1 + t2 + t3) * im,
        (t2 + t3 - t0 - t1) * ax,
        (t1 + t2 - t0 - t3) * ay,
        (t1 + t3 - t0 - t2) * az,
    )


@inlined
def _rates(w, i, j, k, p, q, r, lift, mx, my, mz, gx, gy, gz):
    return (
        -_HALF * (i * p + j * q + k * r),
        _HALF * (w * p + j * r - k * q),
        _HALF * (w * q - i * r + k * p),
        _HALF * (w * r + i * q - j * p),
        mx + gx * q * r,
        my + gy * p * r,
        mz + gz * p * q,
        _TWO * (i * k + w * j) * lift,
        _TWO * (j * k - w * i) * lift,
        (_ONE - _TWO * (i * i + j * j)) * lift,
    )


@inlined
def _advance(x, s0, s1, s2, s3, fx, fy, fz, g0, g1, g2, g3, c, dt):
    """Advance one vehicle by one Runge-Kutta step.

    Args:
        x: the state as a tuple of 17, rows as in `sim.quadrotor.dynamics`.
        s0: set-points of the efforts, 0 to 1 (s0 to s3).
        fx: acceleration by external forces without gravity, m/s^2, world (fx, fy, fz).
        g0: factors of the four thrusts (g0 to g3).
        c: constants of the airframe, a tuple as `AirframeBatch.coefficients` orders them.
        dt: length of the step, seconds.

    Returns:
        The new state, a tuple of 17.
    """
    px, py, pz, w, i, j, k, vx, vy, vz, p, q, r, u0, u1, u2, u3 = x
    im, c0, c1, c2, ax, ay, az, gx, gy, gz, rise, fall = c
    h, sixth = _HALF * dt, _SIXTH * dt
    a0, b0, d0, e0 = _decay(dt, rise if s0 >= u0 else fall)
    a1, b1, d1, e1 = _decay(dt, rise if s1 >= u1 else fall)
    a2, b2, d2, e2 = _decay(dt, rise if s2 >= u2 else fall)
    a3, b3, d3, e3 = _decay(dt, rise if s3 >= u3 else fall)
    o0, o1, o2, o3 = u0 - s0, u1 - s1, u2 - s2, u3 - s3
    t0, t1, t2, t3 = _pushes(u0, u1, u2, u3, c0, c1, c2, g0, g1, g2, g3)
    lift, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    w1, i1, j1, k1, p1, q1, r1, x1, y1, z1 = _rates(w, i, j, k, p, q, r, lift, mx, my, mz, gx, gy, gz)
    t0, t1, t2, t3 = _pushes(
        s0 + o0 * a0, s1 + o1 * a1, s2 + o2 * a2, s3 + o3 * a3, c0, c1, c2, g0, g1, g2, g3
    )
    lift, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    w2, i2, j2, k2, p2, q2, r2, x2, y2, z2 = _rates(
        w + h * w1, i + h * i1, j + h * j1, k + h * k1, p + h * p1, q + h * q1, r + h * r1,
        lift, mx, my, mz, gx, gy, gz,
    )  # fmt: skip
    t0, t1, t2, t3 = _pushes(
        s0 + o0 * b0, s1 + o1 * b1, s2 + o2 * b2, s3 + o3 * b3, c0, c1, c2, g0, g1, g2, g3
    )
    lift, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    w3, i3, j3, k3, p3, q3, r3, x3, y3, z3 = _rates(
        w + h * w2, i + h * i2, j + h * j2, k + h * k2, p + h * p2, q + h * q2, r + h * r2,
        lift, mx, my, mz, gx, gy, gz,
    )  # fmt: skip
    t0, t1, t2, t3 = _pushes(
        s0 + o0 * d0, s1 + o1 * d1, s2 + o2 * d2, s3 + o3 * d3, c0, c1, c2, g0, g1, g2, g3
    )
    lift, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    w4, i4, j4, k4, p4, q4, r4, x4, y4, z4 = _rates(
        w + dt * w3, i + dt * i3, j + dt * j3, k + dt * k3, p + dt * p3, q + dt * q3, r + dt * r3,
        lift, mx, my, mz, gx, gy, gz,
    )  # fmt: skip
    w += sixth * (w1 + w4 + _TWO * (w2 + w3))
    i += sixth * (i1 + i4 + _TWO * (i2 + i3))
    j += sixth * (j1 + j4 + _TWO * (j2 + j3))
    k += sixth * (k1 + k4 + _TWO * (k2 + k3))
    n = _ONE / np.sqrt(w * w + i * i + j * j + k * k)
    ez = fz - _G
    return (
        px + dt * (vx + h * fx + sixth * (x1 + x2 + x3)),
        py + dt * (vy + h * fy + sixth * (y1 + y2 + y3)),
        pz + dt * (vz + h * ez + sixth * (z1 + z2 + z3)),
        w * n, i * n, j * n, k * n,
        vx + dt * fx + sixth * (x1 + x4 + _TWO * (x2 + x3)),
        vy + dt * fy + sixth * (y1 + y4 + _TWO * (y2 + y3)),
        vz + dt * ez + sixth * (z1 + z4 + _TWO * (z2 + z3)),
        p + sixth * (p1 + p4 + _TWO * (p2 + p3)),
        q + sixth * (q1 + q4 + _TWO * (q2 + q3)),
        r + sixth * (r1 + r4 + _TWO * (r2 + r3)),
        s0 + o0 * e0, s1 + o1 * e1, s2 + o2 * e2, s3 + o3 * e3,
    )  # fmt: skip


@inlined
def _rates_vjp(w, i, j, k, p, q, r, lift, gx, gy, gz, lw, li, lj, lk, lp, lq, lr, lx, ly, lz):
    """Pull a cotangent of `_rates` back to (w, i, j, k, p, q, r) and to the lift.

    The cotangents of the three angular accelerations are lp, lq and lr themselves.
    """
    ll = _TWO * lift
    return (
        _HALF * (li * p + lj * q + lk * r) + ll * (j * lx - i * ly),
        _HALF * (lk * q - lw * p - lj * r) + ll * (k * lx - w * ly - _TWO * i * lz),
        _HALF * (li * r - lw * q - lk * p) + ll * (w * lx + k * ly - _TWO * j * lz),
        _HALF * (lj * p - lw * r - li * q) + ll * (i * lx + j * ly),
        _HALF * (li * w - lw * i + lj * k - lk * j) + gy * r * lq + gz * q * lr,
        _HALF * (lj * w - lw * j - li * k + lk * i) + gx * r * lp + gz * p * lr,
        _HALF * (lk * w - lw * k + li * j - lj * i) + gx * q * lp + gy * p * lq,
        _TWO * ((i * k + w * j) * lx + (j * k - w * i) * ly) + (_ONE - _TWO * (i * i + j * j)) * lz,
    )


@inlined
def _pushes_vjp(u0, u1, u2, u3, c1, c2, g0, g1, g2, g3, im, ax, ay, az, ll, lp, lq, lr):
    """Pull the cotangents of the lift and of the angular accelerations back to the four efforts."""
    a, x, y, z = ll * im, lp * ax, lq * ay, lr * az
    cc = _TWO * c2
    return (
        (a - x - y - z) * g0 * (c1 + cc * u0),
        (a - x + y + z) * g1 * (c1 + cc * u1),
        (a + x + y - z) * g2 * (c1 + cc * u2),
        (a + x - y + z) * g3 * (c1 + cc * u3),
    )


@inlined
def _pull_back(x, s0, s1, s2, s3, g0, g1, g2, g3, c, dt, y):
    """Multiply a cotangent of the new state with the Jacobian of `_advance`.

    Args:
        x: the state before the step.
        s0: set-points of the efforts (s0 to s3), as for `_advance`.
        g0: factors of the four thrusts (g0 to g3).
        c: constants of the airframe.
        dt: length of the step, seconds.
        y: cotangent of the new state, a tuple of 17.

    Returns:
        Cotangents of the state before the step (17), then of the four set-points.
    """
    px, py, pz, w, i, j, k, vx, vy, vz, p, q, r, u0, u1, u2, u3 = x
    lpx, lpy, lpz, lw, li, lj, lk, lvx, lvy, lvz, lp, lq, lr, lu0, lu1, lu2, lu3 = y
    im, c0, c1, c2, ax, ay, az, gx, gy, gz, rise, fall = c
    h, sixth, third = _HALF * dt, _SIXTH * dt, _THIRD * dt
    # Forward again, keeping the points at which the four stages were evaluated.
    a0, b0, d0, e0 = _decay(dt, rise if s0 >= u0 else fall)
    a1, b1, d1, e1 = _decay(dt, rise if s1 >= u1 else fall)
    a2, b2, d2, e2 = _decay(dt, rise if s2 >= u2 else fall)
    a3, b3, d3, e3 = _decay(dt, rise if s3 >= u3 else fall)
    o0, o1, o2, o3 = u0 - s0, u1 - s1, u2 - s2, u3 - s3
    t0, t1, t2, t3 = _pushes(u0, u1, u2, u3, c0, c1, c2, g0, g1, g2, g3)
    lift1, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    kw1, ki1, kj1, kk1, kp1, kq1, kr1, _, _, _ = _rates(w, i, j, k, p, q, r, lift1, mx, my, mz, gx, gy, gz)
    w2, i2, j2, k2 = w + h * kw1, i + h * ki1, j + h * kj1, k + h * kk1
    p2, q2, r2 = p + h * kp1, q + h * kq1, r + h * kr1
    v0, v1, v2, v3 = s0 + o0 * a0, s1 + o1 * a1, s2 + o2 * a2, s3 + o3 * a3
    t0, t1, t2, t3 = _pushes(v0, v1, v2, v3, c0, c1, c2, g0, g1, g2, g3)
    lift2, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    kw2, ki2, kj2, kk2, kp2, kq2, kr2, _, _, _ = _rates(
        w2, i2, j2, k2, p2, q2, r2, lift2, mx, my, mz, gx, gy, gz
    )
    w3, i3, j3, k3 = w + h * kw2, i + h * ki2, j + h * kj2, k + h * kk2
    p3, q3, r3 = p + h * kp2, q + h * kq2, r + h * kr2
    m0, m1, m2, m3 = s0 + o0 * b0, s1 + o1 * b1, s2 + o2 * b2, s3 + o3 * b3
    t0, t1, t2, t3 = _pushes(m0, m1, m2, m3, c0, c1, c2, g0, g1, g2, g3)
    lift3, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    kw3, ki3, kj3, kk3, kp3, kq3, kr3, _, _, _ = _rates(
        w3, i3, j3, k3, p3, q3, r3, lift3, mx, my, mz, gx, gy, gz
    )
    w4, i4, j4, k4 = w + dt * kw3, i + dt * ki3, j + dt * kj3, k + dt * kk3
    p4, q4, r4 = p + dt * kp3, q + dt * kq3, r + dt * kr3
    n0, n1, n2, n3 = s0 + o0 * d0, s1 + o1 * d1, s2 + o2 * d2, s3 + o3 * d3
    t0, t1, t2, t3 = _pushes(n0, n1, n2, n3, c0, c1, c2, g0, g1, g2, g3)
    lift4, mx, my, mz = _wrench(t0, t1, t2, t3, im, ax, ay, az)
    kw4, ki4, kj4, kk4, _, _, _, _, _, _ = _rates(w4, i4, j4, k4, p4, q4, r4, lift4, mx, my, mz, gx, gy, gz)
    # Through the normalisation.
    nw = w + sixth * (kw1 + kw4 + _TWO * (kw2 + kw3))
    ni = i + sixth * (ki1 + ki4 + _TWO * (ki2 + ki3))
    nj = j + sixth * (kj1 + kj4 + _TWO * (kj2 + kj3))
    nk = k + sixth * (kk1 + kk4 + _TWO * (kk2 + kk3))
    n = _ONE / np.sqrt(nw * nw + ni * ni + nj * nj + nk * nk)
    along = (lw * nw + li * ni + lj * nj + lk * nk) * n * n
    lw, li, lj, lk = (
        (lw - along * nw) * n,
        (li - along * ni) * n,
        (lj - along * nj) * n,
        (lk - along * nk) * n,
    )
    # Cotangents of the stages' accelerations come from the new velocity and position alone.
    ex, ey, ez = sixth * lvx, sixth * lvy, sixth * lvz
    dd = dt * sixth
    fx, fy, fz = dd * lpx, dd * lpy, dd * lpz
    # Stage 4.
    yw, yi, yj, yk = sixth * lw, sixth * li, sixth * lj, sixth * lk
    yp, yq, yr = sixth * lp, sixth * lq, sixth * lr
    bw, bi, bj, bk, bp, bq, br, bl = _rates_vjp(
        w4, i4, j4, k4, p4, q4, r4, lift4, gx, gy, gz, yw, yi, yj, yk, yp, yq, yr, ex, ey, ez
    )
    z0, z1, z2, z3 = _pushes_vjp(n0, n1, n2, n3, c1, c2, g0, g1, g2, g3, im, ax, ay, az, bl, yp, yq, yr)
    tw, ti, tj, tk, tp, tq, tr = bw, bi, bj, bk, bp, bq, br
    f0, f1, f2, f3 = z0 * d0, z1 * d1, z2 * d2, z3 * d3
    y0, y1, y2, y3 = z0 * (_ONE - d0), z1 * (_ONE - d1), z2 * (_ONE - d2), z3 * (_ONE - d3)
    # Stage 3.
    ex, ey, ez = third * lvx + fx, third * lvy + fy, third * lvz + fz
    yw, yi, yj, yk = third * lw + dt * bw, third * li + dt * bi, third * lj + dt * bj, third * lk + dt * bk
    yp, yq, yr = third * lp + dt * bp, third * lq + dt * bq, third * lr + dt * br
    bw, bi, bj, bk, bp, bq, br, bl = _rates_vjp(
        w3, i3, j3, k3, p3, q3, r3, lift3, gx, gy, gz, yw, yi, yj, yk, yp, yq, yr, ex, ey, ez
    )
    z0, z1, z2, z3 = _pushes_vjp(m0, m1, m2, m3, c1, c2, g0, g1, g2, g3, im, ax, ay, az, bl, yp, yq, yr)
    tw, ti, tj, tk, tp, tq, tr = tw + bw, ti + bi, tj + bj, tk + bk, tp + bp, tq + bq, tr + br
    f0, f1, f2, f3 = f0 + z0 * b0, f1 + z1 * b1, f2 + z2 * b2, f3 + z3 * b3
    y0, y1 = y0 + z0 * (_ONE - b0), y1 + z1 * (_ONE - b1)
    y2, y3 = y2 + z2 * (_ONE - b2), y3 + z3 * (_ONE - b3)
    # Stage 2.
    yw, yi, yj, yk = third * lw + h * bw, third * li + h * bi, third * lj + h * bj, third * lk + h * bk
    yp, yq, yr = third * lp + h * bp, third * lq + h * bq, third * lr + h * br
    bw, bi, bj, bk, bp, bq, br, bl = _rates_vjp(
        w2, i2, j2, k2, p2, q2, r2, lift2, gx, gy, gz, yw, yi, yj, yk, yp, yq, yr, ex, ey, ez
    )
    z0, z1, z2, z3 = _pushes_vjp(v0, v1, v2, v3, c1, c2, g0, g1, g2, g3, im, ax, ay, az, bl, yp, yq, yr)
    tw, ti, tj, tk, tp, tq, tr = tw + bw, ti + bi, tj + bj, tk + bk, tp + bp, tq + bq, tr + br
    f0, f1, f2, f3 = f0 + z0 * a0, f1 + z1 * a1, f2 + z2 * a2, f3 + z3 * a3
    y0, y1 = y0 + z0 * (_ONE - a0), y1 + z1 * (_ONE - a1)
    y2, y3 = y2 + z2 * (_ONE - a2), y3 + z3 * (_ONE - a3)
    # Stage 1.
    ex, ey, ez = sixth * lvx + fx, sixth * lvy + fy, sixth * lvz + fz
    yw, yi, yj, yk = sixth * lw + h * bw, sixth * li + h * bi, sixth * lj + h * bj, sixth * lk + h * bk
    yp, yq, yr = sixth * lp + h * bp, sixth * lq + h * bq, sixth * lr + h * br
    bw, bi, bj, bk, bp, bq, br, bl = _rates_vjp(
        w, i, j, k, p, q, r, lift1, gx, gy, gz, yw, yi, yj, yk, yp, yq, yr, ex, ey, ez
    )
    z0, z1, z2, z3 = _pushes_vjp(u0, u1, u2, u3, c1, c2, g0, g1, g2, g3, im, ax, ay, az, bl, yp, yq, yr)
    return (
        lpx, lpy, lpz,
        lw + tw + bw, li + ti + bi, lj + tj + bj, lk + tk + bk,
        lvx + dt * lpx, lvy + dt * lpy, lvz + dt * lpz,
        lp + tp + bp, lq + tq + bq, lr + tr + br,
        f0 + z0 + lu0 * e0, f1 + z1 + lu1 * e1, f2 + z2 + lu2 * e2, f3 + z3 + lu3 * e3,
        y0 + lu0 * (_ONE - e0), y1 + lu1 * (_ONE - e1), y2 + lu2 * (_ONE - e2), y3 + lu3 * (_ONE - e3),
    )  # fmt: skip


@compiled
def advance_block(b):
    """Advance `LANES` vehicles one Runge-Kutta step.

    Args:
        b: shape (ROWS, LANES), float32, C-contiguous. Rows STATE to STEP are read, NEW is written.
    """
    for n in range(LANES):
        m = b[28, n]
        (
            b[41, n], b[42, n], b[43, n], b[44, n], b[45, n], b[46, n], b[47, n], b[48, n],
            b[49, n], b[50, n], b[51, n], b[52, n], b[53, n], b[54, n], b[55, n], b[56, n],
            b[57, n],
        ) = _advance(
            (
                b[0, n], b[1, n], b[2, n], b[3, n], b[4, n], b[5, n], b[6, n], b[7, n], b[8, n],
                b[9, n], b[10, n], b[11, n], b[12, n], b[13, n], b[14, n], b[15, n], b[16, n],
            ),
            b[17, n], b[18, n], b[19, n], b[20, n], m * b[25, n], m * b[26, n], m * b[27, n],
            b[21, n], b[22, n], b[23, n], b[24, n],
            (
                b[28, n], b[29, n], b[30, n], b[31, n], b[32, n], b[33, n], b[34, n], b[35, n],
                b[36, n], b[37, n], b[38, n], b[39, n],
            ),
            b[40, n],
        )  # fmt: skip


@compiled
def pull_back_block(b):
    """Multiply cotangents of the new states with the Jacobians of `advance_block`.

    Args:
        b: shape (ROWS, LANES), float32, C-contiguous. Rows STATE to STEP and COTANGENT are read;
            COTANGENT and SETPOINT_COTANGENT are written.
    """
    for n in range(LANES):
        (
            b[58, n], b[59, n], b[60, n], b[61, n], b[62, n], b[63, n], b[64, n], b[65, n],
            b[66, n], b[67, n], b[68, n], b[69, n], b[70, n], b[71, n], b[72, n], b[73, n],
            b[74, n], b[75, n], b[76, n], b[77, n], b[78, n],
        ) = _pull_back(
            (
                b[0, n], b[1, n], b[2, n], b[3, n], b[4, n], b[5, n], b[6, n], b[7, n], b[8, n],
                b[9, n], b[10, n], b[11, n], b[12, n], b[13, n], b[14, n], b[15, n], b[16, n],
            ),
            b[17, n], b[18, n], b[19, n], b[20, n], b[21, n], b[22, n], b[23, n], b[24, n],
            (
                b[28, n], b[29, n], b[30, n], b[31, n], b[32, n], b[33, n], b[34, n], b[35, n],
                b[36, n], b[37, n], b[38, n], b[39, n],
            ),
            b[40, n],
            (
                b[58, n], b[59, n], b[60, n], b[61, n], b[62, n], b[63, n], b[64, n], b[65, n],
                b[66, n], b[67, n], b[68, n], b[69, n], b[70, n], b[71, n], b[72, n], b[73, n],
                b[74, n],
            ),
        )  # fmt: skip
