"""Protects the path over PX4's ROS 2 topics: fields and frames by hand, and a flight without ROS."""

import math

import numpy as np
import pytest
from px4_lockstep import EPOCH_NS, NS

from hardware.command import CommandKind
from hardware.drones import px4_topics
from hardware.drones.px4_modes import Mode
from hardware.drones.px4_pilot import Ask, Phase
from hardware.drones.px4_topics_session import TopicsSession
from hardware.drones.vehicle import ExternalPose
from hardware.errors import ConfigError
from sim.peers.cascade import Target
from sim.peers.px4 import MavlinkPeer, ParameterStore, PeerVehicle, Setpoint
from sim.quadrotor.airframes import load_airframe

REFERENCE = {
    "x": 1.0,
    "y": 2.0,
    "z": 3.0,
    "velocity_x": 0.1,
    "velocity_y": 0.2,
    "velocity_z": 0.3,
    "yaw": 0.0,
}


def test_a_reference_is_told_in_ned_and_leaves_nothing_open_that_raptor_needs():
    fields = px4_topics.trajectory_setpoint(REFERENCE, np.array([4.0, 5.0, 6.0]), 7)
    assert fields["position"] == [2.0, 1.0, -3.0]
    assert fields["velocity"] == [0.2, 0.1, -0.3]
    assert fields["acceleration"] == [5.0, 4.0, -6.0]
    assert fields["yaw"] == pytest.approx(math.pi / 2)
    assert fields["yawspeed"] == 0.0
    assert fields["timestamp"] == 7
    assert all(map(math.isnan, px4_topics.trajectory_setpoint(REFERENCE, None, 7)["acceleration"]))


def test_rates_are_told_in_frd_and_thrust_points_up():
    values = {"roll_rate": 0.1, "pitch_rate": 0.2, "yaw_rate": 0.3, "thrust": 1.0}
    fields = px4_topics.rates_setpoint(values, 0.6, 7)
    assert (fields["roll"], fields["pitch"], fields["yaw"]) == (0.1, -0.2, -0.3)
    assert fields["thrust_body"] == [0.0, 0.0, -0.6]


@pytest.mark.parametrize(
    ("kind", "flag"), [(CommandKind.REFERENCE, "position"), (CommandKind.RATES_THRUST, "body_rate")]
)
def test_exactly_one_flag_tells_what_is_commanded(kind, flag):
    fields = px4_topics.offboard_control_mode(kind, 7)
    assert [n for n, v in fields.items() if v is True] == [flag]


def test_every_message_that_is_published_has_exactly_its_fields():
    pose = ExternalPose(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0, 0, 0]), 5_000, np.array([0.1, 0.2, 0.3]))
    made = {
        "OffboardControlMode": px4_topics.offboard_control_mode(CommandKind.REFERENCE, 7),
        "TrajectorySetpoint": px4_topics.trajectory_setpoint(REFERENCE, None, 7),
        "VehicleRatesSetpoint": px4_topics.rates_setpoint(
            {"roll_rate": 0.0, "pitch_rate": 0.0, "yaw_rate": 0.0}, 0.5, 7
        ),
        "VehicleCommand": px4_topics.vehicle_command(Ask(400, (1.0,) + (0.0,) * 6), 7),
        "VehicleOdometry": px4_topics.visual_odometry(pose, 7),
    }
    assert {n: sorted(f) for n, f in made.items()} == {n: sorted(px4_topics.MESSAGES[n]) for n in made}
    odometry = made["VehicleOdometry"]
    assert odometry["position"] == [2.0, 1.0, -3.0]
    assert odometry["velocity"] == [0.2, 0.1, -0.3]
    assert odometry["timestamp_sample"] == 5


def test_another_version_of_the_messages_is_found_at_start_field_by_field():
    fields = dict(px4_topics.MESSAGES)
    px4_topics.check_messages(fields)
    fields["VehicleStatus"] = tuple(n for n in fields["VehicleStatus"] if n != "nav_state")
    del fields["BatteryStatus"]
    with pytest.raises(
        ConfigError, match=r"lacks VehicleStatus.nav_state, BatteryStatus.timestamp.*BatteryStatus.remaining"
    ):
        px4_topics.check_messages(fields)


def test_the_newest_version_of_a_topic_is_taken():
    there = ["/fmu/out/vehicle_status", "/fmu/out/vehicle_status_v1", "/fmu/out/vehicle_status_v12", "/other"]
    assert px4_topics.topic_of("vehicle_status", there) == "/fmu/out/vehicle_status_v12"
    assert px4_topics.topic_of("vehicle_odometry", there) == "/fmu/out/vehicle_odometry"


class TopicsFlight:
    """A session and the PX4-like vehicle, joined field by field; conversions are written out anew."""

    def __init__(self, **settings):
        self.vehicle = PeerVehicle(
            load_airframe("x500_sim"), parameters=ParameterStore({"COM_OBL_RC_ACT": 4})
        )
        self.peer = MavlinkPeer(self.vehicle, lambda data: None)
        self.session = TopicsSession(timeouts_s=dict.fromkeys(CommandKind, 0.3), **settings)
        self.published = []

    @property
    def now_ns(self):
        return self.vehicle.now_ns

    def run(self, duration_s, each_tick=None, until=None):
        for step in range(round(duration_s * 250)):
            self.peer.step()
            self.tell()
            if step % 5 == 0:
                if each_tick is not None:
                    each_tick(self)
                for name, fields in self.session.tick(
                    data_now_ns=EPOCH_NS + self.now_ns, steady_now_ns=self.now_ns
                ):
                    self.published.append((name, self.session.pilot.mode))
                    getattr(self, f"on_{name}")(fields)
            if until is not None and until(self):
                return
        assert until is None, (self.session.status(self.now_ns), self.session.pilot)

    def tell(self):
        e, commander = self.vehicle.estimate, self.vehicle.commander
        x, y, z = e.position
        vx, vy, vz = e.velocity
        w, i, j, k = e.orientation
        h = math.sqrt(0.5)
        messages = {
            "vehicle_odometry": {
                "timestamp": 0, "timestamp_sample": (EPOCH_NS + self.now_ns) // 1000, "pose_frame": 1,
                "position": [y, x, -z], "q": [h * (w + k), h * (i + j), h * (i - j), h * (w - k)],
                "velocity_frame": 1, "velocity": [vy, vx, -vz],
                "angular_velocity": [e.rates[0], -e.rates[1], -e.rates[2]],
            },
            "vehicle_status": {
                "arming_state": 2 if commander.armed else 1, "nav_state": commander.mode.nav_state,
                "failsafe": bool(commander.failsafe), "pre_flight_checks_pass": not commander.problems(),
            },
            "vehicle_land_detected": {"landed": not commander.is_flying},
            "vehicle_local_position": {"ref_alt": 488.0, "z_global": True},
            "battery_status": {"voltage_v": commander.voltage_v, "remaining": commander.charge},
        }  # fmt: skip
        for topic, fields in messages.items():
            self.session.receive(topic, fields, data_now_ns=EPOCH_NS + self.now_ns, steady_now_ns=self.now_ns)

    def on_vehicle_command(self, f):
        result = self.peer._execute(f["command"], [f[f"param{i}"] for i in range(1, 8)])
        ack = {"command": f["command"], "result": result}
        self.session.receive("vehicle_command_ack", ack, data_now_ns=EPOCH_NS, steady_now_ns=self.now_ns)

    def on_offboard_control_mode(self, f):
        self.vehicle.commander.offboard_signal(self.vehicle.now_s)

    def on_trajectory_setpoint(self, f):
        def enu(v):
            return (v[1], v[0], -v[2])

        target = Target(
            enu(f["position"]),
            enu(f["velocity"]),
            enu(f["acceleration"]),
            math.pi / 2 - f["yaw"],
            -f["yawspeed"],
        )
        self.vehicle.offboard(Setpoint(target=target))

    def on_vehicle_rates_setpoint(self, f):
        self.vehicle.offboard(
            Setpoint(rates=(f["roll"], -f["pitch"], -f["yaw"]), thrust=-f["thrust_body"][2])
        )

    def reference(self, x, y, z, yaw=0.0):
        values = dict(REFERENCE, x=x, y=y, z=z, velocity_x=0.0, velocity_y=0.0, velocity_z=0.0, yaw=yaw)
        self.session.command(CommandKind.REFERENCE, values, self.now_ns, stamp_ns=self.now_ns)

    def up(self, height_m=1.5):
        self.run(1.0, until=lambda f: f.session.state is not None)
        self.session.pilot.arm(self.now_ns)
        self.run(3.0, until=lambda f: f.session.pilot.armed)
        self.session.pilot.take_off(self.now_ns, height_m)
        self.run(10.0, until=lambda f: f.session.status(f.now_ns).follows_commands)


def test_it_flies_over_topics_and_lands_when_commands_stop():
    flight = TopicsFlight()
    flight.up()
    flight.run(4.0, lambda f: f.reference(1.0, -0.5, 2.0, yaw=0.7))
    assert flight.session.pilot.phase is Phase.FOLLOWING
    assert flight.vehicle.body.packed[0:3] == pytest.approx([1.0, -0.5, 2.0], abs=0.15)
    assert flight.vehicle.estimate.yaw == pytest.approx(0.7, abs=0.1)
    state = flight.session.state
    assert state.position == pytest.approx(flight.vehicle.body.packed[0:3], abs=0.05)
    assert abs(state.stamp_ns - EPOCH_NS - flight.now_ns) < 20_000_000
    # Set-points act in any mode on this path: none may leave before the vehicle reports OFFBOARD.
    modes = {mode for name, mode in flight.published if name == "trajectory_setpoint"}
    assert modes == {Mode.OFFBOARD}
    assert any(name == "offboard_control_mode" and mode is Mode.HOLD for name, mode in flight.published)
    flight.run(12.0, until=lambda f: not f.session.pilot.armed)
    assert flight.session.pilot.safe_stopped == "command timeout"
    assert 0.9 < flight.session.status(flight.now_ns).battery_share <= 1.0


def test_rates_over_topics_turn_it_as_flu_has_it():
    flight = TopicsFlight(hover_thrust=load_airframe("x500_sim").hover_effort)
    flight.up(2.0)

    def each_tick(f):
        z, vz = f.session.state.position[2], f.vehicle.body.packed[9]
        values = {
            "roll_rate": 0.0,
            "pitch_rate": 0.0,
            "yaw_rate": -0.5,
            "thrust": 1.0 + 0.4 * (2.0 - z) - 0.3 * vz,
        }
        f.session.command(CommandKind.RATES_THRUST, values, f.now_ns, stamp_ns=f.now_ns)

    flight.run(2.0, each_tick)
    assert flight.vehicle.body.packed[12] == pytest.approx(-0.5, abs=0.1)
    assert flight.vehicle.body.packed[2] == pytest.approx(2.0, abs=0.4)


def test_what_cannot_be_used_is_counted_and_a_silent_vehicle_is_told():
    flight = TopicsFlight()
    flight.run(0.1)
    bad = {"pose_frame": 2, "velocity_frame": 1, "q": [1, 0, 0, 0], "timestamp_sample": 0}
    bad |= dict.fromkeys(("velocity", "position", "angular_velocity"), [0, 0, 0])
    flight.session.receive("vehicle_odometry", bad, data_now_ns=0, steady_now_ns=0)
    flight.session.receive(
        "vehicle_odometry", bad | {"pose_frame": 1, "q": [math.nan] * 4}, data_now_ns=0, steady_now_ns=0
    )
    assert flight.session.unusable == 2
    assert "link lost" in flight.session.status(flight.now_ns + 3 * NS).mode
    assert not flight.session.status(flight.now_ns + 3 * NS).follows_commands
