"""Protects the compiled step: it equals the reference dynamics in double precision and the step in torch."""

import math

import numpy as np
import pytest
import torch

from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from sim.quadrotor import QuadrotorState, airframe_names, load_airframe, parameters_of, step
from sim.quadrotor.batch import observe_batch, privileged_batch, step_batch
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.sampling import sample_airframes
from sim.quadrotor.torch_step import torch_coefficients, torch_step

# One vehicle, less than a SIMD register, a block of 128 and its neighbours, several blocks and a rest.
COUNTS = (1, 5, 127, 128, 129, 1000)


def states(count, seed=0):
    rng = np.random.default_rng(seed)
    state = (
        rng.normal(size=(17, count))
        * np.array([1.0] * 3 + [1.0] * 4 + [2.0] * 3 + [5.0] * 3 + [0.0] * 4)[:, None]
    )
    state[3:7] /= np.linalg.norm(state[3:7], axis=0)
    state[13:] = rng.uniform(0.0, 1.0, (4, count))
    setpoint = rng.uniform(-0.2, 1.2, (4, count))
    force = rng.normal(size=(3, count))
    gain = rng.uniform(0.8, 1.2, (4, count))
    return [np.ascontiguousarray(a, np.float32) for a in (state, setpoint, force, gain)]


@pytest.mark.parametrize("count", COUNTS)
def test_it_is_the_reference_dynamics(count):
    fleet = sample_airframes(count, seed=1)
    state, setpoint, force, _ = states(count)
    new = step_batch(fleet, state, setpoint, dt_s=0.01, force_n=force)
    reference = step(
        parameters_of([fleet.airframe(i) for i in range(count)]),
        QuadrotorState(state.T.astype(np.float64)),
        setpoint.T.astype(np.float64),
        0.01,
        force.T.astype(np.float64),
    ).packed.T
    assert np.abs(new - reference).max() < 2e-5
    assert np.linalg.norm(new[3:7], axis=0) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dt_s", [0.001, 0.0025, 0.01])
def test_it_is_the_step_in_torch(dt_s):
    fleet = AirframeBatch.of([load_airframe(name) for name in airframe_names()] * 20)
    state, setpoint, force, gain = states(len(fleet), seed=2)
    new = step_batch(fleet, state, setpoint, dt_s=dt_s, force_n=force, motor_gain=gain)
    tensors = [torch.tensor(a, dtype=torch.float64) for a in (state, setpoint, force, gain)]
    other = torch_step(
        torch_coefficients(fleet, dtype=torch.float64),
        tensors[0],
        tensors[1],
        dt_s=dt_s,
        force_n=tensors[2],
        motor_gain=tensors[3],
    ).numpy()
    assert np.abs(new - other).max() < 2e-5


def test_the_step_in_torch_has_the_gradient_of_a_difference():
    fleet = sample_airframes(3, seed=4)
    coefficients = torch_coefficients(fleet, dtype=torch.float64)
    arrays = states(3, seed=4)
    # Away from the limits of the set-point, where the derivative jumps.
    setpoint = torch.tensor(arrays[1].clip(0.05, 0.95), dtype=torch.float64, requires_grad=True)
    state = torch.tensor(arrays[0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, u: torch_step(coefficients, x, u, dt_s=0.01), (state, setpoint), atol=1e-6
    )


def test_it_may_write_over_its_input():
    fleet = sample_airframes(300, seed=1)
    state, setpoint, _, _ = states(300)
    new = step_batch(fleet, state, setpoint, dt_s=0.01)
    assert step_batch(fleet, state, setpoint, dt_s=0.01, out=state) is state
    assert np.array_equal(state, new)


def test_a_lost_vehicle_shows_and_touches_no_other():
    fleet = sample_airframes(200, seed=1)
    state, setpoint, _, _ = states(200)
    healthy = step_batch(fleet, state, setpoint, dt_s=0.01)
    state[10, 37], setpoint[2, 140] = np.nan, np.nan
    new = step_batch(fleet, state, setpoint, dt_s=0.01)
    assert np.isnan(new[10:13, 37]).any()
    assert np.isnan(new[7:10, 140]).all()
    kept = np.delete(np.arange(200), [37, 140])
    assert np.array_equal(new[:, kept], healthy[:, kept])


def test_observations_are_what_the_spec_says():
    state, setpoint, position, _ = states(70, seed=5)
    velocity = position[::-1].copy()
    seen = observe_batch(state, position, velocity, setpoint)
    assert seen[:, 0:3] == pytest.approx((state[0:3] - position).T)
    assert seen[:, 3:12].reshape(-1, 3, 3) == pytest.approx(rotation_matrix(state[3:7].T), abs=1e-6)
    assert seen[:, 12:15] == pytest.approx((state[7:10] - velocity).T)
    assert seen[:, 15:18] == pytest.approx(state[10:13].T)
    assert seen[:, 18:22] == pytest.approx(setpoint.T)
    clipped = observe_batch(state, position, velocity, setpoint, position_clip_m=0.5, velocity_clip_m_s=1.0)
    assert clipped[:, 0:3] == pytest.approx(seen[:, 0:3].clip(-0.5, 0.5))
    assert clipped[:, 12:15] == pytest.approx(seen[:, 12:15].clip(-1.0, 1.0))
    assert np.array_equal(
        np.delete(clipped, [0, 1, 2, 12, 13, 14], 1), np.delete(seen, [0, 1, 2, 12, 13, 14], 1)
    )
    teacher = privileged_batch(state, position, velocity, setpoint)
    assert np.array_equal(teacher[:, :22], seen)
    assert teacher[:, 22:] == pytest.approx(2.0 * state[13:17].T - 1.0)


def test_an_observation_clips_only_when_asked():
    state, setpoint, _, _ = states(4)
    state[0] = 1e6
    zero = np.zeros((3, 4), np.float32)
    assert observe_batch(state, zero, zero, setpoint, position_clip_m=math.inf)[:, 0].tolist() == [1e6] * 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"state": np.zeros((17, 4), np.float64)}, "state is float64 of shape (17, 4)"),
        ({"setpoint": np.zeros((4, 4), np.float32).T[::-1].T}, "setpoint is float32 of shape (4, 4)"),
        ({"force_n": np.zeros((4, 3), np.float32)}, "Expected C-contiguous float32 of shape (3, 4)"),
    ],
)
def test_arrays_that_the_loop_cannot_read_are_refused(change, text):
    arrays = {"state": np.zeros((17, 4), np.float32), "setpoint": np.zeros((4, 4), np.float32)} | change
    with pytest.raises(ConfigError) as error:
        step_batch(sample_airframes(4, seed=0), dt_s=0.01, **arrays)
    assert text in str(error.value)
