"""Protects flights of the real Betaflight firmware over ROS 2, and what it does when its driver dies."""

import os
import signal
import socket

import pytest
import yaml
from vehicle_cards import free_port
from vehicle_system import System, wait_for

from hardware.cards import library
from reflexarc.flights.pilot import fly_vehicle
from reflexarc.flights.plan import Course
from sim.peers.betaflight_firmware import install_sources
from sim.twin.trace import Trace

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module", autouse=True)
def sources():
    """The firmware's sources; in a fresh clone they are brought now."""
    install_sources()


def free_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def betaflight_card(folder, name="betaflight_sitl"):
    """The card of a simulated flight controller, on ports of its own."""
    card = yaml.safe_load((library._FOLDER / f"{name}.yaml").read_text())
    card["name"] = "robot"
    card["parameters"]["mocap_port"] = free_port()
    card["parameters"]["betaflight"]["link"] = f"tcp:127.0.0.1:{free_tcp_port()}"
    path = folder / "betaflight.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("card", ["betaflight_sitl", "betaflight_onboard_sitl"], ids=["companion", "onboard"])
def test_the_real_firmware_arms_hovers_flies_a_figure_eight_lands_and_disarms(tmp_path, card):
    flight = fly_vehicle(
        betaflight_card(tmp_path, card),
        Course(hover_s=4.0, period_s=5.5, loops=1),
        folder=tmp_path / "data",
        say=lambda text: None,
        arguments={"realtime": "false"},
    )
    assert flight.landed, flight.answers
    # Generous: the machine may be busy, and the flight is in real time.
    assert flight.hover_error_m < 0.3
    assert flight.figure_eight_rmse_m < 0.6
    assert flight.record.gate.passed > 100
    assert [answer.split(":")[0] for answer in flight.answers] == ["arm", "take_off", "land"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_driver_that_falls_silent_in_flight_ends_in_the_firmwares_failsafe(
    tmp_path, domain_id, client, number
):
    trace = tmp_path / "flight.npz"
    system = System(
        domain_id, client, {"robot": betaflight_card(tmp_path), "height": "1.0", "trace": str(trace)}
    )
    with system.runner:
        system.take_off()
        assert wait_for(lambda: system.heights and system.heights[-1] > 0.8), system.log
        os.kill(system.runner.pid("robot_node"), number)
        assert wait_for(lambda: system.heights[-1] < 0.25, 60.0), system.log
        # The node comes back (a stopped one is killed first), and takes off no more.
        assert wait_for(lambda: system.runner.restarts("robot_node") == 1, 60.0), system.log
        count = len(system.heights)
        assert wait_for(lambda: len(system.heights) > count + 400, 60.0)
        assert max(system.heights[count:]) < 0.35
    truth = Trace.load(trace.with_suffix(".truth.npz"))
    assert truth.qpos[:, 2].max() > 0.8
    # Down, and its motors off.
    assert truth.command_values[-1].max() < 0.02
