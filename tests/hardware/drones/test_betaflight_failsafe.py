"""Protects the promise that a vehicle does not fly on without us: real firmware, our driver as a process, and
a cut in flight. Companion: the firmware's own failsafe stops the motors. Override, where the firmware would
go on for ever: our watchdog disarms. In both the driver is once killed and once stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from betaflight_processes import (
    POSE_S,
    MotionCapture,
    Peer,
    card_file,
    environment,
    read_line,
    simulated,
    take_off,
    wait_for,
)

from hardware.cards import load_robot_card
from hardware.drones.betaflight import BetaflightVehicle
from sim.peers.betaflight_firmware import install_sources

DRIVER = Path(__file__).with_name("betaflight_hovering_driver.py")


@pytest.fixture(scope="module", autouse=True)
def _sources():
    install_sources()


def hovering_driver(card):
    """The driver's process, and the moment at which it hovers."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), str(card)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert read_line(process.stdout) == "hovering\n"
    return process


def motors_stop(trace, since_ns):
    """The world's seconds from a moment until the motors stopped for good, by what the plant was told."""
    spinning = trace.command_values[trace.command_time_ns > since_ns].max(axis=1) > 0.0
    assert spinning[0], "it was not flying"
    assert not spinning[-1], "the motors never stopped"
    return (int(np.flatnonzero(spinning)[-1]) + 1) * POSE_S


@pytest.mark.parametrize("cut", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("name", ["betaflight_sitl", "betaflight_override_sitl"])
def test_a_driver_that_falls_silent_in_flight_ends_with_motors_off(tmp_path, name, cut):
    card = card_file(tmp_path, name)
    with Peer(card, tmp_path) as peer:
        driver = hovering_driver(card)
        try:
            cut_ns = time.time_ns()
            os.kill(driver.pid, cut)
            simulated(card, 2.5)
            if cut is signal.SIGSTOP:
                # It wakes up in the middle of its loop, still wanting to hover: it must not arm again.
                os.kill(driver.pid, signal.SIGCONT)
                time.sleep(2.5)
                assert driver.poll() is None
        finally:
            driver.kill()
            driver.wait()
            driver.stdout.close()
        trace = peer.end()
    before = trace.qpos[trace.time_ns < cut_ns][-50:, 2]
    assert 0.5 < before.min() < before.max() < 1.3
    # Firmware: 0.5 s of stage 1. Watchdog: 0.25 s, and what is under way; twice that for a busy machine.
    assert motors_stop(trace, cut_ns) < 1.2
    assert trace.qpos[-1, 2] < 0.2


def test_without_poses_the_flight_is_left_to_the_failsafe_and_said(tmp_path):
    card = card_file(tmp_path, "betaflight_sitl")
    vehicle = BetaflightVehicle(load_robot_card(card))
    with Peer(card, tmp_path) as peer, MotionCapture(vehicle) as capture, vehicle:
        take_off(vehicle, 0.6)
        cut_ns = time.time_ns()
        capture.is_blind.set()
        wait_for(lambda: not vehicle.status.armed, "disarmed by the firmware", vehicle)
        assert vehicle.safe_stopped == "no pose"
        assert not vehicle.status.follows_commands
        trace = peer.end()
    # Half a second until it gives up, then the firmware's.
    assert motors_stop(trace, cut_ns) < 2.0
