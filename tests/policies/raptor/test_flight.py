"""Protects the whole: the published policy flies as its authors' simulator says it does.

The expected numbers were measured with the authors' own simulator and package (specs, RAPTOR 3.3 and
3.4); the vehicles here are the reference dynamics of `sim.quadrotor`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from hardware.frames import rotation_matrix
from hardware.robot import Observation
from policies.policy import ActContext
from policies.raptor import PUBLISHED, RaptorOptions, RaptorPolicy
from policies.raptor.contract import FLIGHT_CLIPPING
from policies.raptor.network import NumpyBackend, RaptorWeights
from policies.raptor.observe import observe_batch
from sim.quadrotor.airframes import load_airframe
from sim.quadrotor.dynamics import make_state, parameters_of, step

# Airframe: figure eight of 10 s and of 5.5 s (RMSE, m), hover offset (m).
MEASURED = {
    "crazyflie": (0.086, 0.205, 0.053),
    "x500_real": (0.063, 0.169, 0.022),
    "x500_sim": (0.069, 0.187, 0.024),
    "arpl": (0.095, 0.172, 0.079),
    "mrs": (0.063, 0.170, 0.022),
    "flightmare": (0.127, 0.193, 0.115),
    "soft": (0.059, 0.160, 0.021),
    "fs": (0.059, 0.158, 0.022),
}
CONTEXT = ActContext(now_ns=0)


def hover(_t_s):
    return np.zeros(3), np.zeros(3)


def figure_eight(period_s):
    """One metre by half a metre, begun over one second of linearly growing speed."""

    def sample(t_s):
        speed = min(t_s, 1.0) * 2 * math.pi / period_s
        phase = (min(t_s, 1.0) ** 2 / 2 + max(0.0, t_s - 1.0)) * 2 * math.pi / period_s
        return (
            np.array([math.sin(phase), 0.5 * math.sin(2 * phase), 0.0]),
            np.array([math.cos(phase), math.cos(2 * phase), 0.0]) * speed,
        )

    return sample


def rms(errors):
    return math.sqrt((errors**2).sum(axis=-1).mean())


def fly(airframe, reference, seconds, *, start, options=None, yaw=0.0):
    """Fly one vehicle through the policy; returns the position errors after every call."""
    policy = RaptorPolicy.load(options=options)
    rate_hz = 100.0 if options is None or options.rate_hz is None else options.rate_hz
    parameters, state, errors = parameters_of(load_airframe(airframe)), start, []
    for i in range(round(seconds * rate_hz)):
        position, velocity = reference(i / rate_hz)
        values = {
            "position": state.position,
            "orientation": state.orientation,
            "linear_velocity": rotation_matrix(state.orientation).T @ state.linear_velocity,
            "angular_velocity": state.angular_velocity,
            "reference_position": position,
            "reference_velocity": velocity,
            "reference_yaw": np.array([yaw]),
        }
        stamp_ns = round(i / rate_hz * 1e9)
        chunk = policy.act(Observation(values, stamp_ns, stamp_ns), context=CONTEXT)
        state = step(parameters, state, chunk.values[0], 1 / rate_hz)
        errors.append(state.position - reference((i + 1) / rate_hz)[0])
    return np.array(errors), state


def fly_batch(reference, seconds, *, start, clipping=FLIGHT_CLIPPING):
    """Fly all airframes of the table side by side; returns the position errors, (T, B, 3)."""
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    backend, vehicles = NumpyBackend(weights), len(MEASURED)
    parameters = parameters_of([load_airframe(name) for name in MEASURED])
    state, errors = start, []
    hidden = np.tile(weights.initial_hidden, (vehicles, 1))
    action = np.zeros((vehicles, 4), np.float32)
    for i in range(round(seconds * 100)):
        position, velocity = reference(i * 0.01)
        turn_back = np.swapaxes(rotation_matrix(state.orientation), -1, -2)
        values = {
            "position": state.position,
            "orientation": state.orientation,
            "linear_velocity": (turn_back @ state.linear_velocity[..., None])[..., 0],
            "angular_velocity": state.angular_velocity,
            "reference_position": position[None],
            "reference_velocity": velocity[None],
            "reference_yaw": np.zeros((1, 1)),
        }
        action, hidden = backend.step(observe_batch(values, action, clipping=clipping), hidden)
        action = action.clip(-1, 1)
        state = step(parameters, state, (action.astype(np.float64) + 1) / 2, 0.01)
        errors.append(state.position - reference((i + 1) * 0.01)[0])
    return np.array(errors)


def batch_start(**kwargs):
    position = np.tile(kwargs.pop("position", (0.0, 0.0, 0.0)), (len(MEASURED), 1))
    return make_state(position=position, **kwargs)


@pytest.mark.parametrize(("column", "period_s"), [(0, 10.0), (1, 5.5)])
def test_every_named_airframe_tracks_the_figure_eight_as_measured(column, period_s):
    errors = fly_batch(figure_eight(period_s), 1 + 2 * period_s, start=batch_start(effort=0.4))[100:]
    for index, (name, row) in enumerate(MEASURED.items()):
        assert rms(errors[:, index]) == pytest.approx(row[column], rel=0.03), name


def test_every_named_airframe_hovers_as_measured():
    errors = fly_batch(hover, 5.0, start=batch_start(position=(0.3, -0.2, 0.1), effort=0.3))
    for index, (name, row) in enumerate(MEASURED.items()):
        assert rms(errors[-100:, index]) == pytest.approx(row[2], abs=0.0015), name


def test_clipping_is_what_saves_large_vehicles_far_away():
    # Nose up by 90 degrees, 2.8 m away: all come back with clipping, four of eight without.
    start = batch_start(position=(2.0, 2.0, 0.0), orientation=(1.0, 0.0, -1.0, 0.0), effort=0.33)
    clipped = fly_batch(hover, 4.0, start=start)
    assert (np.linalg.norm(clipped[-1], axis=-1) < 0.12).all()
    free = fly_batch(hover, 4.0, start=start, clipping=None)
    back = np.linalg.norm(free[-1], axis=-1) < 1.0
    assert [name for name, is_back in zip(MEASURED, back, strict=True) if is_back] == [
        "arpl",
        "flightmare",
        "soft",
        "fs",
    ]


@pytest.mark.parametrize("rate_hz", [100.0, 400.0])
def test_the_policy_object_flies_alike_at_both_rates(rate_hz):
    errors, _ = fly(
        "x500_real",
        figure_eight(5.5),
        1 + 5.5,
        start=make_state(effort=0.4),
        options=RaptorOptions(rate_hz=rate_hz),
    )
    assert rms(errors[round(rate_hz) :]) == pytest.approx(MEASURED["x500_real"][1], rel=0.05)


@pytest.mark.parametrize("yaw", [-2.0, 1.0])
def test_it_turns_to_the_reference_yaw(yaw):
    errors, state = fly("x500_real", hover, 6.0, start=make_state(effort=0.4), yaw=yaw)
    forward = rotation_matrix(state.orientation)[:, 0]
    assert math.atan2(forward[1], forward[0]) == pytest.approx(yaw, abs=0.1)
    assert rms(errors[-100:]) < 0.05
