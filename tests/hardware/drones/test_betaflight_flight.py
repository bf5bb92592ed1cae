"""Protects whole flights on real Betaflight firmware over a serial port: arm, take off, hover, figure eight
under rates, land, disarm; and what the driver says to a second client and about reasons not to arm."""

import time

import numpy as np
import pytest
from betaflight_processes import MotionCapture, Peer, arm, card_file, take_off, wait_for

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind
from hardware.drones.betaflight import BetaflightVehicle
from hardware.drones.betaflight_settings import RATES_NAMES
from hardware.drones.outer_loop import OuterLoop, Setpoint
from hardware.drones.vehicle import FlightVehicle
from hardware.errors import ConfigError, ConfigErrors, Refusal
from hardware.frames import rotation_matrix
from hardware.reference import FigureEight
from sim.peers.betaflight_firmware import install_sources


@pytest.fixture(scope="module", autouse=True)
def _sources():
    install_sources()


def rates(values):
    return Command(
        CommandKind.RATES_THRUST, RATES_NAMES, np.array(values), time.time_ns(), time.monotonic_ns()
    )


def follow(vehicle, capture, trajectory):
    """Fly a reference by rates from here, in the world's own time; gives the error at every step, (N, 3)."""
    loop, errors = OuterLoop(), []
    began = last = capture.time_s
    while last - began < trajectory.duration_s:
        o, now = vehicle.read(), capture.time_s
        wanted = trajectory.sample(now - began)
        orientation = o.values["orientation"]
        control = loop.update(
            Setpoint(wanted.position_m, wanted.velocity_m_s, wanted.yaw_rad),
            position_m=o.values["position"],
            velocity_m_s=rotation_matrix(orientation) @ o.values["linear_velocity"],
            orientation_wxyz=orientation,
            dt_s=now - last,
        )
        last = now
        vehicle.command(rates([*control.rates_rad_s, control.thrust]))
        errors.append(o.values["position"] - wanted.position_m)
        time.sleep(0.01)
    return np.array(errors)


def test_a_flight_by_rates_from_arming_to_disarming(tmp_path):
    path = card_file(tmp_path, "betaflight_sitl", serial=True)
    vehicle = BetaflightVehicle(load_robot_card(path))
    assert isinstance(vehicle, FlightVehicle)
    with Peer(path, tmp_path) as peer, MotionCapture(vehicle) as capture, vehicle:
        assert not vehicle.status.armed
        with pytest.raises(Refusal, match="arm it first"):
            vehicle.take_off(1.0)
        # The port is held exclusively, and a second driver is told so.
        with pytest.raises(ConfigError, match="another program holds it"):
            BetaflightVehicle(load_robot_card(path)).connect()
        arm(vehicle)
        assert vehicle.status.mode == "rates"
        vehicle.command(rates([0.0, 0.0, 0.0, 1.5]))
        assert not vehicle.status.follows_commands
        vehicle.take_off(0.8)
        with pytest.raises(Refusal, match="in the air already"):
            vehicle.take_off(0.8)
        wait_for(lambda: vehicle.status.follows_commands, "up", vehicle)
        assert 0.15 < vehicle.hover_thrust < 0.45
        centre = vehicle.read().values["position"]
        errors = follow(vehicle, capture, FigureEight(tuple(centre), period_s=8.0, duration_s=9.0))
        # Measured on an idle machine: 0.05 m. A vehicle that is lost is metres away.
        assert np.sqrt((errors**2).sum(axis=1).mean()) < 0.4
        assert vehicle.status.link_quality > 0.2
        vehicle.land()
        wait_for(lambda: not vehicle.status.armed, "landed", vehicle)
        assert vehicle.status.on_ground
        assert vehicle.safe_stopped is None
        # The firmware says that it is disarmed before its motors are told.
        time.sleep(0.5)
        trace = peer.end()
    flew = trace.qpos[:, 2].max()
    assert flew > 0.7
    w, x, y, z = trace.qpos[-1, 3:7]
    assert 1 - 2 * (x * x + y * y) > 0.99, "it does not stand upright"
    assert trace.command_values[-1].max() == 0.0


def test_silence_of_commands_lands_and_a_second_client_hears_why(tmp_path):
    path = card_file(tmp_path, "betaflight_sitl")
    vehicle = BetaflightVehicle(load_robot_card(path))
    with Peer(path, tmp_path), MotionCapture(vehicle), vehicle:
        with pytest.raises(ConfigError, match="nobody else is connected to"):
            BetaflightVehicle(load_robot_card(path)).connect()
        take_off(vehicle, 0.5)
        vehicle.command(rates([0.0, 0.0, 0.0, 1.0]))
        wait_for(lambda: vehicle.safe_stopped is not None, "safe action", vehicle)
        assert vehicle.safe_stopped == "no command"
        wait_for(lambda: not vehicle.status.armed, "landed", vehicle)
        assert vehicle.read().values["position"][2] < 0.15


def test_a_set_up_that_differs_is_named_and_only_written_when_asked_for(tmp_path):
    path = card_file(tmp_path, "betaflight_sitl")
    other = {"failsafe": {"delay_s": 0.9}, "channels": {"arm": 5}}
    with Peer(path, tmp_path):
        card = load_robot_card(path)
        settings = dict(card.parameters["betaflight"])

        def vehicle(**changes):
            parameters = dict(card.parameters) | {"betaflight": settings | other | changes}
            return BetaflightVehicle(type(card)(**(vars(card) | {"parameters": parameters})))

        with pytest.raises(ConfigErrors) as refusal:
            vehicle().connect()
        assert "no range for ARM" in str(refusal.value)
        assert "aux 0 0 4 1700 2100 0 0" in str(refusal.value)
        assert "a failsafe that waits 0.5 s" in str(refusal.value)
        with vehicle(write_configuration=True) as written:
            assert not written.status.armed
        with vehicle():
            pass
