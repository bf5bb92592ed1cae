"""Protects what the PX4-like vehicle does where a client can tell: refusals, failsafes, set-points."""

import json
import math
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.drones.mavlink import Encoder, Framer
from hardware.drones.px4_modes import Mode
from hardware.drones.px4_setpoints import TextPieces
from hardware.errors import ConfigError
from sim.peers.mocap import POSE
from sim.peers.px4 import MavlinkPeer, ParameterStore, PeerVehicle
from sim.peers.px4.__main__ import main
from sim.peers.px4.telemetry import RATES_HZ
from sim.quadrotor.airframes import load_airframe

NAN = math.nan
IGNORE_ALL = 0b111111111 | 1024 | 2048


class Client:
    """A ground station that speaks raw MAVLink to a vehicle in lockstep."""

    def __init__(self, **parameters):
        self.vehicle = PeerVehicle(load_airframe("x500_sim"), parameters=ParameterStore(parameters))
        self.encoder, self.framer = Encoder(system=255, component=190), Framer(keeps_rest=False)
        self.common = self.encoder.common
        self.heard, self.texts, self._pieces = [], [], TextPieces()
        self.peer = MavlinkPeer(self.vehicle, self._take)
        self.run(0.2)

    def _take(self, data):
        for received in self.framer.feed(data):
            self.heard.append(received.message)
            if received.name == "STATUSTEXT":
                m = received.message
                self.texts.append(self._pieces.add(m.id, m.chunk_seq, m.text))

    def send(self, message):
        self.peer.receive(self.encoder.encode(message))

    def command(self, command, *numbers):
        """Ask, and give the result of the answer."""
        self.heard.clear()
        padded = [*numbers, *[0.0] * (7 - len(numbers))]
        self.send(self.common.MAVLink_command_long_message(1, 1, command, 0, *padded))
        return self.last("COMMAND_ACK").result

    def mode(self, mode):
        return self.command(176, 1.0, mode.main, mode.sub)

    def last(self, name):
        return [m for m in self.heard if m.get_type() == name][-1]

    def position_target(
        self, mask, *, frame=1, p=(NAN, NAN, NAN), v=(NAN, NAN, NAN), a=(NAN, NAN, NAN), yaw=NAN, rate=NAN
    ):
        self.send(
            self.common.MAVLink_set_position_target_local_ned_message(
                0, 1, 1, frame, mask, *p, *v, *a, yaw, rate
            )
        )

    def run(self, seconds, each_step=None, until=None):
        for _ in range(round(seconds * 250)):
            if each_step is not None:
                each_step()
            self.peer.step()
            if until is not None and until():
                return
        assert until is None, self.texts[-5:]

    def up(self, height_m=2.0):
        self.vehicle.parameters.set("MIS_TAKEOFF_ALT", height_m)
        assert self.command(400, 1.0) == 0
        assert self.command(22, NAN, 0.0, 0.0, NAN, NAN, NAN, NAN) == 0
        self.run(
            12.0, until=lambda: self.vehicle.commander.mode is Mode.HOLD and self.vehicle.commander.is_flying
        )
        return self

    @property
    def packed(self):
        return self.vehicle.body.packed


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (Mode.OFFBOARD, "no offboard signal"),
        (Mode.POSCTL, "no manual control"),
        (Mode.MISSION, "there is no mission"),
        (Mode.EXTERNAL1, "no mode is registered as External 1"),
        (Mode.EXTERNAL3, "no mode is registered as External 3"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_in_words(mode, words):
    client = Client()
    assert client.mode(mode) == 1
    assert client.texts[-1] == f"Switching to {mode.word} is not possible: {words}"
    assert client.vehicle.commander.mode is Mode.HOLD


def test_nonsense_is_refused():
    client = Client()
    assert client.command(176, 1.0, 99.0, 0.0) == 2
    assert client.command(176, 0.0, 6.0, 0.0) == 2
    assert client.command(31337) == 3
    assert client.command(22) == 1
    assert client.command(511, 331.0, NAN) == 3
    client.position_target(0, p=(NAN, NAN, NAN), v=(NAN, NAN, NAN), a=(NAN, NAN, NAN), yaw=NAN, rate=NAN)
    client.position_target(512, p=(0.0, 0.0, -1.0))
    client.run(0.1)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"CAL_ACC0_ID": 0}, "Acc 0 uncalibrated"),
        ({"SIM_GPS_USED": 3, "COM_ARM_WO_GPS": 0}, "GPS fix too low"),
        ({"EKF2_EV_CTRL": 15}, "No valid local position estimate"),
    ],
)
def test_it_does_not_arm_and_says_why(parameters, words):
    client = Client(**parameters)
    client.run(1.5)
    assert client.command(400, 1.0) == 1
    assert f"Preflight Fail: {words}" in client.texts
    assert "Arming denied" in client.texts[-1]
    assert not client.last("HEARTBEAT").base_mode & 128
    # Forced, it arms all the same, as PX4 does.
    assert client.command(400, 1.0, 21196.0) == 0
    assert client.vehicle.commander.armed


def test_armed_and_not_flown_it_disarms_and_in_the_air_it_does_not():
    client = Client(COM_DISARM_PRFLT=2.0)
    client.command(400, 1.0)
    client.run(3.0, until=lambda: not client.vehicle.commander.armed)
    assert client.texts[-1] == "Disarmed: no takeoff"
    client.up()
    assert client.command(400, 0.0) == 1
    assert client.texts[-1] == "Disarming denied: not landed"


@pytest.mark.parametrize(
    ("action", "mode"), [(3, Mode.RETURN), (4, Mode.LAND), (5, Mode.HOLD), (0, Mode.RETURN)]
)
def test_the_loss_of_set_points_ends_as_the_parameter_says_and_is_cleared_when_they_return(action, mode):
    client = Client(COM_OBL_RC_ACT=action, COM_OF_LOSS_T=0.5).up()

    def hold():
        client.position_target(IGNORE_ALL & ~7, p=(0.0, 0.0, -2.0))

    client.run(0.2, hold)
    assert client.mode(Mode.OFFBOARD) == 0
    client.run(1.0, hold)
    assert client.vehicle.commander.mode is Mode.OFFBOARD
    client.run(0.6)
    assert client.vehicle.commander.mode is mode
    assert client.texts[-1] == f"Failsafe activated: no offboard signal, {mode.word}"
    client.heard.clear()
    client.run(1.1)
    assert client.last("HEARTBEAT").system_status == client.common.MAV_STATE_CRITICAL
    client.run(0.5, hold)
    assert client.vehicle.commander.mode is Mode.OFFBOARD


def test_the_loss_of_the_ground_station_lands_it_where_that_is_asked_for():
    client = Client(NAV_DLL_ACT=3, COM_DL_LOSS_T=1.0)
    beat = client.common.MAVLink_heartbeat_message(6, 8, 0, 0, 4, 3)
    client.send(beat)
    client.vehicle.parameters.set("NAV_DLL_ACT", 0)
    client.up()
    client.vehicle.parameters.set("NAV_DLL_ACT", 3)
    client.send(beat)
    client.run(0.5)
    assert client.vehicle.commander.mode is Mode.HOLD
    client.run(1.0, until=lambda: client.vehicle.commander.mode is Mode.LAND)
    assert "ground station lost" in client.texts[-1]


def test_it_returns_home_lands_and_disarms():
    client = Client(RTL_RETURN_ALT=3.0).up()

    def go():
        client.position_target(IGNORE_ALL & ~7, p=(2.0, 1.0, -2.0))

    client.run(0.2, go)
    client.mode(Mode.OFFBOARD)
    client.run(4.0, go)
    assert client.packed[0:2] == pytest.approx([1.0, 2.0], abs=0.3)
    assert client.command(20) == 0
    highest = [0.0]

    def look():
        highest[0] = max(highest[0], client.packed[2])

    client.run(40.0, look, until=lambda: not client.vehicle.commander.armed)
    assert highest[0] > 2.7
    assert client.packed[0:3] == pytest.approx([0.0, 0.0, 0.0], abs=0.4)
    assert client.texts[-1] == "Disarmed by landing"


def offboard(client, each_step, seconds):
    client.run(0.1, each_step)
    assert client.mode(Mode.OFFBOARD) == 0
    client.run(seconds, each_step)


def test_velocities_of_the_world_and_of_the_heading_mean_what_ned_says():
    client = Client().up()
    # North, east, down; ENU in the body's truth.
    offboard(client, lambda: client.position_target(IGNORE_ALL & ~56, v=(0.8, 0.0, 0.0)), 3.0)
    assert client.packed[7:10] == pytest.approx([0.0, 0.8, 0.0], abs=0.15)
    # It faces north at first; told to face east, ahead is east.
    mask = IGNORE_ALL & ~56 & ~1024
    client.run(4.0, lambda: client.position_target(mask, v=(0.0, 0.0, 0.0), yaw=math.pi / 2))
    assert client.vehicle.estimate.yaw == pytest.approx(0.0, abs=0.1)
    client.run(3.0, lambda: client.position_target(IGNORE_ALL & ~56, frame=8, v=(0.8, 0.0, 0.0)))
    assert client.packed[7:10] == pytest.approx([0.8, 0.0, 0.0], abs=0.15)


def test_accelerations_alone_are_followed():
    client = Client().up()
    offboard(client, lambda: client.position_target(IGNORE_ALL & ~448, a=(1.0, 0.0, 0.0)), 1.0)
    assert client.packed[8] > 0.4


def test_an_attitude_with_thrust_tilts_it_as_frd_says():
    client = Client().up(5.0)
    hover = client.vehicle.parameters["MPC_THR_HOVER"]
    # Nose down by 0.15 rad, facing north: it accelerates north.
    q = [math.cos(0.075), 0.0, -math.sin(0.075), 0.0]

    def tilt():
        client.send(client.common.MAVLink_set_attitude_target_message(0, 1, 1, 7, q, 0.0, 0.0, 0.0, hover))

    offboard(client, tilt, 1.5)
    assert client.packed[8] > 0.5
    assert abs(client.packed[7]) < 0.2


def test_parameters_keep_their_types():
    client = Client()
    client.send(client.common.MAVLink_param_request_list_message(1, 1))
    values = [m for m in client.heard if m.get_type() == "PARAM_VALUE"]
    assert len(values) == len(client.vehicle.parameters)
    integer = next(m for m in values if m.param_id == "SYS_AUTOSTART")
    assert integer.param_type == 6
    assert struct.unpack("<i", struct.pack("<f", integer.param_value))[0] == 4001
    # A real for an integer is not taken.
    client.send(client.common.MAVLink_param_set_message(1, 1, b"COM_OBL_RC_ACT", 4.0, 9))
    assert client.vehicle.parameters["COM_OBL_RC_ACT"] == 0
    # For another vehicle: not ours.
    client.send(client.common.MAVLink_param_set_message(9, 1, b"MPC_TKO_SPEED", 9.0, 9))
    assert client.vehicle.parameters["MPC_TKO_SPEED"] == 1.5
    with pytest.raises(ConfigError, match="no parameter 'COM_TYPO'"):
        ParameterStore({"COM_TYPO": 1.0})


def test_messages_come_at_the_rate_that_was_asked_for():
    client = Client()
    assert client.command(511, 331.0, 10_000.0) == 0
    assert client.command(511, 32.0, -1.0) == 0
    client.heard.clear()
    client.run(2.0)
    names = [m.get_type() for m in client.heard]
    assert 195 <= names.count("ODOMETRY") <= 205
    assert names.count("LOCAL_POSITION_NED") == 0
    assert names.count("ATTITUDE") == pytest.approx(2 * RATES_HZ["ATTITUDE"], abs=4)


def test_a_low_battery_is_told_and_ends_in_a_landing():
    client = Client(COM_LOW_BAT_ACT=3, SIM_BAT_DRAIN=12.0, SIM_BAT_MIN_PCT=1.0, RTL_RETURN_ALT=3.0).up()
    client.run(40.0, until=lambda: not client.vehicle.commander.armed)
    said = " / ".join(client.texts)
    assert "Low battery, 15 % left" in said
    assert "Failsafe activated: battery critical, AUTO.RETURN" in said
    assert "Failsafe activated: battery nearly empty, AUTO.LAND" in said


def test_the_same_seed_flies_the_same_flight():
    def fly():
        client = Client().up(1.0)
        return client.packed

    assert fly() == fly()


# --- the process -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "COM_OBL_RC_ACT"], "NAME=VALUE with a number"),
        (["--set", "NO_SUCH=1"], "no parameter 'NO_SUCH'"),
        (["--to", "nowhere"], "'nowhere' is no address"),
        (["--card", "crazyflie"], "udpin:HOST:PORT"),
        (["--airframe", "brick"], "no airframe 'brick'"),
    ],
)
def test_bad_arguments_are_told_in_words(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_card_gives_it_its_addresses_and_it_is_filmed(tmp_path):
    import yaml

    from hardware.cards import library

    text = (library._FOLDER / "px4_mocap_peer.yaml").read_text(encoding="utf-8")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as driver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as film,
    ):
        for s in (driver, film):
            s.bind(("127.0.0.1", 0))
            s.settimeout(60.0)
        data = yaml.safe_load(text)
        data["parameters"] |= {
            "link": f"udpin:127.0.0.1:{driver.getsockname()[1]}",
            "mocap_port": film.getsockname()[1],
        }
        path, trace = tmp_path / "card.yaml", tmp_path / "flight.npz"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        assert load_robot_card(path).driver == "px4"
        process = subprocess.Popen(
            [sys.executable, "-m", "sim.peers.px4", "--card", str(path), "--trace", str(trace)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            ready = process.stdout.readline()
            assert json.loads(ready.removeprefix("ready "))["port"] > 0
            assert driver.recv(2048)[0] == 0xFD
            stamp_ns, *pose = POSE.unpack(film.recv(2048))
            assert stamp_ns > 10**18
            assert pose[0:3] == [0.0, 0.0, 0.0]
            assert np.linalg.norm(pose[3:7]) == pytest.approx(1.0)
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0
            process.stdout.close()
    from sim.twin.trace import Trace

    assert len(Trace.load(trace).time_ns) > 0
