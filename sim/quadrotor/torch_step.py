"""The dynamics in torch: on any device, differentiable, and an independent check of the compiled step.

The equations are those of `sim.quadrotor.dynamics`, written as it writes them: one derivative of the whole
state, four stages. For fleets on a GPU and for gradients through the flight.
"""

from __future__ import annotations

import torch

from sim.quadrotor.airframes import GRAVITY_M_S2
from sim.quadrotor.fleet_airframes import AirframeBatch


def torch_coefficients(
    airframes: AirframeBatch, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Bring airframes to a device.

    Args:
        airframes: N of them.
        device: where to.
        dtype: float32 or float64.

    Returns:
        `AirframeBatch.coefficients`, shape (12, N).
    """
    return torch.tensor(airframes.coefficients, device=device, dtype=dtype)


def torch_step(
    coefficients: torch.Tensor,
    state: torch.Tensor,
    setpoint: torch.Tensor,
    *,
    dt_s: float,
    force_n: torch.Tensor | None = None,
    motor_gain: torch.Tensor | None = None,
) -> torch.Tensor:
    """Advance N vehicles one Runge-Kutta step under constant set-points and a constant force.

    Args:
        coefficients: shape (12, N), from `torch_coefficients`.
        state: shape (17, N), rows as in `sim.quadrotor.batch.step_batch`.
        setpoint: efforts, shape (4, N), limited to 0 to 1 here; the gradient is zero beyond.
        dt_s: length of the step, seconds.
        force_n: an external force, shape (3, N), newtons, world frame; None for none.
        motor_gain: factor on each rotor's thrust, shape (4, N); None for 1.

    Returns:
        The new state, shape (17, N); the quaternions have length 1.
    """
    target = setpoint.clamp(0.0, 1.0)
    pull = torch.zeros_like(state[0:3])
    pull[2] = -GRAVITY_M_S2
    if force_n is not None:
        pull = pull + force_n * coefficients[0]
    k1 = _derivative(coefficients, state, target, pull, motor_gain)
    k2 = _derivative(coefficients, state + 0.5 * dt_s * k1, target, pull, motor_gain)
    k3 = _derivative(coefficients, state + 0.5 * dt_s * k2, target, pull, motor_gain)
    k4 = _derivative(coefficients, state + dt_s * k3, target, pull, motor_gain)
    new = state + (dt_s / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
    length = new[3:7].square().sum(dim=0, keepdim=True).sqrt()
    return torch.cat((new[0:3], new[3:7] / length, new[7:17]))


def _derivative(
    coefficients: torch.Tensor,
    state: torch.Tensor,
    target: torch.Tensor,
    pull: torch.Tensor,
    gain: torch.Tensor | None,
) -> torch.Tensor:
    per_mass, c0, c1, c2, roll, pitch, yaw, gyro_x, gyro_y, gyro_z, rising, falling = coefficients
    w, x, y, z = state[3:7]
    p, q, r = state[10:13]
    effort = state[13:17]
    thrust = c0 + effort * (c1 + effort * c2)
    if gain is not None:
        thrust = thrust * gain
    front_right, back_right, back_left, front_left = thrust
    lift = thrust.sum(dim=0) * per_mass
    gap = target - effort
    rotation = torch.stack(
        (
            -0.5 * (x * p + y * q + z * r),
            0.5 * (w * p + y * r - z * q),
            0.5 * (w * q - x * r + z * p),
            0.5 * (w * r + x * q - y * p),
        )
    )
    acceleration = pull + lift * torch.stack(
        (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y))
    )
    spin = torch.stack(
        (
            roll * (back_left + front_left - front_right - back_right) + gyro_x * q * r,
            pitch * (back_right + back_left - front_right - front_left) + gyro_y * p * r,
            yaw * (back_right + front_left - front_right - back_left) + gyro_z * p * q,
        )
    )
    return torch.cat(
        (state[7:10], rotation, acceleration, spin, gap * torch.where(gap >= 0.0, rising, falling))
    )
