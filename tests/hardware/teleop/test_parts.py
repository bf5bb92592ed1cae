"""Protects how parts move: straight lines, frames, clutch and re-reference, limits, a vehicle's reference."""

import dataclasses
import math

import numpy as np
import pytest

from hardware import load_robot_card
from hardware.frames import rotation_matrix, turn_by, turn_of
from hardware.kinematics import tool_chains
from hardware.reference import Reference
from hardware.robot import Box
from hardware.teleop import Pose, Reading, load_mapping
from hardware.teleop.inverse_kinematics import attainable, move_tool
from hardware.teleop.mapping import Axis, Frame, Part, PartMode
from hardware.teleop.parts import Tool, Vehicle

CARD = load_robot_card("so101_twin")
SPEC = CARD.commands["joints"]
CHAIN = tool_chains(CARD, SPEC.names)["arm"]
HOME = np.array([0.0, -0.55, 0.35, 1.45, 0.0, 0.5])
LIMITS = SPEC.limit_array("lower"), SPEC.limit_array("upper"), SPEC.limit_array("velocity")
BROWSER = load_mapping("browser_arm").parts["arm"]
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def where(joints):
    return CHAIN.jacobian(joints)


class Bench:
    """A tool whose joints go where they are told."""

    def __init__(self, part=BROWSER, start=HOME, workspace=CARD.workspace):
        self.part = Tool(part, CHAIN, LIMITS, workspace)
        self.joints = np.array(start)
        self.part.engage(self.joints, Reading(True, 0))

    def step(self, count=1, *, pose=None, clutch=False, **controls):
        poses = {} if pose is None else {"phone": pose}
        for _ in range(count):
            self.part.step(self.joints, Reading(True, 0, controls, poses), is_clutched=clutch, dt_s=0.02)
        return where(self.joints)


def test_a_tool_moves_on_a_straight_line_and_keeps_its_tilt():
    bench = Bench()
    start, turned, _ = where(HOME)
    for _ in range(30):
        point, rotation, _ = bench.step(right_y=-1.0, left_x=-1.0)
        way = point - start
        assert way[0] == pytest.approx(0.0, abs=2e-3)
        assert way[1] == pytest.approx(-way[2], abs=2e-3)
    assert way[1] == pytest.approx(0.15 * 30 * 0.02, abs=3e-3)
    # Five joints cannot keep the heading of the tool, but its tilt against the vertical they can.
    assert rotation[2, 2] == pytest.approx(turned[2, 2], abs=0.02)


def test_there_and_back_is_where_it_was():
    bench = Bench()
    bench.step(50, left_x=1.0)
    point, _, _ = bench.step(50, left_x=-1.0)
    assert point == pytest.approx(where(HOME)[0], abs=2e-3)


def test_out_of_reach_the_target_does_not_run_away():
    bench = Bench(workspace=None)
    bench.step(300, left_y=1.0)
    farthest = where(bench.joints)[0]
    # Half a second back at once brings the tool back: the lead was cut.
    point, _, _ = bench.step(40, left_y=-1.0)
    assert point[0] < farthest[0] - 0.03


def test_the_tool_stays_in_the_workspace_of_the_card():
    bench = Bench()
    lowest = min(bench.step(right_y=-1.0)[0][2] for _ in range(150))
    assert lowest >= CARD.workspace.lower_m[2] - 2e-3


def test_joints_stay_in_range_and_within_their_speed():
    bench = Bench()
    for _ in range(200):
        before = bench.joints.copy()
        bench.step(left_y=1.0, right_y=1.0, right_x=1.0, tilt_up=1.0)
        assert (np.abs(bench.joints - before) <= LIMITS[2] * 0.02 + 1e-9).all()
        assert (bench.joints >= LIMITS[0] - 1e-9).all()
        assert (bench.joints <= LIMITS[1] + 1e-9).all()


def test_the_wrist_rolls_about_the_tool_and_tilts_about_the_arm():
    bench = Bench()
    bench.step(25, right_x=1.0)
    assert bench.joints[4] != pytest.approx(HOME[4], abs=0.3)
    assert where(bench.joints)[0] == pytest.approx(where(HOME)[0], abs=2e-3)
    _, before, _ = where(bench.joints)
    point, after, _ = bench.step(25, tilt_up=1.0)
    assert point == pytest.approx(where(HOME)[0], abs=2e-3)
    assert np.linalg.norm(turn_of(after @ before.T)) == pytest.approx(0.8 * 0.5, abs=0.05)


def away(point):
    """From the arm's first joint to a point above the table, on the level."""
    x, y = point[0] - CARD.tools["arm"].chain[0].origin_m[0], point[1]
    return np.array([x, y, 0.0]) / np.hypot(x, y)


@pytest.mark.parametrize(
    ("frame", "yaw", "axis", "expected"),
    [
        (Frame.BASE, 0.0, "x", lambda p, r: np.array([1.0, 0.0, 0.0])),
        (Frame.BASE, math.pi, "x", lambda p, r: np.array([-1.0, 0.0, 0.0])),
        (Frame.HEADING, 0.0, "x", lambda p, r: away(p)),
        (Frame.TOOL, 0.0, "z", lambda p, r: r[:, 2]),
    ],
)
def test_each_frame_means_what_it_says(frame, yaw, axis, expected):
    start = HOME + [0.5, 0, -0.4, 0, 0, 0]
    part = Part(PartMode.CARTESIAN, frame=frame, operator_yaw_rad=yaw, axes={axis: Axis(0.1, "a")})
    bench = Bench(part, start)
    point, rotation, _ = where(start)
    moved, _, _ = bench.step(5, a=-1.0)
    assert (point - moved) / np.linalg.norm(moved - point) == pytest.approx(
        expected(point, rotation), abs=0.02
    )


def pose(*position, turn=(0.0, 0.0, 0.0)):
    half = np.array(turn) / 2
    angle = np.linalg.norm(half)
    axis = half / angle if angle else half
    return Pose(np.array(position, float), np.concatenate(([math.cos(angle)], math.sin(angle) * axis)))


def test_a_pose_is_followed_from_wherever_it_was():
    bench = Bench()
    start = where(HOME)[0]
    bench.step(pose=pose(5.0, 5.0, 5.0))
    assert where(bench.joints)[0] == pytest.approx(start, abs=1e-4)
    point, _, _ = bench.step(50, pose=pose(5.0, 5.1, 5.05))
    assert point - start == pytest.approx(np.array([0.0, 0.06, 0.03]), abs=2e-3), "scaled by 0.6"


def test_the_clutch_lets_the_hand_come_back_without_the_robot():
    bench = Bench()
    bench.step(pose=pose(0.0, 0.0, 0.0))
    forth, _, _ = bench.step(30, pose=pose(0.0, 0.1, 0.0))
    back, _, _ = bench.step(30, pose=pose(0.0, 0.0, 0.0), clutch=True)
    assert back == pytest.approx(forth, abs=1e-6)
    bench.step(pose=pose(0.0, 0.0, 0.0))
    again, _, _ = bench.step(30, pose=pose(0.0, 0.1, 0.0))
    assert again[1] - forth[1] == pytest.approx(0.06, abs=3e-3)


def test_a_lost_track_is_taken_up_anew_where_it_comes_back():
    bench = Bench()
    bench.step(pose=pose(0.0, 0.0, 0.0))
    bench.step(30, pose=pose(0.0, 0.05, 0.0))
    held = bench.joints.copy()
    bench.step(5)
    bench.step(5, pose=Pose(np.full(3, np.nan), IDENTITY))
    bench.step(5, pose=pose(9.0, 9.0, 9.0))
    assert bench.joints == pytest.approx(held, abs=1e-6)


def test_a_leap_of_the_pose_is_followed_no_faster_than_allowed():
    bench = Bench()
    bench.step(pose=pose(0.0, 0.0, 0.0))
    before = where(bench.joints)[0]
    after, _, _ = bench.step(pose=pose(0.0, 3.0, 0.0))
    assert np.linalg.norm(after - before) <= 0.5 * 0.02 + 2e-3


def test_a_turned_pose_turns_the_tool():
    part = dataclasses.replace(BROWSER, rotation_scale=1.0)
    bench = Bench(part)
    bench.step(pose=pose(0.0, 0.0, 0.0))
    _, before, _ = where(bench.joints)
    _, after, _ = bench.step(60, pose=pose(0.0, 0.0, 0.0, turn=(0.0, -0.4, 0.0)))
    assert turn_of(after @ before.T) == pytest.approx(np.array([0.0, -0.4, 0.0]), abs=0.03)


def test_inverse_kinematics_finds_the_joints_of_any_posture():
    rng = np.random.default_rng(3)
    for _ in range(30):
        goal = rng.uniform(LIMITS[0] * 0.8, LIMITS[1] * 0.8)
        point, rotation, _ = where(goal)
        start = np.clip(goal + rng.uniform(-0.2, 0.2, 6), LIMITS[0], LIMITS[1])
        found = move_tool(
            CHAIN, start, position_m=point, rotation=rotation, lower=LIMITS[0], upper=LIMITS[1], step_rad=1.0
        )
        for _ in range(10):
            found = move_tool(
                CHAIN,
                found,
                position_m=point,
                rotation=rotation,
                lower=LIMITS[0],
                upper=LIMITS[1],
                step_rad=1.0,
            )
        assert where(found)[0] == pytest.approx(point, abs=1e-4)
        assert found[5] == start[5]


def test_what_five_joints_cannot_turn_is_dropped_and_the_rest_kept():
    _, rotation, _ = where(HOME)
    tilt, heading = turn_by(np.array([0.0, 0.1, 0.0])), turn_by(np.array([0.0, 0.0, 0.1]))
    assert attainable(CHAIN, HOME, tilt @ rotation) == pytest.approx(tilt @ rotation, abs=1e-3)
    kept = turn_of(attainable(CHAIN, HOME, heading @ rotation) @ rotation.T)
    assert np.linalg.norm(kept) < np.linalg.norm([0, 0, 0.1]) + 1e-9


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.0, math.pi - 1e-7, math.pi])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (-0.48, 0.6, 0.64)])
def test_a_turn_is_the_same_as_a_vector_and_as_a_matrix(axis, angle):
    vector = np.array(axis) * angle
    matrix = turn_by(vector)
    assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-12)
    assert turn_by(turn_of(matrix)) == pytest.approx(matrix, abs=1e-6)
    assert np.linalg.norm(turn_of(matrix)) == pytest.approx(angle, abs=1e-6)
    assert rotation_matrix(IDENTITY) == pytest.approx(np.eye(3))


# --- a vehicle ---------------------------------------------------------------------------------


class Flight:
    """A vehicle that is where its reference is."""

    def __init__(self, box=None, **fields):
        part = dataclasses.replace(load_mapping("gamepad_quadrotor").parts["vehicle"], **fields)
        self.vehicle = Vehicle(part, box)
        self.vehicle.place(Reference(np.array([0.0, 0.0, 1.0]), np.zeros(3)))

    def fly(self, steps, measured=True, **controls):
        reading = Reading(True, 0, controls) if controls else None
        for _ in range(steps):
            here = self.vehicle.reference.position_m if measured is True else measured
            self.vehicle.step(reading, here, dt_s=0.02)
        return self.vehicle.reference


def test_a_vehicle_speeds_up_moves_and_comes_to_rest():
    flight = Flight()
    assert flight.fly(10, right_y=-1.0).velocity_m_s[0] == pytest.approx(3.0 * 0.2)
    moving = flight.fly(90, right_y=-1.0)
    assert moving.velocity_m_s == pytest.approx([1.5, 0.0, 0.0])
    resting = flight.fly(30)
    assert resting.velocity_m_s == pytest.approx(np.zeros(3))
    assert flight.fly(50).position_m == pytest.approx(resting.position_m)


def test_forward_is_where_the_vehicle_looks():
    flight = Flight()
    turned = flight.fly(65, left_x=-1.0)
    assert turned.yaw_rad == pytest.approx(1.2 * 1.3)
    moved = flight.fly(50, right_y=-1.0).position_m
    assert moved[1] > 0.5
    assert abs(moved[0]) < 0.05


def test_the_reference_stays_in_the_fence_and_near_the_vehicle():
    flight = Flight(Box((-1.0, -1.0, 0.2), (1.0, 1.0, 2.0)))
    there = flight.fly(200, right_y=-1.0, left_y=1.0)
    assert there.position_m == pytest.approx([1.0, 0.0, 0.2])
    assert there.velocity_m_s == pytest.approx(np.zeros(3))
    stuck = Flight()
    assert stuck.fly(300, np.array([0.0, 0.0, 1.0]), right_y=-1.0).position_m[0] == pytest.approx(1.0)
