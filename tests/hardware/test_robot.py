"""Protects robot cards and observations: what cannot be right is refused, by text, before anything moves."""

import dataclasses

import numpy as np
import pytest
from gate_cards import arm_card, drone_card, joint_spec

from hardware.command import CommandKind, SafeAction
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Box, CameraSpec, CommandSpec, Delay, LatencyCard, Limit, Observation, TermSpec


def text_of(make, *args, **kwargs):
    with pytest.raises(ConfigError) as error:
        make(*args, **kwargs)
    return str(error.value)


def test_an_error_has_four_parts():
    error = ConfigError("it is blue", where="paint", expected="red", mend="repaint it")
    assert str(error) == "paint: it is blue. Expected red. To mend: repaint it."
    assert (error.what, error.where, error.expected, error.mend) == (
        "it is blue",
        "paint",
        "red",
        "repaint it",
    )
    both = ConfigErrors([error, error], where="house")
    assert str(both) == "\n".join(["house: 2 finding(s)", *[f"  - {error}"] * 2])
    assert both.findings == (error, error)
    assert isinstance(both, ValueError)


def test_units_are_si_and_known():
    expected = (
        "unit: unknown unit 'deg'. Expected one of rad, rad/s, rad/s^2, m, m/s, m/s^2, N, N.m, effort, "
        "quaternion, 1. To mend: convert to SI and name the unit."
    )
    assert text_of(TermSpec, ("a",), "deg") == expected
    assert text_of(joint_spec, unit="deg") == expected


@pytest.mark.parametrize(("lower", "upper"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_a_range_is_not_empty(lower, upper):
    assert text_of(Limit, lower, upper) == (
        f"limits: lower {lower} is not below upper {upper}. Expected lower < upper. "
        "To mend: swap or correct them."
    )


@pytest.mark.parametrize("name", ["velocity", "acceleration", "jerk", "slew"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_limits_are_positive(name, value):
    assert text_of(Limit, 0.0, 1.0, **{name: value}) == (
        f"limits: {name} {value} is not positive. Expected a positive number. To mend: correct {name}."
    )


@pytest.mark.parametrize("name", ["rate_hz", "max_age_s", "timeout_s", "robot_timeout_s"])
def test_times_are_positive(name):
    assert text_of(joint_spec, **{name: 0.0}) == (
        f"commands: {name} 0.0 is not positive. Expected a positive number. To mend: correct {name}."
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: joint_spec(rate_hz=1e308),
            "commands: rate_hz 1e+308 is too large. Expected a positive number",
        ),
        (
            lambda: joint_spec(timeout_s=1e308),
            "timeout_s 1e+308 is too large. Expected a positive number of at",
        ),
        (lambda: joint_spec(authority_ramp_s=1e9), "authority_ramp_s 1e+09 is too large"),
        (lambda: TermSpec(("a",), "m", rate_hz=0.0), "observations: rate_hz 0.0 is not positive"),
        (lambda: TermSpec(("a",), "m", rate_hz=-5.0), "observations: rate_hz -5.0 is not positive"),
        (lambda: TermSpec(("a",), "m", rate_hz=1e308), "observations: rate_hz 1e+308 is too large"),
        (lambda: CameraSpec(640, 0, 30.0, "c"), "cameras: height 0 is not positive"),
        (lambda: CameraSpec(640, 480, 0.0, "c"), "cameras: rate_hz 0.0 is not positive"),
        (lambda: CameraSpec(640, 480, 30.0, "c", fovy_deg=180.0), "fovy_deg 180 is too large"),
        (lambda: CameraSpec(10**9, 480, 30.0, "c"), "width 1e+09 is too large"),
        (
            lambda: LatencyCard(Delay(), Delay(), actuator_lag_s=-1.0),
            "latency: actuator_lag_s -1.0 is negative",
        ),
        (
            lambda: Delay(mean_s=1e308),
            "latency: mean_s 1e+308 is out of range. Expected zero or at most 3600",
        ),
        (lambda: dataclasses.replace(drone_card(), frozen_after_s=-1.0), "frozen_after_s -1.0 is negative"),
    ],
)
def test_numbers_beyond_all_reason_are_refused(make, text):
    told = text_of(make)
    assert text in told
    assert "To mend: correct " in told


@pytest.mark.parametrize("topic", ["my odom", "odom!", "2odom", "a//b", "odom/", "a/2b", "odöm", "a-b"])
def test_a_topic_is_a_ros_name(topic):
    assert text_of(TermSpec, ("a",), "m", topic=topic) == (
        f"topic: the topic {topic!r} is not a ROS name. Expected letters, digits and underscores, in parts "
        "that begin with no digit and are joined by /, such as odom or imu/data. To mend: rename it."
    )


@pytest.mark.parametrize("topic", ["", "odom", "imu/data", "_a/b_2", "/odom"])
def test_a_topic_that_is_one_is_taken(topic):
    assert TermSpec(("a",), "m", topic=topic).topic == topic


@pytest.mark.parametrize("name", ["wrist camera", "front/left", "3d"])
def test_a_camera_is_named_as_its_topics_are(name):
    cameras = {name: CameraSpec(640, 480, 30.0, "c")}
    assert text_of(dataclasses.replace, arm_card(), cameras=cameras).startswith(
        f"cameras: the camera {name!r}"
    )


def test_authority_does_not_grow_backwards():
    assert text_of(joint_spec, authority_ramp_s=-0.1) == (
        "commands: authority_ramp_s -0.1 is negative. Expected 0 or more. To mend: correct authority_ramp_s."
    )


def test_an_interface_has_elements():
    assert text_of(joint_spec, limits={}) == (
        "commands: limits: no element. Expected the limits of at least one joint, motor or axis. "
        "To mend: add them."
    )


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (CommandKind.JOINT_POSITION, "velocity"),
        (CommandKind.CARTESIAN_POSITION, "velocity"),
        (CommandKind.RATES_THRUST, "slew"),
        (CommandKind.REFERENCE, "slew"),
    ],
)
def test_a_kind_needs_its_limits(kind, missing):
    text = text_of(joint_spec, kind=kind, limits={"elbow": Limit(0.0, 1.0)})
    assert text.startswith(
        f"commands of kind {kind.value}: the limit {missing!r} of 'elbow' is missing. "
        "Expected limits lower, upper, "
    )
    assert text.endswith(f"To mend: add {missing!r}.")


def test_motors_need_a_range_alone():
    spec = joint_spec(kind=CommandKind.MOTOR, limits={"left": Limit(0.0, 1.0)})
    assert spec.names == ("left",)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.0, 1.0), (1.0, 1.0, 1.0)), ((0.0,) * 3, (1.0,) * 4)],
)
def test_a_box_has_three_sides(lower, upper):
    assert text_of(Box, lower, upper) == (
        f"box: a box from {lower} to {upper}. Expected x, y, z in metres, each of lower_m below the same of "
        "upper_m. To mend: correct the corners."
    )


def test_an_interface_gathers_its_limits_in_the_order_of_the_wire():
    spec = joint_spec(rate_hz=30.0)
    assert spec.names == ("turn", "lift", "bend")
    assert spec.period_ns == 33_333_333
    assert spec.limit_array("lower").tolist() == [-2.0, -1.5, 0.0]
    assert spec.limit_array("slew").tolist() == [np.inf] * 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"schema": "reflexarc/robot-card/0"},
            "schema: schema 'reflexarc/robot-card/0'. Expected 'reflexarc/robot-card/1'. "
            "To mend: use a robot card of this version.",
        ),
        (
            {"kind": "toaster"},
            "kind: kind 'toaster'. Expected arm, humanoid or quadrotor. To mend: name one of these.",
        ),
        ({"commands": {}}, "commands: no command interface. Expected at least one. To mend: add one."),
    ],
)
def test_a_card_is_checked_whole(changes, text):
    assert text_of(arm_card, **changes) == text


def test_an_interface_is_found_by_its_kind_or_the_kinds_there_are_named():
    card = drone_card()
    assert card.command_of_kind(CommandKind.MOTOR) is card.commands["motors"]
    assert text_of(card.command_of_kind, CommandKind.JOINT_POSITION) == (
        "robot card 'test_drone': no command interface of kind joint_position. Expected one of motor, "
        "rates_thrust, reference. To mend: choose a policy that commands one of these kinds."
    )


def test_the_latency_of_the_loop_is_the_sum_of_its_ends():
    card = LatencyCard(observation=Delay(0.010, 0.001), command=Delay(0.004, 0.0))
    assert card.observation.p99_s == pytest.approx(0.012326)
    assert card.loop_p99_s == pytest.approx(0.016326)


def test_cards_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        arm_card().commands["joints"].safe_action = SafeAction.DAMP


def test_an_observation_knows_its_age_and_whether_it_is_finite():
    observation = Observation({"a": np.array([1.0, 2.0])}, stamp_ns=2_000_000_000, received_steady_ns=5)
    assert observation.is_finite
    assert observation.age_s(2_500_000_000) == pytest.approx(0.5)
    assert observation.age_s(1_000_000_000) == pytest.approx(-1.0)
    for bad in (np.nan, np.inf):
        assert not Observation({"a": np.zeros(1), "b": np.array([bad])}, 0, 0).is_finite


def test_a_specification_says_who_owns_the_safe_action():
    assert isinstance(joint_spec(), CommandSpec)
    assert [action.value for action in SafeAction] == ["hold", "damp", "ramp_to_zero", "land"]


def test_a_tool_may_have_a_workspace_of_its_own():
    box = Box((0.0, 0.0, 0.0), (0.1, 0.1, 0.1))
    card = arm_card()
    both = {"left": card.tools["arm"], "right": dataclasses.replace(card.tools["arm"], workspace=box)}
    card = dataclasses.replace(card, tools=both)
    assert (card.workspace_of("left"), card.workspace_of("right")) == (card.workspace, box)
    assert dataclasses.replace(card, workspace=None).workspace_of("left") is None
