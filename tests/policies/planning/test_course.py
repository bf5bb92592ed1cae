"""Protects flights through named waypoints: they start and end at rest, and what is too fast is refused."""

import math

import numpy as np
import pytest

from hardware import load_robot_card
from hardware.errors import ConfigError
from policies.planning import Ability, load_course, make_course, plan_course

POINTS = ((0.0, 0.0, 1.0), (2.0, 1.0, 1.5), (3.0, -1.0, 1.0))
TWIN = Ability.of(load_robot_card("quadrotor_twin"))


def test_it_climbs_goes_to_the_first_point_passes_the_others_and_stays():
    reference = make_course(
        POINTS, speed_m_s=1.5, height_m=1.2, ability=TWIN, start_m=(-1.0, 0.0, 0.0), yaw_rad=0.4
    )
    times = np.arange(0.0, 30.0, 0.01)
    samples = [reference.sample(float(t)) for t in times]
    place = np.array([s.position_m for s in samples])
    speed = np.array([s.velocity_m_s for s in samples])
    assert place[0].tolist() == [-1.0, 0.0, 0.0]
    assert [s.yaw_rad for s in samples] == pytest.approx([0.4] * len(samples))
    # It never jumps, and its velocity is that of its position.
    moved = np.diff(place, axis=0)
    assert np.linalg.norm(moved, axis=1).max() < 0.06
    at = [int(np.linalg.norm(place - point, axis=1).argmin()) for point in POINTS]
    assert at == sorted(at)
    for i, point in zip(at, POINTS, strict=True):
        assert place[i] == pytest.approx(point, abs=0.03)
    inside = slice(at[0] + 300, at[-1] - 1)
    assert moved[inside] / 0.01 == pytest.approx(speed[inside], abs=0.1)
    # Through the second point without a stop, and then it stays.
    assert np.linalg.norm(speed[at[1]]) > 0.5
    assert place[-1] == pytest.approx(POINTS[-1])
    assert np.linalg.norm(speed[-1]) == 0.0


def test_the_mean_speed_is_the_one_that_was_asked_for():
    length = sum(math.dist(a, b) for a, b in zip(POINTS, POINTS[1:], strict=False))
    for speed in (0.5, 1.0, 2.0):
        assert plan_course(POINTS, speed_m_s=speed).duration_s == pytest.approx(length / speed)


def test_a_first_point_where_the_climb_ends_needs_no_approach():
    reference = make_course(POINTS, speed_m_s=1.0, height_m=1.0, ability=TWIN)
    path = plan_course(POINTS, speed_m_s=1.0)
    assert reference.duration_s == pytest.approx(1.0 / 0.5 + 3.0 + path.duration_s)


def fly(points=POINTS, *, speed=1.0, ability=TWIN):
    plan_course(points, speed_m_s=speed, ability=ability)


PEER = Ability.of(load_robot_card("crazyflie_peer"))
TILTED = Ability(max_tilt_rad=0.3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fly(POINTS[:1]), "1 waypoint(s). Expected at least two"),
        (lambda: fly([]), "0 waypoint(s). Expected at least two"),
        (lambda: fly([POINTS[0], (math.nan, 0.0, 1.0)]), "a waypoint is not finite"),
        (lambda: fly([POINTS[0], POINTS[0], POINTS[1]]), "waypoints 0 and 1 are at one place"),
        (
            lambda: fly(speed=8.0),
            "at a mean of 8 m/s the path is too fast for the vehicle: it takes a thrust",
        ),
        (lambda: fly(speed=8.0, ability=TILTED), "it takes a tilt of"),
        (lambda: fly(speed=1.8, ability=PEER), "its velocity along x reaches"),
        (lambda: fly([POINTS[0], (0.0, 0.0, 9.0)], ability=PEER), "from 1.00 m to 9.00 m along z. Expected"),
    ],
)
def test_what_the_vehicle_cannot_fly_is_refused_in_words(call, text):
    with pytest.raises(ConfigError) as raised:
        call()
    assert text in str(raised.value)
    assert "To mend" in str(raised.value)


@pytest.mark.parametrize("ability", [TWIN, TILTED, PEER], ids=["thrust", "tilt", "velocity"])
def test_the_speed_that_the_refusal_names_can_be_flown(ability):
    with pytest.raises(ConfigError) as raised:
        fly(speed=9.0, ability=ability)
    named = float(str(raised.value).split("fly it at ")[1].split(" m/s")[0])
    assert named > 0.1
    fly(speed=named, ability=ability)
    with pytest.raises(ConfigError):
        fly(speed=named + 0.02, ability=ability)


def test_an_airframe_that_is_named_takes_the_place_of_the_cards():
    card = load_robot_card("quadrotor_twin")
    assert Ability.of(card, "crazyflie").thrust_to_weight < Ability.of(card).thrust_to_weight
    with pytest.raises(ConfigError, match="there is no airframe 'zeppelin'"):
        Ability.of(card, "zeppelin")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("waypoints: [[0, 0]]", "waypoint 0 has 2 numbers"),
        ("waypoints: [[0, 0, .nan]]", "nan is not valid here"),
        ("waypoints: [[0, 0, up]]", "'up' is not valid here"),
        ("points: [[0, 0, 1]]", "unknown field 'points'"),
    ],
)
def test_a_file_that_holds_no_waypoints_is_refused_in_words(tmp_path, text, told):
    path = tmp_path / "course.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_course(path)
    assert told in str(raised.value)
    assert "course.yaml" in str(raised.value)


def test_a_file_holds_waypoints(tmp_path):
    path = tmp_path / "course.yaml"
    path.write_text("waypoints:\n  - [0, 0, 1]\n  - [2.5, 0, 1.5]\n")
    assert load_course(path).waypoints == ((0.0, 0.0, 1.0), (2.5, 0.0, 1.5))
