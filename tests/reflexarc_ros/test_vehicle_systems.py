"""Protects systems with a vehicle: one argument switches, and a simulated flight controller comes along."""

import os
import signal
import time

import numpy as np
import pytest
import yaml
from reflexarc_ros.bringup import nodes
from std_srvs.srv import Trigger
from vehicle_cards import free_port, write_card
from vehicle_system import System, wait_for

from hardware import ConfigError
from hardware.cards import library
from policies.raptor.policy import PUBLISHED
from sim.twin.trace import Trace


def parameters(arguments):
    return {spec.name: spec.parameters for spec in nodes("quadrotor", arguments)}


# --- the description -----------------------------------------------------------------------------------


def test_a_vehicle_gets_what_suits_its_card(tmp_path):
    robot = write_card(tmp_path)
    specs = nodes("quadrotor", {"robot": robot, "height": "1.5"})
    assert [s.name for s in specs] == [
        "gate_node",
        "policy_node",
        "reference_node",
        "robot_node",
        "supervisor_node",
    ]
    found = {s.name: s.parameters for s in specs}
    assert found["policy_node"]["policy"].endswith("reference/stream")
    assert found["reference_node"]["begin"] == "airborne"
    assert found["robot_node"]["take_off_height_m"] == 1.5
    assert {found[n]["interface"] for n in ("gate_node", "robot_node")} == {"reference"}
    assert not any(p.get("use_sim_time") for p in found.values())
    # Who lands first needs its time.
    assert min(s.stop_s for s in specs if s.name != "supervisor_node") > 30.0


def test_a_twin_flies_from_the_ground_and_has_its_own_time():
    found = parameters({})
    assert found["reference_node"]["begin"] == "activation"
    assert found["gate_node"]["use_sim_time"] is True
    assert found["robot_node"]["interface"] == "motors"
    assert "peer_node" not in found


def test_a_card_that_names_a_simulated_flight_controller_brings_it_along(tmp_path):
    robot = write_card(tmp_path, peer="px4")
    specs = nodes("quadrotor", {"robot": robot, "airframe": "crazyflie", "trace": str(tmp_path / "f.npz")})
    assert specs[0].name == "peer_node"
    assert specs[0].parameters == {
        "card": robot,
        "airframe": "crazyflie",
        "policy": "",
        "trace_path": str(tmp_path / "f.truth.npz"),
    }
    assert specs[-1].parameters["managed"][0] == "peer_node"


def test_the_policy_may_fly_onboard_and_then_references_are_streamed(tmp_path):
    robot = write_card(tmp_path, peer="raptor_px4")
    found = parameters({"robot": robot, "policy": "raptor/published"})
    assert found["policy_node"]["policy"].endswith("reference/stream")
    assert found["peer_node"]["policy"] == str(PUBLISHED)
    assert parameters({"robot": robot})["peer_node"]["policy"] == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"pace": "lockstep"}, "pace:=lockstep with the robot 'fake'. Expected a twin"),
        ({"gust": "1,1,5,0,0"}, "gust:=1,1,5,0,0 with the robot 'fake'"),
        ({"cameras": "true"}, "cameras:=true with the robot 'fake'"),
        ({"latency": "card"}, "latency:=card with the robot 'fake'"),
        ({"airframe": "crazyflie"}, "airframe:=crazyflie with the robot 'fake'"),
        ({"policy": "raptor/published"}, "the policy commands motor. Expected one of reference"),
    ],
)
def test_what_only_a_twin_understands_is_refused_for_a_vehicle(tmp_path, arguments, text):
    with pytest.raises(ConfigError) as raised:
        nodes("quadrotor", {"robot": write_card(tmp_path), **arguments})
    assert text in str(raised.value)


# --- a flight ------------------------------------------------------------------------------------------


def px4_card(folder):
    """The card of the PX4-like vehicle, on ports of its own."""
    card = yaml.safe_load((library._FOLDER / "px4_peer.yaml").read_text())
    card["name"] = "robot"
    card["parameters"]["link"] = f"udpin:127.0.0.1:{free_port()}"
    card["parameters"]["mocap_port"] = free_port()
    path = folder / "px4.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return str(path)


@pytest.mark.ros
def test_a_px4_like_vehicle_arms_flies_a_reference_and_lands(tmp_path, domain_id, client):
    trace = tmp_path / "flight.npz"
    system = System(
        domain_id,
        client,
        {"robot": px4_card(tmp_path), "program": "hover 6", "height": "1.2", "trace": str(trace)},
    )
    with system.runner:
        system.take_off()
        time.sleep(5.0)
        answer = client.call(Trigger, "robot_node/land", Trigger.Request(), 120.0)
        assert answer.success, answer.message
        assert "landed and disarmed after" in answer.message
    assert "Traceback" not in system.log
    measured, truth = Trace.load(trace), Trace.load(trace.with_suffix(".truth.npz"))
    begin_ns = measured.time_ns[0]
    hover = (truth.time_ns > begin_ns) & (truth.qpos[:, 2] > 0.5)
    assert np.abs(truth.qpos[hover, :2]).max() < 0.5
    assert 1.0 < truth.qpos[hover, 2].max() < 1.7
    assert truth.qpos[-1, 2] < 0.3
    # How many reach it in time is the machine's affair.
    assert len(measured.command_values) > 5


@pytest.mark.ros
def test_a_driver_that_dies_in_flight_leaves_the_vehicle_to_its_firmware(tmp_path, domain_id, client):
    trace = tmp_path / "flight.npz"
    card = px4_card(tmp_path)
    system = System(domain_id, client, {"robot": card, "height": "1.2", "trace": str(trace)})
    with system.runner:
        system.take_off()
        assert wait_for(lambda: system.heights and system.heights[-1] > 1.0), system.log
        os.kill(system.runner.pid("robot_node"), signal.SIGKILL)
        # The firmware lands it, or the node does that comes back; nobody flies on.
        assert wait_for(lambda: system.runner.restarts("robot_node") == 1)
        assert wait_for(lambda: system.heights[-1] < 0.3), system.log
        assert wait_for(lambda: client.state("robot_node") == "active"), system.log
        # Nothing takes off again.
        count = len(system.heights)
        assert wait_for(lambda: len(system.heights) > count + 300)
        assert max(system.heights[count:]) < 0.35
    truth = Trace.load(trace.with_suffix(".truth.npz"))
    assert truth.qpos[:, 2].max() > 1.0
    assert truth.qpos[-1, 2] < 0.3, "it must have landed"
    # The motors are off.
    assert truth.command_values[-1].max() == 0.0
