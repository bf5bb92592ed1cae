"""Protects the motion limiter by itself: limits kept whatever the targets, targets reached where possible."""

import math

import numpy as np
import pytest
from gate_cards import BASE_HEIGHT_M, FOREARM_M, HOME, UPPER_ARM_M, tool_of

from hardware.braking import AxisLimits
from hardware.limiter import MotionLimiter, Workspace

# Ordinary joints; a slow and a nervous one; and one whose acceleration can never be used up.
LIMITS = (
    AxisLimits(-1.5, 1.5, 3.0, 10.0, 100.0),
    AxisLimits(-0.5, 2.0, 2.0, 15.0, 400.0),
    AxisLimits(-3.0, 3.0, 0.3, 40.0, 300.0),
)


def limiter(period_s=0.02, limits=LIMITS, workspaces=()):
    made = MotionLimiter(limits, names="abc"[: len(limits)], period_s=period_s, workspaces=workspaces)
    made.restart([0.0] * len(limits))
    return made


def run(made, targets):
    return np.array([made.step(list(target))[0] for target in targets])


def assert_kept(path, period_s=0.02, limits=LIMITS):
    """Finite differences of all set-points against every limit; the motion began at rest at zero."""
    x = np.vstack([np.zeros((3, path.shape[1])), path])
    v = np.diff(x, axis=0) / period_s
    a = np.diff(v, axis=0) / period_s
    j = np.diff(a, axis=0) / period_s
    for i, limit in enumerate(limits):
        assert limit.lower <= x[:, i].min()
        assert x[:, i].max() <= limit.upper
        assert np.abs(v[:, i]).max() <= limit.velocity * (1 + 1e-7)
        assert np.abs(a[:, i]).max() <= limit.acceleration * (1 + 1e-7)
        assert np.abs(j[:, i]).max() <= limit.jerk * (1 + 1e-6)


# A jerk that reaches full acceleration within one period, as on the card of the SO-101.
BRISK = tuple(AxisLimits(x.lower, x.upper, 3.0, 60.0, 3000.0) for x in LIMITS)


@pytest.mark.parametrize("limits", [LIMITS, BRISK], ids=["soft", "brisk"])
@pytest.mark.parametrize("period_s", [0.005, 0.02, 1 / 30, 0.1])
@pytest.mark.parametrize("hold", [1, 7, 40])
def test_random_steps_keep_to_the_limits(period_s, hold, limits):
    rng = np.random.default_rng(hold)
    lower, upper = ([getattr(limit, end) for limit in limits] for end in ("lower", "upper"))
    targets = np.repeat(rng.uniform(lower, upper, (1200 // hold, 3)), hold, axis=0)
    assert_kept(run(limiter(period_s, limits), targets), period_s, limits)


def test_a_plan_that_was_safe_stays_so_when_it_is_called_on_at_any_time():
    rng = np.random.default_rng(5)
    made = limiter()
    path = []
    for _ in range(60):
        target = [float(rng.choice([limit.lower, limit.upper])) for limit in LIMITS]
        path += [made.step(target)[0] for _ in range(rng.integers(1, 30))]
        path += [made.brake() for _ in range(rng.integers(1, 60))]
    assert_kept(np.array(path))


def test_braking_ends_at_rest_and_stays():
    made = limiter()
    run(made, [[1.5, 2.0, 3.0]] * 20)
    assert not made.at_rest
    path = [made.brake() for _ in range(60)]
    assert made.at_rest
    assert path[-1] == path[-10] == made.position


@pytest.mark.parametrize("limits", [LIMITS, BRISK], ids=["soft", "brisk"])
@pytest.mark.parametrize("goal", [(1.5, 2.0, 3.0), (-1.5, -0.5, -3.0), (1e-7, -1e-3, 0.02), (0.3, 0.0, -1.0)])
def test_a_step_arrives_exactly_and_without_overshoot(goal, limits):
    made = limiter(limits=limits)
    path = run(made, [goal] * 700)
    assert path[-1].tolist() == list(goal)
    assert made.at_rest
    assert made.step(list(goal)) == (list(goal), ())
    for i, x in enumerate(goal):
        if abs(x) <= limits[i].jerk * 0.02**3:
            # Within the limits of one period: it passed, and nobody could know that it would stay there.
            continue
        assert np.all(np.diff(path[:, i]) * math.copysign(1.0, x) >= -1e-15)
    assert_kept(path, limits=limits)


@pytest.mark.parametrize("turn_after", [3, 8, 15, 25])
def test_a_target_that_turns_back_is_followed_back(turn_after):
    made = limiter()
    path = run(made, [(1.2, 1.5, 0.5)] * turn_after + [(-1.0, -0.3, -0.5)] * 300)
    assert path[-1].tolist() == [-1.0, -0.3, -0.5]
    assert_kept(path)


def test_a_moving_target_is_caught_up_with():
    made = limiter()
    t = np.arange(600)[:, None] * 0.02
    targets = np.array([0.0, 0.7, 0.0]) + np.array([0.8, 0.9, 0.1]) * np.sin(t * (1.5, 1.0, 1.2) + 1.0)
    path = run(made, targets)
    assert np.array_equal(path[200:], targets[200:])
    assert not np.array_equal(path[0], targets[0])
    assert_kept(path)


def test_the_reasons_name_the_limits_that_a_step_to_the_target_would_break():
    made = limiter()
    # 1e-3 rad in a period of 20 ms: 0.05 rad/s, 2.5 rad/s², 125 rad/s³, of which only the jerk is too much.
    assert made.step([1e-3, 0.0, 0.0])[1] == ("jerk",)
    made = limiter()
    assert made.step([0.01, 0.0, 0.0])[1] == ("acceleration", "jerk")
    made = limiter()
    assert made.step([1.0, 0.0, 0.0])[1] == ("acceleration", "jerk", "velocity")


def test_a_step_that_could_not_be_stopped_in_time_is_not_taken():
    made = limiter(limits=LIMITS[:1])
    # Steady cruise towards the end of the range: every single step is within the limits.
    accelerations = [2.0, 4.0, 6.0, *[8.0] * 12, 6.0, 4.0, 2.0, *[0.0] * 100]
    targets = [[x] for x in np.cumsum(np.cumsum(accelerations)) * 0.02**2 if x <= 1.5]
    reasons = ()
    path = []
    for target in targets:
        x, why = made.step(target)
        path.append(x)
        reasons = (*reasons, why)
    assert reasons.count(()) > 20
    path += [made.step([1.5])[0] for _ in range(100)]
    assert ("range",) in reasons
    assert path[-1] == [1.5]
    assert_kept(np.array(path), limits=LIMITS[:1])


def arm_workspace(lower=(0.05, -0.3, 0.02), upper=(0.5, 0.3, 0.45), levers=None):
    asked = []

    def positions(postures):
        asked.append(len(postures))
        return np.array([tool_of(row) for row in postures])

    levers = levers or (UPPER_ARM_M + FOREARM_M, UPPER_ARM_M + FOREARM_M, FOREARM_M)
    return Workspace(lower, upper, tool_positions=positions, lever_m=levers), asked


ARM = (
    AxisLimits(-2.0, 2.0, 3.0, 12.0, 200.0),
    AxisLimits(-1.5, 0.5, 2.0, 15.0, 400.0),
    AxisLimits(0.0, 2.5, 4.0, 30.0, 300.0),
)


def test_random_postures_keep_the_tool_inside():
    workspace, _ = arm_workspace()
    made = limiter(limits=ARM, workspaces=[workspace])
    made.restart(HOME)
    rng = np.random.default_rng(9)
    goals = rng.uniform([x.lower for x in ARM], [x.upper for x in ARM], (40, 3))
    tool = np.array([tool_of(x) for x in run(made, np.repeat(goals, 25, axis=0))])
    assert (tool >= np.array([0.05, -0.3, 0.02]) - 1e-9).all()
    assert (tool <= np.array([0.5, 0.3, 0.45]) + 1e-9).all()


def test_a_slow_motion_out_of_the_workspace_is_stopped_at_its_side():
    """Every step and every stopping plan keeps to range, velocity, acceleration and jerk."""
    workspace, _ = arm_workspace()
    made = limiter(limits=ARM, workspaces=[workspace])
    made.restart(HOME)
    reasons = set()
    for k in range(1, 800):
        x, why = made.step([HOME[0] + 0.2 * (1 - math.cos(1.0 * k * 0.02)) * 3, *HOME[1:]])
        reasons.add(why)
        assert tool_of(x)[1] <= 0.3 + 1e-9
    assert () in reasons
    assert ("workspace",) in reasons
    assert tool_of(x)[1] < 0.3


def test_far_from_the_sides_the_kinematics_are_hardly_asked():
    workspace, asked = arm_workspace((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0))
    made = limiter(limits=ARM, workspaces=[workspace])
    made.restart(HOME)
    for k in range(500):
        s = 0.1 - 0.1 * math.cos(1.5 * k * 0.02)
        made.step([HOME[0] + s, HOME[1] - s, HOME[2] + s])
    assert len(asked) < 5


def test_a_workspace_that_is_not_a_number_admits_nothing():
    workspace = Workspace(
        (-1, -1, -1), (1, 1, 1), tool_positions=lambda q: np.full((len(q), 3), np.nan), lever_m=(1.0,) * 3
    )
    made = limiter(limits=ARM, workspaces=[workspace])
    assert not made.admits(HOME)
    made.restart(HOME)
    assert made.step([HOME[0] + 1e-4, *HOME[1:]])[0] == list(HOME)


def test_base_height_belongs_to_the_test_arm():
    assert tool_of((0.0, 0.0, 0.0)) == [UPPER_ARM_M + FOREARM_M, 0.0, BASE_HEIGHT_M]
