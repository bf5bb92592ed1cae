"""Protects the mappings: each fits its robot, and what cannot be meant is refused in words."""

import dataclasses
import math

import pytest

from hardware import ConfigError, load_robot_card, schema
from hardware.teleop import DEVICES, Operator, load_mapping, make_device, mapping_name, mapping_names
from hardware.teleop.gamepad import AXES, BUTTONS
from hardware.teleop.mapping import Axis, Part, PartMode, TeleopMapping, legend
from hardware.teleop.messages import CONTROLS, POSE

CARDS = {
    "arm": "so101_twin",
    "pair": "so101_pair_twin",
    "humanoid": "g1_upper_twin",
    "quadrotor": "quadrotor_twin",
}


@pytest.mark.parametrize("name", mapping_names())
def test_every_mapping_that_comes_along_fits_its_robot_and_its_device(name):
    mapping = load_mapping(name)
    assert mapping.name == name
    assert mapping.description.endswith(".")
    device, _, robot = name.rpartition("_")
    assert mapping.device in DEVICES
    card = load_robot_card(CARDS[robot])
    assert mapping_name(device, card) == name
    operator = Operator(mapping, card, next(iter(card.commands)))
    assert operator.binding.parts or operator.binding.vehicle
    known = {"gamepad": {*AXES, *BUTTONS}, "browser": {*CONTROLS, POSE}}.get(mapping.device)
    assert known is None or set(legend(mapping)) <= known


def test_a_dead_zone_counts_as_none_and_grows_from_zero_beyond():
    axis = Axis(scale=2.0, control="a", negative="b", dead_zone=0.2)
    assert axis.speed({"a": 0.2}) == 0.0
    assert axis.speed({}) == 0.0
    assert axis.speed({"a": 0.6}) == pytest.approx(1.0)
    assert axis.speed({"a": 1.0}) == pytest.approx(2.0)
    assert axis.speed({"b": 1.0}) == pytest.approx(-2.0)
    assert axis.speed({"a": 1.0, "b": 1.0}) == 0.0
    assert axis.speed({"a": 7.0}) == pytest.approx(2.0)
    assert axis.speed({"a": math.nan}) == 0.0
    assert Axis(scale=-2.0, control="a").speed({"a": -1.0}) == pytest.approx(2.0)
    assert Axis(scale=1.0, control="a", exponent=2.0).speed({"a": -0.5}) == pytest.approx(-0.25)


def test_the_legend_says_what_each_control_does():
    words = legend(load_mapping("gamepad_arm"))
    assert words["right_shoulder"] == "take over (hold)"
    assert words["left_y"] == "back / forward", "SDL's sticks are negative when pushed away"
    assert words["right_x"] == "turn right / turn left"
    assert words["left_trigger"] == "open gripper"
    assert words["b"] == "emergency stop"
    assert legend(load_mapping("gamepad_quadrotor"))["left_x"] == "turn right / turn left"
    keys = legend(load_mapping("keyboard_arm"))
    assert [keys[k] for k in ("w", "s", "a", "r", "i")] == ["forward", "back", "left", "up", "tilt up"]
    assert keys["space"] == "take over, give back"
    assert legend(changed(parts={"a": Part(PartMode.JOINTS, axes={"j": Axis(1.0, "k")})}))["k"] == "j + / j -"


def test_of_several_parts_the_legend_says_which_one_a_control_moves():
    words = legend(load_mapping("gamepad_pair"))
    assert words["left_shoulder"] == "move left (hold)"
    assert words["left_y"] == "left: back / forward"
    assert (words["b"], words["right_trigger"]) == ("right: turn right", "close right_gripper")
    assert "" not in words
    # One pad moves the arm that the switch says: no side belongs to it.
    words = legend(load_mapping("browser_pair"))
    assert (words["left_y"], words["left"]) == ("forward / back", "move left (hold)")


def test_a_device_has_a_mapping_of_its_own_for_two_arms():
    pair = load_robot_card("so101_pair_twin")
    assert mapping_name("gamepad", pair) == "gamepad_pair"
    assert mapping_name("mine.yaml", pair) == "mine.yaml"
    with pytest.raises(
        ConfigError, match="there is no mapping of 'spacemouse' to two arms. Expected one of br"
    ):
        mapping_name("spacemouse", pair)


def test_parts_that_engage_by_themselves_are_held():
    mapping = load_mapping("gamepad_pair")
    assert mapping.engages == ("left_shoulder", "right_shoulder")
    with pytest.raises(ConfigError, match="a part engages by itself, and one press of a control takes over"):
        dataclasses.replace(mapping, hold=False)
    free = {name: dataclasses.replace(part, engage="") for name, part in mapping.parts.items()}
    with pytest.raises(ConfigError, match="no control engages. Expected .* for all or for some"):
        dataclasses.replace(mapping, parts=free)


def plain(name):
    return schema.dump(load_mapping(name))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("reflexarc/teleop/1", "reflexarc/teleop/9", "schema 'reflexarc/teleop/9'"),
        ("engage: right_shoulder", "engage: ''", "no control engages"),
        ("success: y", "applause: y", "unknown event 'applause'. Expected some of discard, emergency_stop"),
        ("dead_zone: 0.12", "dead_zone: 1.5", "dead_zone 1.5"),
        ("mode: cartesian", "mode: telepathy", "Expected one of cartesian, joints, reference"),
    ],
)
def test_faults_of_a_file_are_explained(tmp_path, old, new, text):
    source = (load_mapping.__globals__["_FOLDER"] / "gamepad_arm.yaml").read_text()
    source = source.replace('"y"', "y")
    assert old in source
    path = tmp_path / "mine.yaml"
    path.write_text(source.replace(old, new))
    with pytest.raises(ConfigError) as raised:
        load_mapping(path)
    assert text in str(raised.value)


def test_a_mapping_survives_being_written(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(plain("gamepad_arm"))
    assert load_mapping(path) == load_mapping("gamepad_arm")


def test_an_unknown_mapping_is_named_with_those_that_exist():
    with pytest.raises(ConfigError, match="there is no mapping 'theremin_arm'. Expected one of browser_arm"):
        load_mapping("theremin_arm")


def changed(name="gamepad_arm", **fields) -> TeleopMapping:
    return dataclasses.replace(load_mapping(name), **fields)


def arm_part(**fields):
    mapping = load_mapping("gamepad_arm")
    return {"arm": dataclasses.replace(mapping.parts["arm"], **fields)}


@pytest.mark.parametrize(
    ("mapping", "card", "text"),
    [
        (load_mapping("gamepad_quadrotor"), "so101_twin", "the mapping is for robots of kind 'quadrotor'"),
        (
            changed(parts=arm_part(axes={"shoulder_pan": Axis(1.0, "left_x")})),
            "so101_twin",
            "'shoulder_pan' is nothing that can be moved here. Expected some of gripper",
        ),
        (
            changed(parts=arm_part(axes={"tail": Axis(1.0, "left_x")})),
            "so101_twin",
            "'tail' is nothing that can be moved here",
        ),
        (
            changed(parts={**arm_part(), "hand": arm_part(mode="joints")["arm"]}),
            "so101_twin",
            "'gripper' is moved by the parts 'arm' and 'hand'",
        ),
        (
            changed(parts={"left": arm_part()["arm"], "right": arm_part()["arm"]}),
            "so101_twin",
            "the robot has no tool 'left'. Expected one of arm",
        ),
        (
            changed(robot_kind="quadrotor"),
            "quadrotor_twin",
            "the interface 'motors' is of kind motor",
        ),
        (
            changed("gamepad_quadrotor", parts={"v": dataclasses.replace(
                load_mapping("gamepad_quadrotor").parts["vehicle"], axes={"roll": Axis(1.0, "left_x")})}),
            "quadrotor_twin",
            "'roll' is nothing that can be moved here. Expected some of x, y, z, yaw",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_robot_is_refused_before_anything_moves(mapping, card, text):
    card = load_robot_card(card)
    with pytest.raises(ConfigError) as raised:
        Operator(mapping, card, next(iter(card.commands)))
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("mapping", "options", "text"),
    [
        (changed(device="theremin"), {}, "no device 'theremin'. Expected one of keyboard"),
        (changed("browser_arm"), {"colour": "red"}, "unknown option 'colour'. Expected some of host"),
        (changed("browser_arm"), {"port": "x"}, "'x' is not valid here"),
        (changed("browser_arm"), {"port": 70000}, "port is 70000"),
        (changed("browser_arm"), {"token": "abc"}, "token has fewer than 8 characters"),
        (changed("browser_arm"), {"key": "k.pem"}, "certificate and key do not come together"),
        (changed("browser_arm"), {"key": "k.pem", "certificate": "c.pem"}, "certificate 'c.pem' and its key"),
        (changed("so101_leader_arm"), {}, "the leader's calibration '' cannot be used"),
        (changed("lerobot_so101_leader_arm"), {"type": "theremin"}, "LeRobot knows no teleoperator"),
        (changed("lerobot_so101_leader_arm"), {"config": {"tune": 1}}, "refuses its configuration"),
    ],
)  # fmt: skip
def test_what_a_device_cannot_be_made_from_is_refused(mapping, options, text):
    with pytest.raises(ConfigError) as raised:
        make_device(mapping, options)
    assert text in str(raised.value)


def test_lost_after_has_bounds():
    with pytest.raises(ConfigError, match="lost_after_s is 60"):
        changed(lost_after_s=60.0)
