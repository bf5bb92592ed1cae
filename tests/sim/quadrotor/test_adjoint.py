"""Protects training through the simulator: the derivative of a step is the one of the step that flies."""

import numpy as np
import pytest
import torch

from hardware.errors import ConfigError
from sim.quadrotor.adjoint import step_vjp
from sim.quadrotor.sampling import sample_airframes
from sim.quadrotor.torch_step import torch_coefficients, torch_step

# More than one block, and not a whole number of them.
COUNT = 70


def _tumbling(rng):
    state = rng.standard_normal((17, COUNT))
    state[3:7] /= np.linalg.norm(state[3:7], axis=0)
    state[10:13] *= 10.0
    state[13:17] = rng.random((4, COUNT))
    return state.astype(np.float32)


@pytest.mark.parametrize("dt_s", [0.01, 0.0025])
def test_the_derivative_is_that_of_the_step(dt_s):
    rng = np.random.default_rng(0)
    airframes = sample_airframes(COUNT, seed=1)
    state = _tumbling(rng)
    # Some set-points lie beyond what rotors can do: there they have no influence.
    setpoint = rng.uniform(-0.3, 1.3, (4, COUNT)).astype(np.float32)
    cotangent = rng.standard_normal((17, COUNT)).astype(np.float32)
    force = (airframes.mass * rng.standard_normal((3, COUNT))).astype(np.float32)
    gain = rng.uniform(0.8, 1.2, (4, COUNT)).astype(np.float32)

    of_state, of_setpoint = step_vjp(
        airframes, state, setpoint, cotangent, dt_s=dt_s, force_n=force, motor_gain=gain
    )

    x, s = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (state, setpoint))
    new = torch_step(
        torch_coefficients(airframes, dtype=torch.float64),
        x,
        s,
        dt_s=dt_s,
        force_n=torch.tensor(force, dtype=torch.float64),
        motor_gain=torch.tensor(gain, dtype=torch.float64),
    )
    new.backward(torch.tensor(cotangent, dtype=torch.float64))
    for ours, theirs in ((of_state, x.grad), (of_setpoint, s.grad)):
        theirs = theirs.numpy()
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    assert (of_setpoint[(setpoint < 0.0) | (setpoint > 1.0)] == 0.0).all()
    assert (of_setpoint != 0.0).any()


def test_a_vehicle_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(2)
    airframes = sample_airframes(COUNT, seed=3)
    state, cotangent = _tumbling(rng), rng.standard_normal((17, COUNT)).astype(np.float32)
    setpoint = rng.random((4, COUNT)).astype(np.float32)
    whole, _ = step_vjp(airframes, state, setpoint, cotangent, dt_s=0.01)
    last = np.array([COUNT - 1])
    alone, _ = step_vjp(
        airframes.take(last), state[:, last], setpoint[:, last], cotangent[:, last], dt_s=0.01
    )
    np.testing.assert_array_equal(alone[:, 0], whole[:, -1])


def test_a_wrong_shape_is_told():
    airframes = sample_airframes(2, seed=0)
    state = np.zeros((17, 2), np.float32)
    with pytest.raises(ConfigError, match=r"(?s)setpoint has shape \(4, 3\).*Expected \(4, 2\)"):
        step_vjp(airframes, state, np.zeros((4, 3), np.float32), state, dt_s=0.01)
