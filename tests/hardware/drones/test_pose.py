"""Protects the state that is made of poses from outside: velocities that were not given, and poses that are
not believed."""

import math

import numpy as np
import pytest

from hardware.drones.pose import PoseTracker
from hardware.drones.vehicle import ExternalPose
from hardware.frames import yaw_quaternion

STEP_NS = 10_000_000
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])


def pose(step, position, orientation=LEVEL, velocity=None):
    return ExternalPose(
        np.array(position, dtype=float), orientation, 1_000_000_000 + step * STEP_NS, velocity
    )


def test_velocity_and_rates_follow_from_how_poses_change():
    tracker = PoseTracker()
    for step in range(60):
        t = 0.01 * step
        state = tracker.take(pose(step, (0.5 * t, 0.0, 1.0), yaw_quaternion(1.2 * t)), step)
    assert state.velocity_m_s == pytest.approx([0.5, 0, 0], abs=0.02)
    assert state.angular_velocity_rad_s == pytest.approx([0, 0, 1.2], abs=0.05)
    # In the body, which looks 0.7 rad to the left of where it goes.
    assert state.velocity_body_m_s == pytest.approx(
        [0.5 * math.cos(0.708), -0.5 * math.sin(0.708), 0], abs=0.03
    )


def test_a_velocity_that_is_given_is_taken():
    state = PoseTracker().take(pose(0, (0, 0, 1), velocity=np.array([1.0, 2.0, 3.0])), 7)
    assert state.velocity_m_s == pytest.approx([1, 2, 3])
    assert state.received_steady_ns == 7


def test_the_other_sign_of_a_quaternion_is_no_turn():
    tracker = PoseTracker()
    tracker.take(pose(0, (0, 0, 1)), 0)
    assert tracker.take(pose(1, (0, 0, 1), -LEVEL), 1).angular_velocity_rad_s == pytest.approx([0, 0, 0])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (pose(5, (math.nan, 0, 1)), "not finite"),
        (pose(5, (0, 0, 1), np.array([2.0, 0, 0, 0])), "no unit quaternion"),
        (pose(5, (0, 0, 1), np.zeros(4)), "no unit quaternion"),
        (pose(5, (0, 0, 1), velocity=np.array([0, math.inf, 0])), "not finite"),
        (pose(-1, (0, 0, 1)), "older than the last one"),
        (pose(0, (0, 0, 1)), "older than the last one"),
        (pose(1, (3.0, 0, 1)), "a jump"),
    ],
)
def test_poses_that_are_not_believed(bad, reason):
    tracker = PoseTracker()
    first = tracker.take(pose(0, (0, 0, 1)), 0)
    assert tracker.take(bad, 1) is None
    assert tracker.refused == {reason: 1}
    assert tracker.state is first


def test_after_a_gap_a_new_place_is_believed_without_a_velocity():
    tracker = PoseTracker()
    tracker.take(pose(0, (0, 0, 1)), 0)
    assert tracker.take(pose(100, (3.0, 0, 1)), 1).velocity_m_s == pytest.approx([0, 0, 0])


def test_a_source_that_counts_anew_is_believed():
    tracker = PoseTracker()
    tracker.take(pose(1000, (0, 0, 1)), 0)
    assert tracker.take(pose(0, (5.0, 0, 1)), 1) is not None
