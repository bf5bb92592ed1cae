"""The derivative of one simulation step: what lets a policy be trained through the simulator.

The choice between the rising and the falling rotor and the limits of the efforts are differentiated as what
they are at that point. Numba is imported at the first call.
"""

from __future__ import annotations

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.dynamics import STATE_SIZE
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array


def step_vjp(
    airframes: AirframeBatch,
    state: Float32Array,
    setpoint: Float32Array,
    cotangent: Float32Array,
    *,
    dt_s: float,
    force_n: Float32Array | None = None,
    motor_gain: Float32Array | None = None,
) -> tuple[Float32Array, Float32Array]:
    """Multiply a cotangent with the Jacobian of `step_batch`.

    Args:
        airframes: N of them.
        state: the state before the step, shape (17, N), rows as in `step_batch`.
        setpoint: efforts, shape (4, N); limited to 0 to 1, beyond which they have no influence.
        cotangent: of the new state, shape (17, N).
        dt_s: length of the step, seconds.
        force_n: an external force, shape (3, N), newtons, world frame; None for none.
        motor_gain: factor on each rotor's thrust, shape (4, N); None for 1.

    Returns:
        The cotangents of the state, (17, N), and of the set-points, (4, N).

    Raises:
        ConfigError: an array has another shape.
    """
    from sim.quadrotor.adjoint_kernels import (
        COEFFICIENTS,
        COTANGENT,
        FORCE,
        GAIN,
        LANES,
        ROWS,
        SETPOINT,
        SETPOINT_COTANGENT,
        STATE,
        STEP,
        pull_back_block,
    )

    count = len(airframes)
    given = {
        "state": (state, STATE, STATE_SIZE),
        "setpoint": (setpoint.clip(0.0, 1.0), SETPOINT, 4),
        "motor_gain": (np.ones((4, count)) if motor_gain is None else motor_gain, GAIN, 4),
        "force_n": (np.zeros((3, count)) if force_n is None else force_n, FORCE, 3),
        "coefficients": (airframes.coefficients, COEFFICIENTS, 12),
        "cotangent": (cotangent, COTANGENT, STATE_SIZE),
    }
    for name, (array, _, size) in given.items():
        if array.shape != (size, count):
            raise ConfigError(
                f"{name} has shape {array.shape}",
                where="step_vjp",
                expected=f"{(size, count)}",
                mend="give one column a vehicle",
            )
    of_state, of_setpoint = np.empty((STATE_SIZE, count), np.float32), np.empty((4, count), np.float32)
    block = np.ones((ROWS, LANES), np.float32)
    block[STEP] = dt_s
    for start in range(0, count, LANES):
        size = min(LANES, count - start)
        for array, row, rows in given.values():
            block[row : row + rows, :size] = array[:, start : start + size]
        pull_back_block(block)
        of_state[:, start : start + size] = block[COTANGENT : COTANGENT + STATE_SIZE, :size]
        of_setpoint[:, start : start + size] = block[SETPOINT_COTANGENT:, :size]
    of_setpoint[(setpoint < 0.0) | (setpoint > 1.0)] = 0.0
    return of_state, of_setpoint
