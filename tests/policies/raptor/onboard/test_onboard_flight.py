"""Protects RAPTOR inside a flight controller: late poses are made current, stale inputs end the flight.

`raptor_flight.c`, compiled for this machine, flies a simulated vehicle at 1 kHz from its own attitude,
gyro and accelerometer, and from poses that reach it late through the message of `raptor_msp.h`.
"""

import ctypes
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from onboard_c import HERE, ONBOARD, FloatPointer, library, pointer

from hardware.drones.outer_loop import Setpoint
from hardware.drones.pose import PoseState
from hardware.drones.raptor_feed import REASONS, VERDICTS, Feeder, FlightState, OnboardStatus
from hardware.frames import rotation_matrix
from policies.raptor import PUBLISHED
from policies.raptor.contract import card_onboard_rate_hz
from policies.raptor.export_c import export_c, read_policy
from sim.quadrotor.airframes import load_airframe
from sim.quadrotor.batch import step_batch
from sim.quadrotor.dynamics import make_state
from sim.quadrotor.fleet_airframes import AirframeBatch

POLICIES = sorted(path.parent for path in PUBLISHED.parent.glob("*/card.yaml"))
FEED = struct.Struct("<BBHI3f3f4f3f3ff")
ANSWER = struct.Struct("<BBBBHI")
STATUS = struct.Struct("<BBBB7I4H3I3f3ff4f8s")
POSE, ORIENTATION, REFERENCE, STAMPED = 1, 2, 4, 8
OFF, WAITING, FLYING, LOCKED = range(4)
(NONE, SWITCH_OFF, DISARMED, FAILSAFE, SELF_TEST, NO_POSE, POSE_STALE) = range(7)
NO_REFERENCE, REFERENCE_STALE, NOT_FINITE, DISAGREES, OUTPUT, CLOCK = range(7, 13)
TAKEN, BAD_NUMBER, NOT_UNIT, OLD, REPEATED, AHEAD, JUMPED, EMPTY = range(8)
ON, ARMED, FAILING, NO_ACCELEROMETER, REPEATING, NEW = 1, 2, 4, 8, 16, 32
START_US = 2**32 - 2_000_000  # the low 32 bits of the clock wrap in every flight
UP = np.array([0.0, 0.0, 9.80665])


def flight_library(exported, out):
    """`raptor_flight.c` with an exported policy, behind flat functions."""
    folder = ONBOARD / "betaflight"
    sources = [folder / "raptor_flight.c", HERE / "flight_shim.c", exported / "raptor_policy.c"]
    loaded = library(sources, out, [exported, folder])
    loaded.shim_feed.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_char_p]
    loaded.shim_force_delay.argtypes = [ctypes.c_float]
    loaded.shim_status.argtypes = [ctypes.c_uint64, ctypes.c_char_p]
    loaded.shim_update.argtypes = [ctypes.c_uint64, *[FloatPointer] * 3, ctypes.c_uint32, FloatPointer]
    return loaded


@pytest.fixture(scope="module")
def c(exported, tmp_path_factory):
    """The published policy."""
    return flight_library(exported, tmp_path_factory.mktemp("flight") / "flight.so")


def turned(yaw, q):
    """A quaternion turned about the world's z axis."""
    w, z = np.cos(yaw / 2), np.sin(yaw / 2)
    return np.array([w * q[0] - z * q[3], w * q[1] - z * q[2], w * q[2] + z * q[1], w * q[3] + z * q[0]])


def feed_bytes(*, flags=POSE | ORIENTATION | REFERENCE | STAMPED, version=1, sequence=7, stamp=0, **values):
    """An MSP2_RAPTOR_FEED payload."""
    fields = {
        "position": np.zeros(3),
        "velocity": np.zeros(3),
        "orientation": np.array([1.0, 0, 0, 0]),
        "reference": np.zeros(3),
        "speed": np.zeros(3),
        "yaw": 0.0,
    } | values
    parts = (fields[name] for name in ("position", "velocity", "orientation", "reference", "speed"))
    numbers = np.concatenate([np.asarray(part, float) for part in parts])
    return FEED.pack(version, flags, sequence, stamp % 2**32, *numbers, fields["yaw"])


@dataclass
class Status:
    """An MSP2_RAPTOR_STATUS answer by name."""

    data: bytes
    values: tuple = field(init=False)

    def __post_init__(self):
        self.values = STATUS.unpack(self.data)
        self.version, self.state, self.reason, self.handback_reason, self.clock = self.values[:5]
        self.activations, self.handbacks, self.native, self.intermediate, self.taken, self.refused = (
            self.values[5:11]
        )
        self.step_hz, self.native_hz, self.feed_hz, self.flags = self.values[11:15]
        self.pose_age, self.reference_age, self.latency = self.values[15:18]
        self.position, self.velocity = np.array(self.values[18:21]), np.array(self.values[21:24])
        self.yaw_offset, self.action, self.checkpoint = self.values[24], self.values[25:29], self.values[29]


@dataclass
class Flight:
    """A vehicle in closed loop with the C code, with a tracker behind a late, jittering link."""

    c: ctypes.CDLL
    airframe: str = "x500_real"
    # What the link does: seconds from capture to arrival, at least and at most, and poses a second.
    latency_s: tuple = (0.0, 0.0)
    rate_hz: float = 100.0
    stamped: bool = True
    # Heading of the flight controller's own frame in the world.
    heading: float = 0.7
    # Standard deviations, and the accelerometer's constant error.
    position_noise: float = 0.0
    velocity_noise: float = 0.0
    acceleration_bias: float = 0.0
    switches: int = ON | ARMED
    seed: int = 0
    # Cutoff of the accelerometer's filter, two low passes in series as Betaflight's; None: none.
    accelerometer_hz: float | None = None
    # By how much too early the poses' stamps are, microseconds.
    stamp_error_us: int = 0
    # Evaluations a second: what the policy's card says.
    rate: int = 500

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        airframe = load_airframe(self.airframe)
        self.fleet, self.hover = AirframeBatch.of([airframe]), np.full(4, airframe.hover_effort)
        self.place((0.2, -0.1, 0.1))
        self.now_us, self.force, self.queue, self.next_pose_us = START_US, UP, [], START_US
        self.tracker_on = self.reference_on = True
        self.spoil_sensor = None
        self.positions, self.flying, self.motors = [], [], []
        self.c.shim_init(1000, 1000 // self.rate)
        time_constant = 1 / (2 * np.pi * 1.553774 * self.accelerometer_hz) if self.accelerometer_hz else 0.0
        self.smoothing = 1 - np.exp(-1e-3 / time_constant) if time_constant else 1.0
        self.stages = [UP, UP]
        self.c.shim_force_delay(2 * time_constant)

    def place(self, position):
        """Put the vehicle somewhere, at rest."""
        start = make_state(position=position, effort=self.hover).packed
        self.state = np.ascontiguousarray(start[:, None], np.float32)

    @property
    def position(self):
        """Metres, world."""
        return self.state[0:3, 0].astype(float)

    @property
    def orientation(self):
        """Quaternion, body to world."""
        return self.state[3:7, 0].astype(float)

    @property
    def velocity(self):
        """Metres a second, world."""
        return self.state[7:10, 0].astype(float)

    def reference(self):
        """Position and velocity to track now."""
        return np.zeros(3), np.zeros(3)

    def run(self, seconds):
        """Fly on; the distances to the reference."""
        errors = []
        for _ in range(round(seconds * 1000)):
            self.tick()
            errors.append(np.linalg.norm(self.position - self.reference()[0]))
        return np.array(errors)

    def tick(self):
        self._track()
        q, rates = turned(-self.heading, self.orientation), self.state[10:13, 0]
        for stage, value in enumerate((self.force, self.stages[0])):
            self.stages[stage] = self.stages[stage] + self.smoothing * (value - self.stages[stage])
        force = self.stages[1] + self.acceleration_bias
        sensors = {"q": q, "rates": rates, "force": force}
        if self.spoil_sensor is not None:
            sensors[self.spoil_sensor] = sensors[self.spoil_sensor] * np.nan
        action = np.full(4, 9.0, np.float32)
        flies = self.c.shim_update(
            self.now_us, *(pointer(v) for v in sensors.values()), self.switches, pointer(action)
        )
        if not flies:
            assert (action == 9.0).all()
        self.flying.append(bool(flies))
        self.motors.append(action)
        effort = np.ascontiguousarray(((action + 1) / 2 if flies else self.hover)[:, None], np.float32)
        before = self.velocity
        self.state = step_batch(self.fleet, self.state, effort, dt_s=1e-3)
        acceleration = (self.velocity - before) / 1e-3
        self.force = rotation_matrix(self.orientation[None])[0].T @ (acceleration + UP)
        self.now_us += 1000

    def _track(self):
        if self.now_us >= self.next_pose_us:
            self.next_pose_us += round(1e6 / self.rate_hz)
            late_us = round(1e6 * self.rng.uniform(*self.latency_s))
            seen = self.position, self.velocity, self.orientation
            self.queue.append((self.now_us + late_us, self.now_us, seen))
        while self.queue and self.queue[0][0] <= self.now_us:
            _, captured_us, (position, velocity, orientation) = self.queue.pop(0)
            flags = POSE | ORIENTATION if self.tracker_on else 0
            flags |= REFERENCE if self.reference_on else 0
            if not flags:
                continue
            reference, speed = self.reference()
            self.answer = self.feed(
                flags=flags | (STAMPED if self.stamped else 0),
                stamp=captured_us - self.stamp_error_us if self.stamped else 0,
                position=position + self.position_noise * self.rng.standard_normal(3),
                velocity=velocity + self.velocity_noise * self.rng.standard_normal(3),
                orientation=orientation,
                reference=reference,
                speed=speed,
            )

    def feed(self, **values):
        """Send one message now; the answer (version, state, reason, verdict, sequence, clock)."""
        return send(self.c, self.now_us, feed_bytes(**values))

    def status(self):
        answer = ctypes.create_string_buffer(STATUS.size)
        self.c.shim_status(self.now_us, answer)
        return Status(answer.raw)


class FigureEight(Flight):
    """The same, on a figure eight of 5.5 s."""

    def reference(self):
        w, t = 2 * np.pi / 5.5, max(0.0, 1e-6 * (self.now_us - START_US) - 2.0)
        # The first second ramps the phase's speed up.
        phase, speed = (w * t * t / 2, w * t) if t < 1 else (w * (t - 0.5), w)
        where = np.array([np.sin(phase), 0.5 * np.sin(2 * phase), 0.0])
        return where, speed * np.array([np.cos(phase), np.cos(2 * phase), 0.0])


def send(c, now_us, payload):
    answer = ctypes.create_string_buffer(ANSWER.size)
    return ANSWER.unpack(answer.raw) if c.shim_feed(now_us, payload, len(payload), answer) else None


def rms(errors):
    return float(np.sqrt((errors**2).mean()))


NOISY = {"position_noise": 0.001, "velocity_noise": 0.03, "acceleration_bias": 0.2}


def test_hovers_as_with_perfect_knowledge(c):
    flight = Flight(c)
    flight.run(4.0)
    assert rms(flight.run(1.0)) < 0.03
    status = flight.status()
    assert (status.state, status.reason, status.activations, status.handbacks) == (FLYING, NONE, 1, 0)
    assert np.linalg.norm(status.position - flight.position) < 1e-3
    assert np.linalg.norm(status.velocity - flight.velocity) < 5e-3
    assert status.yaw_offset == pytest.approx(0.7, abs=1e-3)
    assert status.flags == 0b1011
    assert (status.step_hz, status.native_hz, status.feed_hz) == (500, 100, 100)
    assert status.checkpoint.hex() == read_policy(PUBLISHED).card.files["model.safetensors"][:16]


@pytest.mark.parametrize("folder", POLICIES, ids=lambda folder: folder.name)
def test_every_policy_holds_its_motors_still_at_the_rate_on_its_card(folder, tmp_path):
    export_c(folder, tmp_path / "c")
    loaded = flight_library(tmp_path / "c", tmp_path / "flight.so")
    rate = card_onboard_rate_hz(read_policy(folder).card)
    # As inside the firmware: a filtered accelerometer, and a clock that is learnt over a slow link.
    flight = Flight(
        loaded,
        airframe="arpl",
        rate=rate,
        latency_s=(0.01, 0.02),
        rate_hz=50.0,
        accelerometer_hz=25.0,
        stamp_error_us=10_000,
    )
    flight.run(2.0)
    # A gust of 1 m/s upwards: a loop that swings by itself would go on after it.
    flight.state[9, 0] += 1.0
    flight.run(3.0)
    assert rms(flight.run(1.0)) < 0.12
    assert np.array(flight.motors[-1000:]).std(axis=0).max() < 0.05


def test_stamps_make_up_for_a_slow_and_jittering_link(c):
    late = {"latency_s": (0.03, 0.06), "rate_hz": 50.0, **NOISY}
    errors, estimates = {}, {}
    for name, link in {"at once": {}, "stamped": late, "unstamped": {**late, "stamped": False}}.items():
        flight = FigureEight(c, **link)
        flight.run(3.0)
        errors[name] = rms(flight.run(5.5))
        assert all(flight.flying[500:])
        estimates[name] = np.linalg.norm(flight.status().position - flight.position)
    # The vehicle tracks as if its poses came at once, because it knows where it is. It moves at 1.6 m/s:
    # without stamps, it takes the place where it was for the place where it is.
    assert errors["stamped"] < 1.15 * errors["at once"] < 0.3
    assert estimates["stamped"] < 0.02 < 0.04 < estimates["unstamped"]


@pytest.mark.parametrize(
    ("rate", "samples_apart", "expected", "native"),
    # The hidden state advances at the answers nearest to 10 ms: after 9 ms, 12 ms and 10 ms.
    [(500, 3, 333, 111), (100, 4, 83, 83), (100, 5, 100, 100)],
)
def test_repeating_sensors_are_answered_with_their_new_sample(c, rate, samples_apart, expected, native):
    flight = Flight(c, rate=rate)
    answered = []
    for tick in range(4000):
        flight.switches = ON | ARMED | REPEATING | (NEW if tick % samples_apart == 0 else 0)
        flight.tick()
        if tick > 1000 and (flight.motors[-1] != flight.motors[-2]).any():
            answered.append(tick % samples_apart)
    assert set(answered) == {0}
    status = flight.status()
    assert status.step_hz == pytest.approx(expected, abs=1)
    assert status.native_hz == pytest.approx(native, abs=1)


def test_flies_a_light_vehicle_without_accelerometer(c):
    flight = Flight(c, airframe="crazyflie", switches=ON | ARMED | NO_ACCELEROMETER, latency_s=(0.01, 0.01))
    flight.run(4.0)
    assert rms(flight.run(1.0)) < 0.1


def test_starts_only_when_everything_is_there(c):
    flight = Flight(c, switches=0)
    flight.tracker_on = flight.reference_on = False
    for change, state, reason in (
        ({}, OFF, SWITCH_OFF),
        ({"switches": ON}, WAITING, DISARMED),
        ({"switches": ON | ARMED | FAILING}, WAITING, FAILSAFE),
        ({"switches": ON | ARMED}, WAITING, NO_POSE),
        ({"tracker_on": True}, WAITING, NO_REFERENCE),
        ({"reference_on": True}, FLYING, NONE),
    ):
        for name, value in change.items():
            setattr(flight, name, value)
        flight.run(0.1)
        status = flight.status()
        assert (status.state, status.reason) == (state, reason)
    flight.switches = ARMED
    flight.run(0.01)
    assert flight.status().state == OFF
    assert flight.status().handbacks == 0


def test_a_stale_pose_hands_back_within_100_ms_and_flies_again_when_it_returns(c):
    flight = Flight(c)
    flight.run(1.0)
    flight.tracker_on = False
    flight.run(0.2)
    # The last pose was captured at most 10 ms before.
    assert 90 <= flight.flying[1000:].count(True) <= 101
    status = flight.status()
    assert (status.state, status.reason, status.handback_reason) == (WAITING, POSE_STALE, POSE_STALE)
    assert (status.handbacks, status.activations) == (1, 1)
    flight.tracker_on = True
    flight.run(0.03)
    assert not flight.flying[-1]
    flight.run(0.05)
    assert flight.flying[-1]
    assert flight.status().activations == 2


def test_a_stale_reference_is_held_for_a_second_then_handed_back(c):
    flight = Flight(c)
    flight.run(2.0)
    where = flight.position.copy()
    flight.reference_on = False
    flight.run(0.3)
    assert flight.status().flags & 4
    flight.run(0.8)
    assert flight.flying[-1]
    assert np.linalg.norm(flight.position - where) < 0.05
    flight.run(0.2)
    status = flight.status()
    assert (status.state, status.reason, status.handbacks) == (WAITING, REFERENCE_STALE, 1)
    flight.reference_on = True
    flight.run(0.1)
    assert flight.flying[-1]
    assert not flight.status().flags & 4


@pytest.mark.parametrize("sensor", ["q", "rates", "force"])
def test_a_spoilt_sensor_locks_until_the_switch_is_turned(c, sensor):
    flight = Flight(c)
    flight.run(0.5)
    flight.spoil_sensor = sensor
    flight.run(0.005)
    flight.spoil_sensor = None
    flight.run(0.3)
    status = flight.status()
    assert (status.state, status.reason, status.handbacks) == (LOCKED, NOT_FINITE, 1)
    flight.switches = ARMED
    flight.run(0.01)
    flight.switches = ON | ARMED
    flight.run(0.1)
    assert flight.flying[-1]


def test_a_spoilt_network_state_locks(c):
    flight = Flight(c)
    flight.run(0.5)
    c.shim_spoil()
    flight.run(0.1)
    assert (flight.status().state, flight.status().reason) == (LOCKED, OUTPUT)


def test_a_tilt_that_disagrees_locks_and_a_heading_does_not(c):
    flight = Flight(c)
    flight.run(0.5)
    flight.heading += 0.4
    flight.run(0.5)
    assert flight.flying[-1]
    tilted = np.array([np.cos(0.25), np.sin(0.25), 0, 0])
    for _ in range(12):
        assert flight.feed(position=flight.position, orientation=tilted, stamp=flight.now_us)[3] == TAKEN
        flight.tracker_on = False
        flight.run(0.01)
    assert (flight.status().state, flight.status().reason) == (LOCKED, DISAGREES)


def test_a_clock_that_jumps_back_begins_anew(c):
    flight = Flight(c)
    flight.run(0.5)
    flight.now_us -= 5_000_000
    flight.next_pose_us, flight.queue = flight.now_us, []
    flight.run(0.001)
    assert (flight.status().state, flight.status().reason) == (WAITING, CLOCK)
    flight.run(0.2)
    assert flight.flying[-1]


def test_messages_are_judged_by_what_they_hold(c):
    flight = Flight(c)
    flight.run(0.5)
    here = {"position": flight.position, "orientation": flight.orientation}
    now = flight.now_us

    def verdict(**values):
        return flight.feed(**{"stamp": now, **here, **values})[3]

    assert verdict(position=[np.nan, 0, 0]) == BAD_NUMBER
    assert verdict(velocity=[0, np.inf, 0]) == BAD_NUMBER
    assert verdict(reference=[0, 0, np.nan]) == BAD_NUMBER
    assert verdict(speed=[-np.inf, 0, 0]) == BAD_NUMBER
    assert verdict(yaw=np.nan) == BAD_NUMBER
    assert verdict(orientation=[0, 0, 0, 0]) == NOT_UNIT
    assert verdict(stamp=now - 250_000) == OLD
    assert verdict(stamp=now + 20_000) == AHEAD
    assert verdict(position=[3, 0, 0]) == JUMPED
    assert verdict(flags=0) == EMPTY
    assert verdict(flags=STAMPED) == EMPTY
    assert verdict() == TAKEN
    assert verdict() == REPEATED
    # What is not flagged may hold anything.
    assert verdict(flags=REFERENCE, position=[np.nan] * 3, orientation=[0, 0, 0, 0]) == TAKEN
    assert flight.feed(sequence=0xBEEF)[4:] == (0xBEEF, now % 2**32)


def test_messages_of_another_shape_are_errors(c):
    good = feed_bytes()
    assert send(c, START_US, good) is not None
    for payload in (b"", good[:-1], good + b"\0", feed_bytes(version=2)):
        assert send(c, START_US, payload) is None


def test_the_companion_and_the_firmware_speak_of_the_same(c):
    flight = Flight(c)
    flight.tracker_on = flight.reference_on = False
    feeder, steady_ns = Feeder(), 5_000_000_000
    for _ in range(10):
        pose = PoseState(flight.position, flight.velocity, flight.orientation, np.zeros(3), 0, steady_ns)
        message = feeder.message(
            pose,
            Setpoint(np.array([0.1, 0.2, 0.3]), np.zeros(3)),
            captured_steady_ns=steady_ns,
            now_ns=steady_ns,
        )
        answer = ctypes.create_string_buffer(ANSWER.size)
        assert c.shim_feed(flight.now_us, message, len(message), answer)
        taken = feeder.take(answer.raw, steady_ns)
        assert taken.verdict == ""
        assert taken.clock_us == flight.now_us % 2**32
        flight.run(0.01)
        steady_ns += 10_000_000
    assert feeder.answer.state is FlightState.FLYING
    raw = ctypes.create_string_buffer(STATUS.size)
    c.shim_status(flight.now_us, raw)
    status = OnboardStatus.parse(raw.raw)
    assert (status.state, status.activations, status.handbacks) == (FlightState.FLYING, 1, 0)
    assert (status.self_test_ok, status.timing_ok) == (True, True)
    assert status.checkpoint == read_policy(PUBLISHED).card.files["model.safetensors"][:16]
    flight.run(0.2)
    assert flight.feed(flags=REFERENCE)[1:3] == (WAITING, POSE_STALE)
    assert REASONS[POSE_STALE] == "its pose is stale"
    assert (len(REASONS), len(VERDICTS)) == (CLOCK + 1, EMPTY + 1)


def test_a_jump_while_on_the_ground_is_a_new_place(c):
    flight = Flight(c, switches=0)
    flight.run(0.5)
    flight.place((50.0, -20.0, 3.0))
    flight.run(0.2)
    assert np.linalg.norm(flight.status().position - flight.position) < 0.05


def test_any_bytes_leave_the_code_standing(c):
    flight = Flight(c)
    rng = np.random.default_rng(9)
    flight.run(0.1)
    for _ in range(3000):
        payload = bytearray(rng.bytes(FEED.size))
        payload[0] = 1
        if rng.random() < 0.5:
            payload[8:] = feed_bytes(position=rng.normal(0, 1e3, 3), velocity=rng.normal(0, 1e3, 3))[8:]
        assert send(c, flight.now_us, bytes(payload)) is not None
        flight.tick()
        if flight.flying[-1]:
            assert np.isfinite(flight.motors[-1]).all()
            assert (np.abs(flight.motors[-1]) <= 1).all()
