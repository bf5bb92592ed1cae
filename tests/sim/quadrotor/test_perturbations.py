"""Protects what makes flying harder: delays to the physics step, noise of its size, wind, weak motors."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from sim.quadrotor import load_airframe
from sim.quadrotor.fleet import QuadrotorFleet, StartRules
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.sampling import sample_airframes

AT_REST = StartRules(guidance=1.0, effort=(0.4, 0.4))
X500 = load_airframe("x500_real")


def fleet_of(count, perturbations, *, seed=0, airframes=None, **options):
    chosen = airframes or sample_airframes(count, seed=1)
    return QuadrotorFleet(chosen, seed=seed, start=AT_REST, perturbations=perturbations, **options)


def actions(steps, count, seed=0):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, count, 4)).astype(np.float32)


@pytest.mark.parametrize(("delay", "physics_steps"), [(0, 4), (1, 4), (3, 4), (4, 4), (7, 4), (2, 1)])
def test_an_action_reaches_the_rotors_that_many_physics_steps_late(delay, physics_steps):
    dt = 0.01 / physics_steps
    plan = actions(12, 3)
    late = fleet_of(
        3, Perturbations(action_delay_s=(delay * dt, delay * dt)), dt_s=dt, physics_steps=physics_steps
    )
    # The same vehicles, told every physics step, without delay: what they are told is shifted by hand.
    prompt = fleet_of(3, None, dt_s=dt)
    told = [np.full((3, 4), -0.2, np.float32)] * delay + [a for a in plan for _ in range(physics_steps)]
    for step, action in enumerate(plan):
        late.step(action)
        for tick in range(physics_steps):
            prompt.step(told[step * physics_steps + tick])
        assert np.array_equal(late.state, prompt.state)
    assert np.array_equal(late.previous_action, plan[-1].T)


@pytest.mark.parametrize(("delay", "velocity", "physics_steps"), [(3, 0, 4), (0, 5, 4), (2, 3, 1), (1, 1, 4)])
def test_observations_are_that_many_physics_steps_old(delay, velocity, physics_steps):
    dt = 0.01 / physics_steps
    fleet = fleet_of(
        5,
        Perturbations(
            observation_delay_s=(delay * dt, delay * dt), velocity_delay_s=(velocity * dt, velocity * dt)
        ),
        dt_s=dt,
        physics_steps=physics_steps,
    )
    truth = fleet_of(5, None, dt_s=dt)
    past = [truth.state.copy()]
    for action in actions(15, 5):
        fleet.step(action)
        for _ in range(physics_steps):
            truth.step(action)
            past.append(truth.state.copy())
        old = past[max(0, len(past) - 1 - delay)]
        older = past[max(0, len(past) - 1 - delay - velocity)]
        assert np.array_equal(fleet.measured[0:7], old[0:7])
        assert np.array_equal(fleet.measured[7:10], older[7:10])
        assert np.array_equal(fleet.measured[10:13], old[10:13])
        assert np.array_equal(fleet.privileged()[:, 15:18], fleet.state[10:13].T)


def test_every_vehicle_draws_its_own_delay():
    fleet = fleet_of(500, Perturbations(action_delay_s=(0.0, 0.02)), dt_s=0.0025, physics_steps=4)
    full = np.ones((500, 4), np.float32)
    reached = np.zeros(500)
    for _ in range(3):
        fleet.step(full)
        reached += fleet.state[13] > 0.4
    # Eight physics steps of delay at most: one, two or three control steps until the rotors have turned up.
    assert set(np.unique(reached).tolist()) == {1.0, 2.0, 3.0}


def test_a_reset_leaves_no_past():
    fleet = fleet_of(
        50,
        Perturbations(
            action_delay_s=(0.03, 0.03), observation_delay_s=(0.03, 0.03), velocity_delay_s=(0.02, 0.02)
        ),
    )
    for action in actions(20, 50):
        fleet.step(action)
    fleet.reset()
    assert np.array_equal(fleet.measured, fleet.state[:13])
    fleet.step(np.ones((50, 4), np.float32))
    # Still the effort of the start: the full set-point is on its way.
    assert fleet.state[13:17] == pytest.approx(0.4, abs=1e-6)


def test_noise_has_the_size_it_was_given():
    rules = Perturbations(
        position_noise_m=(0.02, 0.02),
        orientation_noise_rad=(0.03, 0.03),
        velocity_noise_m_s=(0.1, 0.1),
        angular_velocity_noise_rad_s=(0.2, 0.2),
    )
    fleet = fleet_of(20_000, rules)
    clean = fleet.state
    error = fleet.measured - clean[:13]
    for rows, sigma in ((slice(0, 3), 0.02), (slice(7, 10), 0.1), (slice(10, 13), 0.2)):
        assert error[rows].std(axis=1) == pytest.approx(sigma, rel=0.03)
        assert np.abs(error[rows].mean(axis=1)).max() < 0.05 * sigma
    turned = rotation_matrix(fleet.measured[3:7].T)
    # The start is upright: the matrix's off-diagonal elements are the angles.
    angles = np.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]])
    assert angles.std(axis=1) == pytest.approx(0.03, rel=0.03)
    assert np.linalg.norm(fleet.measured[3:7], axis=0) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(fleet.observe(), fleet.observe())
    before = fleet.measured.copy()
    fleet.step(np.zeros((20_000, 4), np.float32))
    assert np.corrcoef(before[0], fleet.measured[0])[0, 1] < 0.05


def test_noise_differs_between_vehicles():
    fleet = fleet_of(300, Perturbations(position_noise_m=(0.0, 0.1)))
    seen = []
    for _ in range(60):
        fleet.step(np.zeros((300, 4), np.float32))
        seen.append(fleet.measured[0] - fleet.state[0])
    sigma = np.std(seen, axis=0)
    assert sigma.min() < 0.01
    assert 0.08 < sigma.max() < 0.14


def test_an_empty_battery_takes_thrust():
    hover = np.full((1, 4), 2.0 * X500.hover_effort - 1.0, np.float32)
    start = StartRules(guidance=1.0, effort=(X500.hover_effort, X500.hover_effort))
    fleet = QuadrotorFleet(
        AirframeBatch.of([X500]), seed=0, start=start, perturbations=Perturbations(battery_sag=(0.1, 0.1))
    )
    fleet.step(hover)
    # A tenth of the lift is missing.
    assert fleet.state[9, 0] == pytest.approx(-0.981 * 0.01, rel=1e-3)
    drained = QuadrotorFleet(
        AirframeBatch.of([X500]),
        seed=0,
        start=start,
        perturbations=Perturbations(battery_drain_per_s=(0.05, 0.05)),
    )
    for _ in range(100):
        drained.step(hover)
    # The loss grows by 5 % a second: half of that on average over the first.
    assert drained.state[9, 0] == pytest.approx(-9.81 * 0.05 * 0.5, rel=0.02)
    drained.reset()
    drained.step(hover)
    assert drained.state[9, 0] == pytest.approx(-9.81 * 0.0005 * 0.01, rel=0.1)


def test_unequal_motors_turn_the_vehicle():
    airframes = AirframeBatch.of([X500] * 2000)
    fleet = fleet_of(2000, Perturbations(motor_mismatch=(0.05, 0.05)), airframes=airframes)
    fleet.step(np.zeros((2000, 4), np.float32))
    assert (np.abs(fleet.state[10:13]) > 1e-4).any(axis=0).mean() > 0.9
    # Each rotor's thrust is off by up to 5 %, uniform: the sum of four has a deviation of 0.05 / sqrt(3) * 2.
    lift = (fleet.state[9] / 0.01 + 9.81) * X500.mass_kg
    assert lift.std() / lift.mean() == pytest.approx(0.05 / np.sqrt(3.0) / 2.0, rel=0.06)


def test_wind_carries_and_drag_brakes():
    airframes = AirframeBatch.of([X500] * 400)
    calm = Perturbations(wind_m_s=(3.0, 3.0), drag_per_s=(0.5, 0.5))
    fleet = fleet_of(400, calm, airframes=airframes, dt_s=0.01)
    for _ in range(50):
        fleet.step(np.full((400, 4), -1.0, np.float32))
    speed = np.hypot(fleet.state[7], fleet.state[8])
    assert speed == pytest.approx(3.0 * (1.0 - np.exp(-0.5 * 0.5)), rel=0.02)
    heading = np.arctan2(fleet.state[8], fleet.state[7])
    assert np.histogram(heading, bins=4, range=(-np.pi, np.pi))[0].min() > 60
    # Falling through the air is braked as well.
    assert fleet.state[9].max() < -9.81 * 0.5 * 0.8
    assert fleet.state[9].min() > -9.81 * 0.5


def test_gusts_come_and_go():
    airframes = AirframeBatch.of([X500] * 3000)
    gusty = Perturbations(gust_m_s=(2.0, 2.0), gust_time_s=0.3, drag_per_s=(1.0, 1.0))
    fleet = fleet_of(3000, gusty, airframes=airframes)
    push = []
    for _ in range(31):
        before = fleet.state[7:9].copy()
        fleet.step(np.full((3000, 4), -1.0, np.float32))
        push.append((fleet.state[7] - before[0]) / 0.01 + before[0])
    assert np.std(push[0]) == pytest.approx(2.0, rel=0.05)
    assert np.std(push[-1]) == pytest.approx(2.0, rel=0.05)
    assert np.corrcoef(push[0], push[-1])[0, 1] == pytest.approx(np.exp(-1.0), abs=0.06)


def test_the_constant_force_is_the_airframe_s():
    airframes = sample_airframes(4000, seed=2)
    fleet = fleet_of(4000, Perturbations(force_scale=1.0), airframes=airframes)
    fleet.step(np.full((4000, 4), -1.0, np.float32))
    force = fleet.state[7] / 0.01 * airframes.mass / airframes.force_std_n
    assert force.std() == pytest.approx(1.0, abs=0.06)
    first = fleet.state[7].copy()
    fleet.step(np.full((4000, 4), -1.0, np.float32))
    assert fleet.state[7] == pytest.approx(2.0 * first, rel=2e-2, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"action_delay_s": (0.02, 0.01)}, "action_delay_s (0.02, 0.01)"),
        ({"wind_m_s": (-1.0, 1.0)}, "wind_m_s (-1.0, 1.0)"),
        ({"battery_sag": (0.0, 1.0)}, "from 0 to below 1"),
        ({"gust_time_s": 0.0}, "gust_time_s 0.0"),
        ({"velocity_noise_m_s": (0.0, float("nan"))}, "velocity_noise_m_s (0.0, nan)"),
    ],
)
def test_ranges_that_are_none_are_refused(change, text):
    with pytest.raises(ConfigError) as error:
        Perturbations(**change)
    assert text in str(error.value)
