"""Protects flights of RAPTOR inside real Betaflight firmware: our driver streams poses and references, the
policy in the firmware has the motors."""

import time

import numpy as np
import pytest
from betaflight_processes import MotionCapture, Peer, card_file, take_off, wait_for

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind
from hardware.drones.betaflight import BetaflightVehicle
from hardware.drones.betaflight_settings import REFERENCE_NAMES
from hardware.reference import FigureEight
from sim.peers.betaflight_firmware import install_sources


@pytest.fixture(scope="module", autouse=True)
def _sources():
    install_sources()


def follow(vehicle, capture, trajectory):
    """Stream a reference from here, in the world's own time; gives the error at every step, (N, 3)."""
    errors, began = [], capture.time_s
    while (t := capture.time_s - began) < trajectory.duration_s:
        o, wanted = vehicle.read(), trajectory.sample(t)
        values = np.array([*wanted.position_m, *wanted.velocity_m_s, wanted.yaw_rad])
        vehicle.command(
            Command(CommandKind.REFERENCE, REFERENCE_NAMES, values, o.stamp_ns, time.monotonic_ns())
        )
        errors.append(o.values["position"] - wanted.position_m)
        time.sleep(0.01)
    return np.array(errors)


def test_raptor_inside_the_firmware_flies_references_and_lands(tmp_path):
    path = card_file(tmp_path, "betaflight_onboard_sitl")
    vehicle = BetaflightVehicle(load_robot_card(path))
    module = "policies.raptor.betaflight_peer"
    with Peer(path, tmp_path, module) as peer, MotionCapture(vehicle) as capture, vehicle:
        take_off(vehicle, 0.8)
        # A machine that stands still for a tenth of a second makes it hand back and take over again.
        wait_for(lambda: vehicle.status.mode == "policy" and vehicle.onboard_reason == "", "RAPTOR", vehicle)
        centre = vehicle.read().values["position"]
        errors = follow(vehicle, capture, FigureEight(tuple(centre), period_s=8.0, duration_s=9.0))
        # Measured on an idle machine: 0.13 m. A vehicle that is lost is metres away.
        assert np.sqrt((errors**2).sum(axis=1).mean()) < 0.5
        status = vehicle.onboard_status()
        assert status.self_test_ok
        assert status.checkpoint == "b7daa70bc939a7a8"
        assert status.activations >= 1
        vehicle.land()
        wait_for(lambda: not vehicle.status.armed, "landed", vehicle)
        # The firmware says that it is disarmed before its motors are told.
        time.sleep(0.5)
        trace = peer.end()
    assert trace.qpos[:, 2].max() > 0.7
    w, x, y, z = trace.qpos[-1, 3:7]
    assert 1 - 2 * (x * x + y * y) > 0.99, "it does not stand upright"
    assert trace.command_values[-1].max() == 0.0
