"""Protects the PX4 driver as a whole: sockets, threads, real time, a killed driver, a taken port, cards."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from px4_lockstep import figure_eight
from px4_processes import GroundStation, card, environment, free_port, reference, running_peer, wait_for

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind, SafeAction
from hardware.drones.px4 import PX4Vehicle
from hardware.drones.vehicle import ExternalPose, FlightVehicle
from hardware.errors import ConfigError, Refusal


def test_it_flies_over_a_socket_and_leaving_lands_the_vehicle():
    port, watched = free_port(), free_port()
    with GroundStation(watched) as ground, running_peer(port, "--to", f"127.0.0.1:{watched}"):
        with PX4Vehicle(card(port)) as vehicle:
            fly_a_figure_eight(vehicle, port)
            assert ground.armed
        wait_for(lambda: not ground.armed, "landed and disarmed")
        # Nothing of the driver is left, and it can come back.
        vehicle.connect()
        assert not vehicle.status.armed
        vehicle.disconnect()


def fly_a_figure_eight(vehicle, port):
    assert isinstance(vehicle, FlightVehicle)
    wait_for(lambda: not vehicle.status.arming_blockers, "parameters are read")
    vehicle.arm()
    wait_for(lambda: vehicle.status.armed, "armed")
    vehicle.take_off(1.5)
    wait_for(lambda: vehicle.status.follows_commands, "up")
    # A second driver on the same port is told so in words, and disturbs nobody.
    with pytest.raises(ConfigError, match=r"UDP port .*another driver may hold it"):
        PX4Vehicle(card(port)).connect()
    begin, seen = time.monotonic(), {}

    def has_flown_the_figure():
        position, velocity = figure_eight(time.monotonic() - begin, height_m=1.5)
        vehicle.command(reference(position, velocity))
        observation = vehicle.read()
        seen[observation.stamp_ns] = observation.values["position"]
        spread = np.ptp(list(seen.values()), axis=0)
        return spread[0] > 1.2 and spread[1] > 0.4

    wait_for(has_flown_the_figure, "a figure eight of two metres by one")
    assert len(seen) > 50
    assert vehicle.status.mode == "OFFBOARD"
    # The stamp is the vehicle's capture time on our clock, not its time since boot.
    assert abs(vehicle.read().age_s(time.time_ns())) < 30.0
    assert vehicle.statistics["malformed_bytes"] == 0
    assert vehicle.firmware == "PX4-like peer 1.16.0"
    with pytest.raises(Refusal, match="velocity_y is not finite"):
        vehicle.command(reference((0.0, 0.0, 1.5), (0.0, math.nan, 0.0)))


def test_a_killed_driver_ends_in_the_firmwares_landing():
    port, watched = free_port(), free_port()
    with GroundStation(watched) as ground, running_peer(port, "--to", f"127.0.0.1:{watched}"):
        driver = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("px4_hovering_driver.py")), str(port)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert driver.stdout.readline() == "hovering\n"
            assert ground.armed
        finally:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait(timeout=30)
            driver.stdout.close()
        wait_for(lambda: not ground.armed, "disarmed")
        assert any("no offboard signal, AUTO.LAND" in text for text in ground.said)
        wait_for(lambda: any("Disarmed by landing" in text for text in ground.said), "landed")


def test_nobody_there_is_told_in_words():
    port = free_port()
    vehicle = PX4Vehicle(card(port, connect_timeout_s=0.2))
    with pytest.raises(ConfigError, match=r"no vehicle was heard within 0.2 s.*switch the vehicle on"):
        vehicle.connect()
    with pytest.raises(Refusal, match="no observation yet"):
        vehicle.read()
    with pytest.raises(Refusal, match="not heard"):
        vehicle.arm()


def changed_interface(**changes):
    loaded = load_robot_card("px4")
    spec = replace(loaded.commands["reference"], **changes)
    return replace(loaded, commands={"reference": spec})


def without(names):
    return {
        n: limit for n, limit in load_robot_card("px4").commands["reference"].limits.items() if n not in names
    }


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            lambda: changed_interface(limits=without(["velocity_z"])),
            "lacks velocity_z.*a reference needs its velocity",
        ),
        (lambda: changed_interface(safe_action=SafeAction.HOLD), "the safe action hold"),
        (lambda: replace(load_robot_card("quadrotor_twin"), driver="px4"), "PX4 takes no motor commands"),
        (lambda: card(1, follow="acro"), "follow 'acro'.*offboard or raptor"),
        (lambda: card(1, follow="raptor"), "RAPTOR mode takes nothing else"),
    ],
)
def test_a_card_that_describes_no_px4_is_refused_in_words(bad, words):
    with pytest.raises(ConfigError, match=words):
        PX4Vehicle(bad())


def test_commands_and_poses_that_are_not_finite_are_refused():
    vehicle = PX4Vehicle(load_robot_card("px4"))
    for bad in (math.nan, math.inf):
        with pytest.raises(Refusal, match="z is not finite"):
            vehicle.command(reference((0.0, 0.0, bad)))
    lacks = Command(CommandKind.REFERENCE, ("x", "y", "z"), np.zeros(3), 0, 0)
    with pytest.raises(Refusal, match="without velocity_x, velocity_y, velocity_z, yaw"):
        vehicle.command(lacks)
    rates = Command(
        CommandKind.RATES_THRUST, ("roll_rate", "pitch_rate", "yaw_rate", "thrust"), np.ones(4), 0, 0
    )
    with pytest.raises(Refusal, match="MPC_THR_HOVER"):
        vehicle.command(rates)
    level = np.array([1.0, 0.0, 0.0, 0.0])
    for position, orientation in ((np.full(3, math.nan), level), (np.zeros(3), np.zeros(4))):
        with pytest.raises(Refusal, match="pose from outside"):
            vehicle.external_pose(ExternalPose(position, orientation, 0))
