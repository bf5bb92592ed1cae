"""Protects the Crazyflie driver at the wire: cflib itself connects to a Crazyflie-like vehicle."""

import contextlib
import math
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from px4_processes import ROOT, environment, reference, wait_for

from hardware.cards import load_robot_card
from hardware.command import SafeAction
from hardware.drones import crazyflie_wire
from hardware.drones.crazyflie import CrazyflieVehicle
from hardware.drones.crazyflie_pilot import NS, CrazyfliePilot, Move, Phase, Step, Supervisor
from hardware.drones.state import REFERENCE_NAMES, VehicleState
from hardware.drones.vehicle import ExternalPose, FlightVehicle
from hardware.errors import ConfigError, Refusal
from hardware.frames import yaw_quaternion
from sim.peers.crazyflie import CrazyflieFirmware, CrtpPeer
from sim.quadrotor.airframes import load_airframe

UP, ARMED, FLYING = 1, 1 | 2 | 8, 1 | 2 | 8 | 16


@contextlib.contextmanager
def running_peer(*arguments, module="sim.peers.crazyflie"):
    """The vehicle on a free port, which is given out; it is ended however the test ends."""
    command = [sys.executable, "-m", module, "--bind", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready ")
        yield int(ready.rpartition(" ")[2].rstrip("}\n"))
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=90) == 0
        finally:
            process.kill()
            process.stdout.close()


def card(port, name="crazyflie_peer", **parameters):
    loaded = load_robot_card(name)
    changed = {"link": f"udp://127.0.0.1:{port}", "connect_timeout_s": 90.0}
    commands = {n: replace(spec, robot_timeout_s=1.5) for n, spec in loaded.commands.items()}
    return replace(loaded, commands=commands, parameters=dict(loaded.parameters) | changed | parameters)


def up(vehicle, height_m=0.8):
    wait_for(lambda: not vehicle.status.arming_blockers, "parameters are set")
    vehicle.arm()
    wait_for(lambda: vehicle.status.armed, "armed")
    vehicle.take_off(height_m)
    wait_for(lambda: vehicle.status.follows_commands, "up")


def go_to(vehicle, position, yaw=0.0):
    def is_there():
        vehicle.command(reference(position, yaw=yaw))
        return np.linalg.norm(vehicle.read().values["position"] - position) < 0.15

    wait_for(is_there, f"at {position}")


def test_cflib_flies_it_and_leaving_lands_it_so_that_the_next_client_is_welcome():
    with running_peer() as port:
        with CrazyflieVehicle(card(port)) as vehicle:
            fly_somewhere(vehicle)
        # A client that left without landing it would have let it fall; it stands, and takes a new one.
        with CrazyflieVehicle(card(port)) as vehicle:
            wait_for(lambda: vehicle.status.mode.startswith("ready to arm"), "its supervisor told")
            assert not vehicle.status.armed
            assert vehicle.read().values["position"][:2] == pytest.approx([0.5, -0.3], abs=0.35)


def test_a_machine_without_a_radio_is_told_at_once(monkeypatch):
    """cflib's own search for USB radios, on a machine that has none, or on one made to look so."""
    import cflib.drivers.crazyradio

    def nothing(*arguments, **named):
        raise Exception("Cannot find a Crazyradio Dongle")

    monkeypatch.setattr(cflib.drivers.crazyradio.Crazyradio, "__init__", nothing)
    made = CrazyflieVehicle(load_robot_card("crazyflie"))
    tries = []
    monkeypatch.setattr(made._is_over, "wait", lambda timeout_s: tries.append(timeout_s) or time.sleep(0.05))
    with pytest.raises(ConfigError, match=r"no Crazyradio is plugged in.*udev rule"):
        made.connect()
    assert len(tries) <= 3


def fly_somewhere(vehicle):
    assert isinstance(vehicle, FlightVehicle)
    with pytest.raises(Refusal, match="not armed"):
        vehicle.take_off(1.0)
    up(vehicle)
    go_to(vehicle, (0.5, -0.3, 1.0), yaw=1.0)
    assert "following commands" in vehicle.status.mode
    assert 0.5 < vehicle.status.battery_share < 1.0
    assert abs(vehicle.read().age_s(time.time_ns())) < 30.0
    with pytest.raises(Refusal, match="velocity_x is missing or not finite"):
        vehicle.command(reference((0.0, 0.0, 1.0), (math.nan, 0.0, 0.0)))


def test_raptor_in_its_firmware_flies_while_the_packet_comes_and_silence_lands_it():
    with (
        running_peer(module="policies.raptor.crazyflie_peer") as port,
        CrazyflieVehicle(card(port, "crazyflie_raptor_peer", setpoint="full_state")) as vehicle,
    ):
        up(vehicle)
        go_to(vehicle, (0.3, 0.0, 0.9))
        # Nobody commands any more: the firmware's own controller takes over, and the driver lands it.
        wait_for(lambda: not vehicle.status.armed, "landed and disarmed")
        assert vehicle.safe_stopped == "command timeout"


def test_without_a_deck_it_arms_only_after_poses_from_outside_came():
    with running_peer("--external") as port, CrazyflieVehicle(card(port)) as vehicle:
        wait_for(
            lambda: len(b := vehicle.status.arming_blockers) == 1 and "no position estimate" in b[0],
            "says why not",
        )
        with pytest.raises(Refusal, match="no position estimate yet"):
            vehicle.arm()
        here = ExternalPose(np.array([1.0, 2.0, 0.0]), yaw_quaternion(1.0), 0)

        def may_arm():
            vehicle.external_pose(here)
            return not vehicle.status.arming_blockers

        wait_for(may_arm, "a pose is believed")
        # What it believes is what it was told, through CRTP and back.
        wait_for(lambda: np.linalg.norm(vehicle.read().values["position"] - here.position) < 0.1, "position")
        assert abs(vehicle.read().values["orientation"] @ here.orientation) > 0.99
        with pytest.raises(Refusal, match="pose from outside"):
            vehicle.external_pose(replace(here, position=np.full(3, math.nan)))


class Written:
    """A radio that writes down what it is asked to send."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *numbers: self.calls.append((name, [np.asarray(n).tolist() for n in numbers]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "full_state",
            ("full_state", [[1, 2, 3], [0.1, 0.2, 0.3], [4, 5, 6], [0, 0, math.sin(0.5), math.cos(0.5)]]),
        ),
        ("position", ("position", [[1, 2, 3], math.degrees(1.0)])),
        ("velocity", ("velocity", [[0.1, 0.2, 0.3], math.degrees(2.0 * (1.0 - math.pi / 2))])),
        # It faces north: what goes north goes ahead, what goes west goes left.
        ("hover", ("hover", [0.2, -0.1, math.degrees(2.0 * (1.0 - math.pi / 2)), 3])),
    ],
)
def test_every_kind_of_set_point_says_the_same_in_its_own_numbers(kind, expected):
    vehicle = CrazyflieVehicle(card(1, setpoint=kind))
    values = dict(zip(REFERENCE_NAMES, (1, 2, 3, 0.1, 0.2, 0.3, 1.0), strict=True))
    here = VehicleState(np.array([1.0, 2.0, 3.0]), yaw_quaternion(math.pi / 2), np.zeros(3), np.zeros(3))
    radio = Written()
    vehicle._send_reference(radio, values, here, np.array([4.0, 5.0, 6.0]))
    ((name, numbers),) = radio.calls
    assert name == expected[0]
    for found, wanted in zip(numbers, expected[1], strict=True):
        assert found == pytest.approx(wanted, abs=1e-9)


def test_the_activation_packet_comes_with_the_set_points_and_not_more_often_than_needed():
    now = [10**9]
    vehicle = CrazyflieVehicle(load_robot_card("crazyflie_raptor"), steady_clock=lambda: now[0])
    values = dict(zip(REFERENCE_NAMES, (1, 2, 3, 0.1, 0.2, 0.3, 1.0), strict=True))
    here = VehicleState(np.zeros(3), yaw_quaternion(0.0), np.zeros(3), np.zeros(3))
    radio = Written()
    for _ in range(11):
        vehicle._send_reference(radio, values, here, np.zeros(3))
        now[0] += 20_000_000
    names = [name for name, _ in radio.calls]
    assert names.count("full_state") == 11
    assert 3 <= names.count("activate") <= 5


def test_a_parameter_that_the_firmware_lacks_is_named():
    with running_peer() as port:
        vehicle = CrazyflieVehicle(card(port, "crazyflie_raptor_peer"))
        with vehicle:
            wait_for(lambda: any("rlt.gate" in b for b in vehicle.status.arming_blockers), "it is named")
            with pytest.raises(Refusal, match="no parameter rlt.gate: it was built without it"):
                vehicle.arm()


def test_nobody_there_is_told_in_words():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        vehicle = CrazyflieVehicle(card(probe.getsockname()[1], connect_timeout_s=0.5))
        with pytest.raises(ConfigError, match="no Crazyflie answers.*switch it on"):
            vehicle.connect()
    with pytest.raises(Refusal, match="no observation yet"):
        vehicle.read()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, commands=load_robot_card("px4").commands), "rates_thrust.*RAPTOR on board"),
        (lambda c: replace(c, parameters={"setpoint": "thrust"}), "setpoint 'thrust'.*full_state"),
        (
            lambda c: replace(
                c, commands={n: replace(s, safe_action=SafeAction.HOLD) for n, s in c.commands.items()}
            ),
            "the safe action hold",
        ),
    ],
)
def test_a_card_that_describes_no_crazyflie_is_refused_in_words(change, words):
    with pytest.raises(ConfigError, match=words):
        CrazyflieVehicle(change(load_robot_card("crazyflie")))


# --- the wire without a wire -------------------------------------------------------------------


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: math.hypot(*q) > 0.1))
def test_compressed_quaternions_are_read_as_cflib_writes_them(q):
    from cflib.utils.encoding import compress_quaternion

    unit = np.array(q) / np.linalg.norm(q)
    x, y, z, w = unit
    found = crazyflie_wire.quaternion_of_compressed(compress_quaternion([x, y, z, w]))
    assert abs(found @ [w, x, y, z]) > 1.0 - 1e-4


def test_the_state_is_read_in_our_frames_and_units():
    names = crazyflie_wire.STATE_VARIABLES
    quarter = int(2**30 * 2 + 0)  # z and w equal: the largest is the first of them, z, left out
    packed = quarter | 511
    values = dict(zip(names, (1000, -2000, 500, 0, 1000, 0, packed, 100, -200, 300), strict=True))
    state = crazyflie_wire.state_of_log(values)
    assert state.position.tolist() == [1.0, -2.0, 0.5]
    # Facing north: what moves north moves ahead.
    assert state.orientation == pytest.approx([math.sqrt(0.5), 0, 0, math.sqrt(0.5)], abs=2e-3)
    assert state.linear_velocity == pytest.approx([1.0, 0.0, 0.0], abs=5e-3)
    assert state.angular_velocity == pytest.approx([0.1, 0.2, 0.3])


def test_stamps_follow_the_firmwares_clock_over_its_turn_and_its_restart():
    clock, late = crazyflie_wire.FirmwareClock(), [3_000_000, 1_000_000, 9_000_000]
    begin = (1 << 24) - 2
    found = [clock.stamp_ns((begin + i) % (1 << 24), 10**15 + i * 10**6 + late[i]) for i in range(3)]
    assert found[1] == 10**15 + 2_000_000
    assert found[2] == 10**15 + 3_000_000
    assert clock.stamp_ns(5, 2 * 10**15) <= 2 * 10**15
    clock = crazyflie_wire.FirmwareClock()
    clock.stamp_ns(60_000, 10**15)
    assert clock.stamp_ns(10, 10**15 + 10**9) == 10**15 + 10**9


def test_a_velocity_leads_to_the_reference_and_is_limited():
    state = VehicleState(np.zeros(3), np.array([1.0, 0, 0, 0]), np.zeros(3), np.zeros(3))
    values = {
        "x": 0.1,
        "y": 0.0,
        "z": 0.0,
        "velocity_x": 0.2,
        "velocity_y": 0.0,
        "velocity_z": 0.0,
        "yaw": 0.5,
    }
    velocity, rate = crazyflie_wire.velocity_setpoint(values, state, gain_per_s=2.0, limit_m_s=1.0)
    assert velocity == pytest.approx([0.4, 0.0, 0.0])
    assert rate == pytest.approx(1.0)
    far, _ = crazyflie_wire.velocity_setpoint(values | {"x": 50.0}, state, gain_per_s=2.0, limit_m_s=1.0)
    assert np.linalg.norm(far) == pytest.approx(1.0)


def flying_pilot():
    pilot = CrazyfliePilot(timeout_ns=NS // 2)
    pilot.supervisor, pilot.height_m = Supervisor(ARMED), 0.0
    pilot.take_off(0, 1.0)
    assert pilot.tick(0) == [Move(Step.TAKE_OFF, 1.0, 3.5)]
    pilot.supervisor, pilot.height_m = Supervisor(FLYING), 1.0
    assert pilot.tick(4 * NS) == []
    assert pilot.phase is Phase.READY
    return pilot


def test_silence_hands_over_before_it_lands_and_stops_the_motors_only_when_it_is_down():
    pilot = flying_pilot()
    pilot.command(5 * NS)
    assert pilot.tick(5 * NS) == [Move(Step.SET_POINT)]
    moves = pilot.tick(6 * NS)
    assert [m.step for m in moves] == [Step.HAND_OVER, Step.LAND]
    assert pilot.safe_stopped == "command timeout"
    # A gust held it up: it lands again instead of falling.
    assert [m.step for m in pilot.tick(12 * NS)] == [Step.HAND_OVER, Step.LAND]
    pilot.height_m = 0.03
    pilot.tick(30 * NS)
    assert [m.step for m in pilot.tick(31 * NS)] == [Step.STOP, Step.DISARM]
    pilot.supervisor = Supervisor(UP)
    assert pilot.tick(32 * NS) == []
    assert pilot.phase is Phase.GROUND


def test_a_command_ends_a_safe_stop_in_the_air_and_not_a_landing_on_request():
    pilot = flying_pilot()
    pilot.safe_stop(5 * NS, "the gate fell silent")
    pilot.tick(5 * NS)
    pilot.command(6 * NS)
    assert pilot.phase is Phase.FOLLOWING
    assert pilot.safe_stopped is None
    pilot.land(7 * NS)
    pilot.command(8 * NS)
    assert pilot.phase is Phase.LANDING


def test_the_supervisor_says_in_words_why_it_does_not_arm():
    pilot = CrazyfliePilot()
    for bits, words in (
        (0, "no position estimate"),
        (1 << 5, "upside down"),
        (1 << 6, "restart it"),
        (1 << 7, "has crashed"),
    ):
        pilot.supervisor = Supervisor(bits)
        with pytest.raises(Refusal, match=words):
            pilot.arm(0)
    pilot.supervisor = Supervisor(UP)
    pilot.arm(0)
    assert pilot.tick(0) == [Move(Step.ARM)]
    assert pilot.tick(NS // 10) == []
    assert pilot.tick(10 * NS) == []
    assert pilot.problem == "the Crazyflie did not arm"


@given(st.lists(st.binary(max_size=40), max_size=30))
@settings(max_examples=200, deadline=None)
def test_the_peer_survives_any_packets(packets):
    firmware = CrazyflieFirmware(load_airframe("crazyflie"))
    peer = CrtpPeer(firmware, lambda data: None)
    for packet in packets:
        peer.receive(packet)
        peer.step()
    assert np.isfinite(firmware.body.packed).all()


def test_the_firmware_levels_and_then_stops_when_set_points_stop():
    firmware = CrazyflieFirmware(load_airframe("crazyflie"))
    from sim.peers.cascade import Target

    def run(seconds, target=None):
        for _ in range(round(seconds / 0.004)):
            if target is not None:
                firmware.setpoint(target)
            firmware.step()

    run(0.1)
    assert firmware.arm(wanted=True)
    run(4.0, Target((0.0, 0.0, 1.0), yaw=0.0))
    assert firmware.body.packed[2] > 0.8
    run(1.0)
    assert firmware.is_flying
    assert firmware.body.tilt_rad < 0.1
    run(2.5)
    assert not firmware.is_flying
    assert firmware.body.packed[2] == 0.0
