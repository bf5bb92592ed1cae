"""Protects what counts as lost, settled and error: vehicles that do one known thing are measured by hand."""

import math

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.evaluation.fleet.cases import Case
from sim.evaluation.fleet.flight import at_rest, fly, make_fleet, record
from sim.quadrotor.fleet import CODE, StartRules
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.sampling import sample_airframes

BATCH = sample_airframes(6, seed=1)


class Constant:
    """Gives every vehicle the same action for ever, and notes when and about what it was asked."""

    def __init__(self, action):
        self.action, self.asked_ns, self.seen = action, [], []

    def reset(self, count):
        self.count = count

    def act(self, observation, now_ns):
        self.asked_ns.append(now_ns)
        self.seen.append(observation.copy())
        return np.array(np.broadcast_to(self.action, (self.count, 4)), np.float32)


def hovering():
    return Constant(2.0 * BATCH.hover_effort[:, None] - 1.0)


def test_vehicle_that_stays_where_it_should_has_no_error():
    flight = fly(Case("hover"), BATCH, hovering(), seed=0)
    assert not flight.crashed.any()
    assert not flight.terminated.any()
    assert (flight.length == 500).all()
    assert flight.rmse_m.max() < 1e-3
    assert (flight.settle_s == np.float32(0.01)).all()


def test_vehicle_that_falls_is_lost_and_never_settles():
    airframes = BATCH.take([0, 1])
    flight = fly(Case("hover"), airframes, Constant(-1.0), seed=0)
    assert flight.crashed.all()
    assert flight.terminated.all()
    assert (flight.length < 100).all()
    # A rotor that runs down holds the weight for a while.
    assert (flight.rmse_vertical_m > 20).all()
    np.testing.assert_allclose(flight.rmse_m, flight.rmse_vertical_m, rtol=1e-3)


def test_numbers_that_are_none_are_a_crash():
    for case in (Case("hover"), Case("eight", figure_eight_s=5.5, loops=1)):
        flight = fly(case, BATCH, Constant(np.nan), seed=0)
        assert flight.crashed.all()
        assert flight.terminated.all()


def test_hover_on_the_spot_is_a_figure_eight_that_is_not_followed():
    # The mean square of sin and of half sin is 1/2 + 1/8.
    flight = fly(Case("eight", figure_eight_s=4.0, loops=2), BATCH, hovering(), seed=0)
    assert not flight.crashed.any()
    np.testing.assert_allclose(flight.rmse_m, math.sqrt(0.625), rtol=2e-3)
    assert np.isinf(flight.settle_s).all()


def test_error_of_one_metre_at_the_end_of_a_hover_is_a_loss_and_in_a_longer_one_it_is_not():
    far = StartRules(
        guidance=0.0,
        position_arms=0.0,
        tilt_rad=0.0,
        linear_velocity_m_s=0.5,
        angular_velocity_rad_s=0.0,
        effort=(0.0, 0.0),
    )
    for judged_at_end, hover_s in ((True, 5.0), (False, 2.0)):
        case = Case("drift", start=far, hover_s=hover_s, judged_at_end=judged_at_end)
        fleet = make_fleet(case, BATCH, seed=3)
        fleet.state[13:17] = BATCH.hover_effort
        fleet.state[9] = 0.0
        errors = record(fleet, case, hovering())
        distance = np.linalg.norm(errors, axis=1)
        speed = np.linalg.norm(fleet.state[7:9], axis=0)
        np.testing.assert_allclose(distance[-1], speed * hover_s, rtol=0.02)
    # Half a metre a second for five seconds is lost by the last second; no vehicle drifts 3 m in two.
    slow = fly(Case("drift", start=far), BATCH, Constant(-1.0), seed=3)
    assert slow.crashed.all()


@pytest.mark.parametrize(
    ("rate_hz", "fine", "interval_ms", "calls"),
    [(100, False, 10.0, 500), (50, False, 20.0, 250), (100, True, 10.0, 500), (50, True, 20.0, 250),
     (400, True, 2.5, 2000)],
)  # fmt: skip
def test_policy_is_asked_at_its_rate(rate_hz, fine, interval_ms, calls):
    controller = hovering()
    flight = fly(Case("hover", policy_hz=rate_hz, fine_physics=fine), BATCH, controller, seed=0)
    assert len(controller.asked_ns) == calls
    assert set(np.diff(controller.asked_ns)) == {round(interval_ms * 1e6)}
    assert flight.rmse_m.max() < 1e-3


def test_errors_are_noted_a_hundred_times_a_second_whatever_the_rate():
    for case in (Case("hover"), Case("hover", policy_hz=400, fine_physics=True)):
        assert record(make_fleet(case, BATCH, seed=0), case, hovering()).shape == (500, 3, 6)


def test_velocity_of_the_reference_can_be_kept_from_the_policy():
    seen = {}
    for knows in (True, False):
        controller = hovering()
        fly(Case("eight", figure_eight_s=5.5, loops=1, knows_velocity=knows), BATCH, controller, seed=0)
        seen[knows] = np.array(controller.seen)[:, 0, 12]
    # At the middle of the figure the reference runs at 2 pi / 5.5 m/s along x, the vehicle stands.
    assert np.abs(seen[True]).max() == pytest.approx(2 * math.pi / 5.5, rel=0.01)
    assert np.abs(seen[False]).max() < 1e-3


def test_same_seed_gives_the_same_flights_to_any_controller():
    case = Case(
        "hover", start=CODE, perturbations=Perturbations(force_scale=1.0, velocity_noise_m_s=(0.1, 0.1))
    )
    first, again, other = (Constant(0.0), Constant(0.0), Constant(0.5))
    for controller in (first, again, other):
        fly(case, BATCH, controller, seed=5)
    np.testing.assert_array_equal(first.seen, again.seen)
    np.testing.assert_array_equal(first.seen[0], other.seen[0])


def test_rest_is_rest():
    state = at_rest(BATCH)
    assert state.shape == (17, 6)
    np.testing.assert_array_equal(state[13:17], np.tile(BATCH.hover_effort, (4, 1)))
    np.testing.assert_array_equal(state[3], 1.0)


def test_progress_adds_up():
    told = []
    fly(Case("hover"), BATCH, hovering(), seed=0, advance=told.append)
    assert sum(told) == 500


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"policy_hz": 30}, "policy_hz is 30"),
        ({"policy_hz": 400}, "policy_hz is 400"),
        ({"policy_hz": 0}, "policy_hz is 0"),
        ({"figure_eight_s": -1.0}, "a figure eight without length"),
        ({"figure_eight_s": 5.0, "start": CODE}, "or with a start of its own"),
    ],
)
def test_cases_that_cannot_be_flown_are_refused(given, what):
    with pytest.raises(ConfigError, match=what):
        Case("case", **given)
