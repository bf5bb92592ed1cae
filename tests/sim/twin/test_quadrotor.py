"""Protects the quadrotor twin: terms and frames, motors by name, gusts, exact times, its own landing."""

import math
import statistics
import time
from dataclasses import replace
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.command import Command, CommandKind, SafeAction
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Delay, LatencyCard, Robot, TermSpec
from sim.quadrotor import MOTORS, airframe_names, load_airframe, make_state
from sim.quadrotor.airframes import GRAVITY_M_S2
from sim.twin import NONE, Trace
from sim.twin.quadrotor import Gust, QuadrotorTwin
from sim.worlds.quadrotor import gear_height_m

CARD = load_robot_card("quadrotor_twin")
EFFORT = replace(
    CARD, observations=CARD.observations | {"motor_effort": TermSpec(MOTORS, "effort", rate_hz=100.0)}
)
MS = 1_000_000


def make(card=CARD, **settings):
    twin = QuadrotorTwin(card, **({"seed": 0, "latency": NONE} | settings))
    twin.connect()
    return twin


def send(twin, effort, at_ns=None, names=MOTORS):
    values = np.broadcast_to(np.asarray(effort, dtype=np.float64), 4)
    twin.command(Command(CommandKind.MOTOR, names, values, twin.now_ns, 0), at_ns)


def high(**changes):
    return make_state(
        **({"position": (0, 0, 50.0), "effort": load_airframe("x500_real").hover_effort} | changes)
    )


def with_command(**changes):
    return replace(CARD, commands={"motors": replace(CARD.commands["motors"], **changes)})


def test_it_is_a_robot_that_stands_on_the_ground_with_its_motors_off():
    twin = make(EFFORT)
    assert isinstance(twin, Robot)
    twin.advance(1000 * MS)
    values = twin.read().values
    assert twin.on_ground
    assert twin.safe_stopped is None
    assert values["position"] == pytest.approx([0, 0, gear_height_m(twin.airframe)], abs=1e-3)
    assert values["motor_effort"].tolist() == [0, 0, 0, 0]


def test_terms_come_in_the_frames_of_the_card():
    twin = make(EFFORT)
    turned = (math.sqrt(0.5), 0, 0, math.sqrt(0.5))
    twin.place(high(orientation=turned, linear_velocity=(2.0, 0, 1.0), angular_velocity=(0.1, 0.2, 0.3)))
    values = twin.read().values
    assert set(values) == set(EFFORT.observations)
    assert values["position"].tolist() == [0, 0, 50]
    assert values["orientation"] == pytest.approx(turned)
    # The nose points along the world's y axis: what moves along x moves to the vehicle's right.
    assert values["linear_velocity"] == pytest.approx([0, -2, 1])
    assert values["angular_velocity"].tolist() == [0.1, 0.2, 0.3]
    assert values["motor_effort"] == pytest.approx([twin.airframe.hover_effort] * 4)


def test_motors_are_bound_by_name_whatever_the_cards_order():
    limits = CARD.commands["motors"].limits
    shuffled = with_command(limits={name: limits[name] for name in reversed(MOTORS)})
    setpoints = []
    for card, names in (
        (CARD, MOTORS),
        (shuffled, MOTORS),
        (shuffled, ("back_left", *MOTORS[:2], "front_left")),
    ):
        twin = make(card)
        effort = {"front_right": 0.1, "back_right": 0.2, "back_left": 0.3, "front_left": 0.4}
        send(twin, [effort[name] for name in names], names=names)
        twin.advance(5 * MS)
        setpoints.append(twin.world.setpoint)
    assert setpoints == [[0.1, 0.2, 0.3, 0.4]] * 3


def test_a_command_reaches_the_rotors_at_its_time_to_the_nanosecond():
    twin = make()
    twin.place(high(effort=0.2))
    send(twin, 0.9, at_ns=3_141_593)
    twin.advance(10 * MS)
    expected = 0.9 - 0.7 * math.exp(-(10 * MS - 3_141_593) * 1e-9 / twin.airframe.rising_s)
    assert twin.world.effort == pytest.approx([expected] * 4, rel=1e-12)


def test_seeded_runs_are_the_same_bit_for_bit_however_time_is_cut():
    wire = LatencyCard(observation=Delay(0.003, 0.002, 0.05), command=Delay(0.002, 0.001, 0.05))
    gusts = [(0.2, 0.3, (4.0, -2.0, 1.0))]

    def run(seed, cut_ns):
        twin = make(seed=seed, latency=wire, gusts=gusts)
        seen = {}
        for step in range(100):
            send(twin, np.clip(0.56 + 0.03 * np.sin(step * np.array([0.1, 0.2, 0.3, 0.4])), 0, 1))
            for until in range(step * 10 * MS, (step + 1) * 10 * MS, cut_ns):
                twin.advance(until)
            twin.advance((step + 1) * 10 * MS)
            observation = twin.read()
            seen[step] = (observation.stamp_ns, *(v.tobytes() for v in observation.values.values()))
        return seen, twin.trace().qpos.tobytes(), twin.trace().command_time_ns.tolist()

    first = run(3, 10 * MS)
    assert run(3, 10 * MS) == first
    assert run(3, 777_777) == first
    assert run(4, 10 * MS)[2] != first[2]


def test_a_reset_repeats_the_run():
    twin = make()
    runs = []
    for _ in range(2):
        send(twin, 0.8)
        twin.advance(100 * MS)
        runs.append(twin.state.packed.tobytes())
        twin.reset()
        assert twin.on_ground
    assert runs[0] == runs[1]


def test_the_airframe_comes_from_the_card_or_the_caller():
    assert make().airframe.name == "x500_real"
    assert make(replace(CARD, parameters={"airframe": "arpl"})).airframe.name == "arpl"
    assert make(replace(CARD, parameters={})).airframe.name == "x500_real"
    assert make(airframe="crazyflie").airframe.name == "crazyflie"
    own = replace(load_airframe("mrs"), name="own", mass_kg=1.5)
    assert make(airframe=own).airframe is own
    with pytest.raises(ConfigError, match="no airframe 'x501'"):
        make(airframe="x501")


@pytest.mark.parametrize("cut_ns", [10 * MS, 777_777])
def test_a_gust_gives_exactly_its_impulse_and_ends(cut_ns):
    twin = make(gusts=[Gust(0.0513, 0.2, (3.0, 0.0, -1.0))])
    twin.place(high())
    half = None
    for until in [*range(0, 300 * MS, cut_ns), 300 * MS]:
        twin.advance(until)
        if half is None and until >= 151.3e6:
            half = twin.state.linear_velocity[0]
    impulse = 0.5 * 0.2 * np.array([3.0, 0.0, -1.0]) / twin.airframe.mass_kg
    assert twin.state.linear_velocity == pytest.approx(impulse, rel=1e-6)
    assert half == pytest.approx(impulse[0] / 2, rel=0.25)
    twin.advance(400 * MS)
    assert twin.state.linear_velocity == pytest.approx(impulse, rel=1e-6)


def test_a_gust_swells_and_dies_away_smoothly():
    gust = Gust(1.0, 2.0, (1.0, 0.0, 0.0))
    for t in (0.5, 1.0, 1.3, 2.0, 2.9, 3.5):
        expected = 0.5 * (1 - math.cos(math.pi * (t - 1.0))) if 1 <= t <= 3 else 0.0
        assert gust.share(t, t + 1e-6) == pytest.approx(expected, abs=1e-5)
    assert gust.share(0.0, 10.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "values", [(-1.0, 1.0, (0, 0, 0)), (0.0, 0.0, (0, 0, 0)), (0.0, 1.0, (0, 0)), (0, 1, (0, 0, math.nan))]
)
def test_an_impossible_gust_is_refused(values):
    with pytest.raises(ConfigError, match=r"gust: start_s .* Expected a start of zero or later"):
        make(gusts=[values])


def fly_up(twin, until_ns):
    """Climb on a slight surplus of thrust."""
    while twin.now_ns < until_ns:
        send(twin, twin.airframe.hover_effort * 1.06)
        twin.advance(twin.now_ns + 10 * MS)


def test_left_alone_in_the_air_it_lands_by_itself():
    twin = make(EFFORT)
    fly_up(twin, 2000 * MS)
    assert twin.read().values["position"][2] > 1.5
    last_ns = int(twin.trace().command_time_ns[-1])
    timeout_ns = round(CARD.commands["motors"].robot_timeout_s * 1e9)
    twin.advance(last_ns + timeout_ns)
    assert twin.safe_stopped is None
    twin.advance(last_ns + timeout_ns + 1)
    assert twin.safe_stopped == "command timeout"
    for _ in range(1500):
        twin.advance(twin.now_ns + 10 * MS)
    assert twin.trace().event_time_ns.tolist() == [last_ns + timeout_ns]
    values = twin.read().values
    assert twin.on_ground
    assert values["position"][2] == pytest.approx(gear_height_m(twin.airframe), abs=2e-3)
    assert max(values["motor_effort"]) < 0.01


def test_a_fresh_command_takes_over_from_the_landing():
    twin = make()
    fly_up(twin, 2000 * MS)
    twin.safe_stop("operator")
    twin.advance(3990 * MS)
    assert twin.state.linear_velocity[2] < 0.0
    send(twin, 0.7)
    twin.advance(4000 * MS)
    assert twin.safe_stopped is None
    assert twin.world.setpoint == [0.7] * 4
    assert twin.trace().event_details == ("operator", "operator")
    # A second stop is a new landing, not the rest of the first.
    twin.safe_stop("again")
    twin.advance(4010 * MS)
    assert min(twin.world.setpoint) > 0.0


def test_a_stop_on_the_ground_does_not_start_the_motors():
    twin = make()
    twin.safe_stop("operator")
    for _ in range(100):
        twin.advance(twin.now_ns + 10 * MS)
        assert twin.world.effort == [0.0] * 4


@pytest.mark.parametrize("name", airframe_names())
def test_every_airframe_takes_off(name):
    twin = make(airframe=name)
    fly_up(twin, 1500 * MS)
    assert not twin.on_ground
    assert twin.state.position[2] > 2 * gear_height_m(twin.airframe)
    assert np.abs(twin.state.position[:2]).max() < 0.01


def test_a_trace_is_enough_to_draw_the_run(tmp_path):
    twin = make()
    fly_up(twin, 500 * MS)
    twin.trace().save(tmp_path / "flight.npz")
    trace = Trace.load(tmp_path / "flight.npz")
    assert trace.qpos.shape == (51, 7)
    assert trace.qvel.shape == (51, 6)
    assert trace.command_names == MOTORS
    data = mujoco.MjData(twin.model)
    data.qpos[:] = trace.qpos[-1]
    mujoco.mj_kinematics(twin.model, data)
    assert data.body("base_link").xpos == pytest.approx(twin.data.qpos[:3])


def test_it_describes_itself_to_rviz():
    assert ElementTree.fromstring(make(airframe="arpl").description).get("name") == "arpl"


@pytest.mark.parametrize(
    ("card", "text"),
    [
        (with_command(safe_action=SafeAction.HOLD), "safe action hold. Expected land"),
        (
            with_command(limits={n.upper(): v for n, v in CARD.commands["motors"].limits.items()}),
            "motor commands FRONT_RIGHT, BACK_RIGHT",
        ),
        (
            with_command(unit="rad/s"),
            "in rad/s. Expected front_right, back_right, back_left, front_left in effort",
        ),
        (
            replace(CARD, latency=replace(CARD.latency, actuator_lag_s=0.05)),
            "actuator_lag_s 0.05. Expected 0: the airframe's time constants hold the motors' lag already",
        ),
    ],
)
def test_a_card_that_the_twin_cannot_serve_is_refused(card, text):
    with pytest.raises(ConfigError) as error:
        make(card, latency=None)
    assert text in str(error.value)


def test_a_velocity_in_the_wrong_frame_is_refused():
    wrong = replace(CARD.observations["linear_velocity"], frame="world")
    with pytest.raises(ConfigErrors, match="frame 'world' of 'linear_velocity'. Expected 'body'"):
        make(replace(CARD, observations=CARD.observations | {"linear_velocity": wrong}))


@pytest.mark.parametrize("landing", [False, True])
def test_ten_milliseconds_cost_far_less_than_one(landing):
    twin = make()
    twin.place(high())
    if landing:
        twin.safe_stop("test")
    costs = []
    for _ in range(300):
        began = time.thread_time_ns()
        if not landing:
            send(twin, twin.airframe.hover_effort, at_ns=twin.now_ns + 1_234_567)
        twin.advance(twin.now_ns + 10 * MS)
        twin.read()
        costs.append(time.thread_time_ns() - began)
    assert statistics.median(costs) < 0.8 * MS


def test_an_inertial_unit_feels_gravity_at_rest_and_nothing_in_free_fall():
    card = load_robot_card("quadrotor_twin_sensors")
    with QuadrotorTwin(card, seed=0, latency=NONE) as twin:
        twin.advance(200_000_000)
        at_rest = twin.read().values
        assert at_rest["imu_linear_acceleration"] == pytest.approx([0.0, 0.0, GRAVITY_M_S2], abs=0.05)
        assert at_rest["motor_effort"].tolist() == [0.0] * 4
        turned = np.array([math.cos(0.5), math.sin(0.5), 0.0, 0.0])
        twin.place(
            make_state(position=(0.0, 0.0, 50.0), orientation=turned, angular_velocity=(0.0, 0.4, 0.0))
        )
        twin.advance(twin.now_ns + 100_000_000)
        falling = twin.read().values
        assert falling["imu_angular_velocity"].tolist() == falling["angular_velocity"].tolist()
        # Without thrust nothing but the rotors' idle pull is felt, along the body's z axis.
        assert falling["imu_linear_acceleration"][:2] == pytest.approx([0.0, 0.0], abs=1e-6)
        pull = 4.0 * twin.airframe.thrust_n[0] / twin.airframe.mass_kg
        assert falling["imu_linear_acceleration"][2] == pytest.approx(pull, abs=1e-6)
