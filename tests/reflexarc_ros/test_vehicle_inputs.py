"""Protects what a vehicle is told of the world: poses from outside and the state of its battery."""

import math
import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from reflexarc_ros.battery import BatteryLimits, BatteryWatch, battery_message
from reflexarc_ros.external_pose import PoseInput, read_pose
from vehicle_cards import write_card

from hardware import ConfigError, load_robot_card
from hardware.drones.vehicle import VehicleStatus

SECOND_NS = 1_000_000_000


def status(**changes):
    return VehicleStatus(armed=True, mode="OFFBOARD", follows_commands=True, failsafe=False, **changes)


def odometry(stamp_s=1, *, yaw=0.0, velocity=(0.0, 0.0, 0.0), position=(0.0, 0.0, 0.0)):
    message = Odometry()
    message.header.stamp.sec = stamp_s
    p, q, v = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist.linear
    p.x, p.y, p.z = position
    q.w, q.z = math.cos(yaw / 2), math.sin(yaw / 2)
    v.x, v.y, v.z = velocity
    return message


class Listener:
    def __init__(self):
        self.poses = []

    def external_pose(self, pose):
        self.poses.append(pose)


def pose_input(folder, **parameters):
    vehicle = Listener()
    card = load_robot_card(write_card(folder, external_pose="mocap/odom", **parameters))
    return PoseInput(card, vehicle), vehicle


# --- poses ---------------------------------------------------------------------------------------------


def test_velocities_are_turned_from_the_body_into_the_world():
    pose = read_pose(odometry(7, yaw=math.pi / 2, velocity=(2.0, 0.5, 0.1), position=(1.0, 2.0, 3.0)))
    assert pose.linear_velocity == pytest.approx([-0.5, 2.0, 0.1])
    assert pose.position.tolist() == [1.0, 2.0, 3.0]
    assert pose.stamp_ns == 7 * SECOND_NS


def test_a_pose_without_velocity_has_none():
    message = PoseStamped()
    message.pose.position.z, message.pose.orientation.w = 1.5, 1.0
    pose = read_pose(message)
    assert pose.linear_velocity is None
    assert pose.position[2] == 1.5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: setattr(m.pose.pose.position, "x", math.nan),
        lambda m: setattr(m.twist.twist.linear, "y", math.inf),
        lambda m: setattr(m.pose.pose.orientation, "w", 0.0),
        lambda m: setattr(m.pose.pose.orientation, "x", 0.5),
    ],
    ids=["position", "velocity", "no rotation", "not of unit length"],
)
def test_a_pose_that_is_none_never_reaches_the_vehicle(tmp_path, spoil):
    poses, vehicle = pose_input(tmp_path)
    message = odometry()
    spoil(message)
    poses._on_message(message)
    assert vehicle.poses == []
    assert poses.dropped == 1
    assert "not finite, or whose quaternion" in poses.problem(time.monotonic_ns())
    poses._on_message(odometry(2))
    assert len(vehicle.poses) == 1
    assert poses.problem(time.monotonic_ns()) == ""


def test_poses_that_come_twice_or_too_late_are_passed_over(tmp_path):
    poses, vehicle = pose_input(tmp_path, external_pose_timeout_s=30.0)
    for stamp_s in (5, 5, 4, 6):
        poses._on_message(odometry(stamp_s))
    assert [pose.stamp_ns // SECOND_NS for pose in vehicle.poses] == [5, 6]


def test_a_clock_that_was_set_back_is_taken_up_again(tmp_path):
    poses, vehicle = pose_input(tmp_path, external_pose_timeout_s=0.001)
    poses._on_message(odometry(500))
    time.sleep(0.01)
    poses._on_message(odometry(3))
    assert [pose.stamp_ns // SECOND_NS for pose in vehicle.poses] == [500, 3]


def test_poses_that_stop_coming_are_missed(tmp_path):
    poses, _ = pose_input(tmp_path)
    assert poses.problem(0) == "no external pose on mocap/odom yet"
    assert poses.age_ms(0) is None
    poses._on_message(odometry())
    heard_ns = time.monotonic_ns()
    assert poses.problem(heard_ns) == ""
    assert "is 2.0 s old" in poses.problem(heard_ns + 2 * SECOND_NS)


def test_a_card_that_asks_for_no_pose_misses_none(tmp_path):
    poses = PoseInput(load_robot_card(write_card(tmp_path)), Listener())
    assert poses.problem(10**12) == ""


# --- battery -------------------------------------------------------------------------------------------


def test_a_dip_of_the_voltage_is_no_empty_battery():
    watch = BatteryWatch(BatteryLimits(warn_v=15.0, land_v=14.0))
    low, high = status(battery_v=13.9), status(battery_v=14.2)
    assert not watch.must_land(low, 0)
    assert not watch.must_land(low, 2 * SECOND_NS - 1)
    assert not watch.must_land(high, 2 * SECOND_NS)
    assert not watch.must_land(low, 3 * SECOND_NS)
    assert watch.must_land(low, 5 * SECOND_NS)
    assert watch.is_low(high)
    assert watch.is_empty(low)


def test_charge_and_voltage_are_each_judged_where_they_are_measured():
    watch = BatteryWatch(BatteryLimits(land_share=0.2, land_v=14.0))
    assert watch.is_empty(status(battery_share=0.1, battery_v=16.0))
    assert watch.is_empty(status(battery_share=0.9, battery_v=13.0))
    assert not watch.is_empty(status(battery_v=16.0))
    assert not watch.is_empty(status())
    assert watch.sentence(status()) == "not measured"


def test_without_limits_no_battery_is_low():
    watch = BatteryWatch(BatteryLimits())
    assert not watch.is_low(status(battery_share=0.0, battery_v=0.0))


def test_a_warning_must_come_before_the_landing(tmp_path):
    card = load_robot_card(write_card(tmp_path, battery_warn_share=0.1, battery_land_share=0.2))
    with pytest.raises(ConfigError, match="battery_warn_share 0.1 is below battery_land_share 0.2"):
        BatteryLimits.of(card)
    card = load_robot_card(write_card(tmp_path, battery_warn_v=14.8, battery_land_v=14.0))
    assert BatteryLimits.of(card) == BatteryLimits(warn_v=14.8, land_v=14.0)


def test_what_is_not_measured_is_no_number_in_the_message():
    message = battery_message(status(battery_v=15.25), 3 * SECOND_NS)
    assert message.voltage == 15.25
    assert np.isnan(message.percentage)
    assert message.present
    assert message.header.stamp.sec == 3
    assert not battery_message(status(), 0).present
