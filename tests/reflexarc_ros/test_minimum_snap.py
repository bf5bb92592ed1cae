"""A way through waypoints, from the launch argument to the vehicle: it is flown, or refused in words."""

import math

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from reflexarc_ros.bringup import nodes
from reflexarc_ros.runner import SystemRunner
from reflexarc_ros.twin_drive import LOCKSTEP_START_NS

from hardware import ConfigError, load_robot_card
from reflexarc.demos.observer import Observer
from sim.twin.trace import Trace

POINTS = np.array([[0.0, 0.0, 1.0], [1.5, 0.5, 1.4], [1.5, -1.0, 1.0], [0.0, -1.0, 1.2]])
# Climb and settling before the path, and the time at the last point, are included.
FLIGHT_S = 12.5


@pytest.fixture
def course(tmp_path):
    path = tmp_path / "course.yaml"
    path.write_text(f"waypoints: {POINTS.tolist()}\n")
    return str(path)


@pytest.mark.ros
def test_the_twin_flies_through_the_waypoints_of_a_file(course, tmp_path, domain_id):
    path, lines = tmp_path / "trace.npz", []
    arguments = {"reference": "minimum_snap", "waypoints": course, "speed": "1.0", "pace": "lockstep"}
    with (
        SystemRunner(
            "quadrotor",
            {**arguments, "trace": str(path)},
            on_line=lambda n, line: lines.append(f"[{n}] {line}"),
            domain_id=domain_id,
        ),
        Observer(load_robot_card("quadrotor_twin"), namespace="quadrotor", domain_id=domain_id) as observer,
    ):
        end_ns = LOCKSTEP_START_NS + round(FLIGHT_S * 1e9)

        def is_over():
            return observer.latest is not None and observer.latest.stamp_ns >= end_ns

        assert observer.wait_for(is_over, timeout_s=150.0, every=lambda: None), "\n".join(lines)
    place = Trace.load(path).qpos[:, :3]
    nearest = [np.linalg.norm(place - point, axis=1) for point in POINTS]
    assert max(distance.min() for distance in nearest) < 0.15
    assert np.all(np.diff([distance.argmin() for distance in nearest[:-1]]) > 0)
    assert np.linalg.norm(place[-1] - POINTS[-1]) < 0.1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"waypoints": "0,0,1"}, "1 waypoint(s). Expected at least two"),
        ({"waypoints": "0,0,1; 1,0"}, "5 numbers. Expected x, y, z of each point in turn"),
        ({"waypoints": "0,0,1; nan,0,1"}, "waypoints is 'nan'. Expected a number"),
        ({"waypoints": "no_such_course.yaml"}, "no_such_course.yaml: the file cannot be read"),
        ({"speed": "9"}, "at a mean of 9 m/s the path is too fast for the vehicle: it takes a thrust of"),
        ({"speed": "2", "airframe": "crazyflie"}, "the path is too fast for the vehicle"),
        ({"speed": "0"}, "speed is '0'. Expected a number from 0.05 to 20"),
        (
            {"robot": "px4_peer", "waypoints": "0,0,1; 90,0,1"},
            "Expected -50 m to 50 m, as the robot card says",
        ),
    ],
)
def test_what_cannot_be_flown_is_refused_before_anything_starts(arguments, text):
    with pytest.raises(ConfigError) as raised:
        nodes("quadrotor", {"reference": "minimum_snap", **arguments})
    assert text in str(raised.value)
    assert "To mend" in str(raised.value)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"waypoints": [0.0, 0.0, 1.0]}, "1 waypoint(s). Expected at least two"),
        (
            {"waypoints": [0.0, 0.0, 1.0, math.nan, 0.0, 1.0]},
            "a number that is not finite (0, 0, 1, nan, 0, 1)",
        ),
        ({"waypoints": [0.0, 0.0, 1.0, 1.0, 0.0, 1.0], "speed_m_s": 15.0}, "too fast for the vehicle"),
    ],
    ids=["too_few", "nan", "too_fast"],
)
def test_a_node_alone_refuses_it_too(start, client, parameters, text):
    node = start("reference_node", reference="minimum_snap", **parameters)
    assert not client.change("reference_node", Transition.TRANSITION_CONFIGURE)
    assert client.state("reference_node") == "unconfigured"
    assert node.end() == 0
    assert text in node.output
