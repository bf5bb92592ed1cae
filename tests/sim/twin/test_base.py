"""Protects the twin's time: exact command times, captures, latency, timeout, safe stop, determinism."""

import numpy as np
import pytest

from hardware.command import Command, CommandKind, SafeAction
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import (
    ROBOT_CARD_SCHEMA,
    CommandSpec,
    Delay,
    LatencyCard,
    Limit,
    Robot,
    RobotCard,
    TermSpec,
)
from sim.twin import NONE, Trace, Twin

MS = 1_000_000
AXES = ("x", "y")
MEASURED = {"position": TermSpec(AXES, "m", "world"), "slow": TermSpec(AXES, "m", "world")}


def card(**changes):
    values = {
        "schema": ROBOT_CARD_SCHEMA,
        "name": "cart",
        "kind": "arm",
        "driver": "twin",
        "observations": {"position": TermSpec(AXES, "m", "world", rate_hz=100.0)},
        "commands": {
            "velocity": CommandSpec(
                kind=CommandKind.MOTOR,
                unit="m/s",
                rate_hz=100.0,
                max_age_s=0.1,
                timeout_s=0.05,
                robot_timeout_s=0.03,
                safe_action=SafeAction.HOLD,
                limits={"x": Limit(-10, 10), "y": Limit(-10, 10)},
            )
        },
        "latency": NONE,
    }
    return RobotCard(**(values | changes))


class Cart(Twin):
    """A cart whose commanded velocity acts at once: its position integrates the commands exactly."""

    command_kind = CommandKind.MOTOR

    def __init__(self, card, **settings):
        super().__init__(card, **settings)
        self._check_terms(MEASURED)
        self.pieces = []
        self.reset()

    def _reset(self, random):
        self.position = random.normal(size=2)
        self.velocity = np.zeros(2)
        self.pieces.clear()

    def _integrate(self, duration_s):
        self.pieces.append(duration_s)
        self.position = self.position + duration_s * self.velocity

    def _apply(self, values):
        self.velocity = values

    def _safe_action(self):
        self.velocity = np.zeros(2)

    def _capture(self):
        return {"position": self.position.copy(), "slow": self.position.copy()}

    def _state(self):
        return self.position.copy(), self.velocity.copy()


def make(**settings):
    twin = Cart(card(), seed=1, **settings)
    twin.connect()
    return twin


def send(twin, x, y=0.0, at_ns=None, names=AXES):
    twin.command(Command(CommandKind.MOTOR, names, np.array([x, y]), twin.now_ns, 0), at_ns)


def x_of(twin):
    return float(twin.read().values["position"][0])


def test_it_is_a_robot():
    assert isinstance(make(), Robot)


def test_observations_are_captured_on_the_grid_and_read_at_once_without_latency():
    twin = make(start_ns=5_000 * MS)
    stamps = []
    for step in range(1, 41):
        twin.advance(5_000 * MS + step * MS)
        stamps.append(twin.read().stamp_ns // MS - 5_000)
    assert stamps == [10 * (step // 10) for step in range(1, 41)]
    assert twin.next_capture_ns == 5_050 * MS


def test_an_odd_rate_keeps_its_grid_without_drift():
    twin = Cart(
        card(observations={"position": TermSpec(AXES, "m", "world", rate_hz=30.0)}), seed=0, latency=NONE
    )
    twin.advance(10_000 * MS)
    times = twin.trace().time_ns
    assert len(times) == 301
    assert np.array_equal(times, np.round(np.arange(301) * 1e9 / 30.0).astype(np.int64))


def test_a_slow_term_keeps_its_value_between_its_captures():
    observations = {
        "position": TermSpec(AXES, "m", "world", rate_hz=100.0),
        "slow": TermSpec(AXES, "m", "world", rate_hz=25.0),
    }
    twin = Cart(card(observations=observations), seed=0, latency=NONE)
    twin.connect()
    ages = []
    for step in range(1, 13):
        send(twin, 1.0)
        twin.advance(step * 10 * MS)
        values = twin.read().values
        ages.append(round(float(values["position"][0] - values["slow"][0]) * 100))
    assert ages == [1, 2, 3, 0] * 3


def test_observation_latency_is_exact_and_stamps_are_of_the_capture():
    twin = make(latency=LatencyCard(observation=Delay(0.0123), command=Delay()))
    twin.advance(22_299_999)
    assert twin.read().stamp_ns == 0
    twin.advance(22_300_000)
    assert twin.read().stamp_ns == 10 * MS
    assert twin.read().received_steady_ns == 22_300_000


def test_an_overtaken_observation_never_comes_back():
    jittery = LatencyCard(observation=Delay(mean_s=0.02, jitter_s=0.02, drop_rate=0.2), command=Delay())
    twin = make(latency=jittery)
    stamps = []
    for step in range(1, 2000):
        twin.advance(step * MS)
        observation = twin.read()
        assert observation.received_steady_ns <= twin.now_ns
        stamps.append(observation.stamp_ns)
    assert stamps == sorted(stamps)
    assert len(set(stamps)) < 0.85 * 200


@pytest.mark.parametrize("at_ns", [0, 2_500_000, 3_141_593, 9_999_999])
def test_a_command_acts_at_its_time_to_the_nanosecond(at_ns):
    twin = make()
    start = x_of(twin)
    send(twin, 2.0, at_ns=at_ns)
    twin.advance(10 * MS)
    assert x_of(twin) - start == pytest.approx(2.0 * (10 * MS - at_ns) * 1e-9, abs=1e-15)
    assert twin.trace().command_time_ns.tolist() == ([at_ns] if at_ns < 10 * MS else [])


def test_command_latency_is_exact_and_keeps_the_order():
    twin = make(latency=LatencyCard(observation=Delay(), command=Delay(mean_s=0.004, jitter_s=0.004)))
    for step in range(200):
        send(twin, float(step))
        twin.advance((step + 1) * MS)
    twin.advance(300 * MS)
    trace = twin.trace()
    assert trace.command_values[:, 0].tolist() == [float(step) for step in range(200)]
    assert (np.diff(trace.command_time_ns) >= 0).all()
    assert (trace.command_time_ns >= np.arange(200) * MS).all()


def test_lost_commands_never_act():
    twin = make(latency=LatencyCard(observation=Delay(), command=Delay(drop_rate=1.0)))
    send(twin, 1.0)
    twin.advance(50 * MS)
    assert twin.trace().command_time_ns.size == 0
    assert twin.safe_stopped is None


def test_physics_runs_on_its_grid():
    twin = make()
    send(twin, 1.0, at_ns=1 * MS)
    twin.advance(10 * MS)
    assert np.allclose(twin.pieces, [0.001, 0.0015, 0.0025, 0.0025, 0.0025], atol=1e-12)


def test_the_same_commands_give_the_same_bits_however_time_is_cut():
    jittery = LatencyCard(
        observation=Delay(mean_s=0.003, jitter_s=0.002, drop_rate=0.1),
        command=Delay(mean_s=0.002, jitter_s=0.001),
    )
    commands = [(7 * MS + 13, 1.0), (10 * MS, -2.0), (21 * MS + 7, 0.3), (90 * MS + 1, 3.0)]

    def run(cuts):
        twin = make(latency=jittery)
        todo = list(commands)
        seen = {}
        for until in sorted({*cuts, *(at for at, _ in commands), 150 * MS}):
            while todo and todo[0][0] == twin.now_ns:
                send(twin, todo.pop(0)[1])
            twin.advance(until)
            observation = twin.read()
            seen[observation.stamp_ns] = observation.values["position"].tobytes()
        trace = twin.trace()
        return seen, trace.qpos.tobytes(), trace.event_time_ns.tolist(), trace.event_names

    fine = run(range(0, 150 * MS, 777_777))
    coarse = run(range(0, 150 * MS, 10 * MS))
    assert fine[1:] == coarse[1:]
    assert coarse[0].items() <= fine[0].items()
    assert fine[3] == ("safe_stop", "released", "safe_stop")


def test_seeds_repeat_and_differ():
    twin = make()
    first = x_of(twin)
    twin.advance(5 * MS)
    twin.reset()
    assert (x_of(twin), twin.now_ns) == (first, 0)
    twin.reset(2, start_ns=7 * MS)
    assert x_of(twin) != first
    assert (twin.now_ns, twin.read().stamp_ns) == (7 * MS, 7 * MS)


def test_no_timeout_before_the_first_command():
    twin = make()
    twin.advance(10_000 * MS)
    assert twin.safe_stopped is None


def test_the_timeout_runs_out_to_the_nanosecond_and_a_fresh_command_ends_it():
    twin = make()
    send(twin, 1.0, at_ns=4 * MS + 1)
    twin.advance(34 * MS + 1)
    assert twin.safe_stopped is None
    twin.advance(34 * MS + 2)
    assert twin.safe_stopped == "command timeout"
    twin.advance(60 * MS)
    trace = twin.trace()
    assert trace.event_time_ns.tolist() == [34 * MS + 1]
    assert trace.qpos[-1, 0] - trace.qpos[0, 0] == pytest.approx(0.03, abs=1e-15)
    send(twin, 1.0)
    twin.advance(61 * MS)
    assert twin.safe_stopped is None
    assert twin.trace().event_names == ("safe_stop", "released")


def test_a_command_exactly_at_the_deadline_keeps_the_robot_going():
    twin = make()
    send(twin, 1.0, at_ns=0)
    send(twin, 1.0, at_ns=30 * MS)
    twin.advance(50 * MS)
    assert twin.safe_stopped is None


def test_safe_stop_acts_now_and_forgets_what_is_under_way():
    twin = make(latency=LatencyCard(observation=Delay(), command=Delay(0.005)))
    send(twin, 1.0)
    twin.advance(11 * MS + 3)
    send(twin, 5.0)
    twin.safe_stop("operator")
    assert twin.safe_stopped == "operator"
    twin.advance(40 * MS)
    assert twin.safe_stopped == "operator"
    trace = twin.trace()
    assert trace.event_time_ns.tolist() == [11 * MS + 3]
    assert trace.qpos[-1, 0] - trace.qpos[0, 0] == pytest.approx(0.006000003, abs=1e-15)
    send(twin, 1.0)
    twin.advance(46 * MS)
    assert twin.safe_stopped is None


def test_disconnecting_stops_a_robot_under_command_only():
    twin = make()
    twin.disconnect()
    assert twin.safe_stopped is None
    with twin:
        send(twin, 1.0)
        twin.advance(10 * MS)
    assert twin.safe_stopped == "disconnected"
    twin.advance(20 * MS)
    assert twin.trace().event_details == ("disconnected",)


def test_elements_are_bound_by_name():
    twin = make()
    send(twin, 1.0, 2.0, names=("y", "x"))
    twin.advance(1 * MS)
    assert twin.trace().command_values.tolist() == [[2.0, 1.0]]


def test_observations_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        make().read().values["position"][0] = 1.0


def test_a_trace_survives_the_disk(tmp_path):
    twin = make()
    send(twin, 1.0)
    twin.advance(100 * MS)
    trace = twin.trace()
    trace.save(tmp_path / "run.npz")
    loaded = Trace.load(tmp_path / "run.npz")
    for name in ("time_ns", "qpos", "qvel", "command_time_ns", "command_values", "event_time_ns"):
        assert np.array_equal(getattr(loaded, name), getattr(trace, name))
    assert loaded.event_names == ("safe_stop",)
    assert (loaded.command_names, loaded.event_details, loaded.robot) == (AXES, ("command timeout",), "cart")
    assert loaded.time_s[-1] == pytest.approx(0.1)


def test_an_empty_trace_survives_too(tmp_path):
    make().trace().save(tmp_path / "run.npz")
    assert Trace.load(tmp_path / "run.npz").command_values.shape == (0, 2)


def test_the_trace_forgets_what_is_older_than_its_limit():
    twin = make(trace_limit_s=1.0)
    twin.advance(10_000 * MS)
    trace = twin.trace()
    assert 50 <= len(trace.time_ns) <= 101
    assert trace.time_ns[-1] == 10_000 * MS


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_that_is_no_trace_is_refused(tmp_path, content):
    path = tmp_path / "run.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"run\.npz: not a trace .* Expected an npz of schema reflexarc/trace/1"
    ):
        Trace.load(path)


def test_an_npz_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "run.npz", schema=np.array("else"))
    with pytest.raises(ConfigError, match="schema 'else'"):
        Trace.load(tmp_path / "run.npz")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda t: t.advance(1 * MS), "lies 0.009000 s before now"),
        (lambda t: send(t, 1.0, at_ns=9 * MS), "at_ns lies 0.001000 s before now"),
        (lambda t: send(t, float("nan")), "values [nan, 0.0]. Expected 2 finite numbers"),
        (lambda t: send(t, 1.0, names=("x", "z")), "elements x, z. Expected x, y"),
        (lambda t: send(t, 1.0, names=("x", "x")), "elements x, x. Expected x, y"),
        (
            lambda t: t.command(Command(CommandKind.REFERENCE, AXES, np.zeros(2), 0, 0)),
            "a command of kind reference. Expected motor",
        ),
        (lambda t: t.reset(start_ns=-1), "start_ns -1 is negative"),
        (lambda t: t.reset(-4), "seed -4 is negative"),
    ],
)
def test_bad_use_is_explained(act, text):
    twin = make()
    twin.advance(10 * MS)
    with pytest.raises(ConfigError) as error:
        act(twin)
    assert text in str(error.value)


@pytest.mark.parametrize("act", [lambda t: t.read(), lambda t: send(t, 1.0)])
def test_a_closed_wire_carries_nothing(act):
    with pytest.raises(ConfigError, match="not connected"):
        act(Cart(card(), seed=0))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"substep_ns": 0}, "substep_ns 0"),
        ({"start_ns": -1}, "start_ns -1"),
        ({"trace_limit_s": 0.0}, "trace_limit_s 0.0"),
    ],
)
def test_bad_settings_are_explained(settings, text):
    with pytest.raises(ConfigError, match=text):
        Cart(card(), seed=0, **settings)


def test_cards_that_the_twin_cannot_serve_are_explained():
    with pytest.raises(ConfigError, match="no observation terms"):
        Cart(card(observations={}), seed=0)
    wrong = {"position": TermSpec(AXES, "rad", "world"), "colour": TermSpec(AXES, "m")}
    with pytest.raises(ConfigErrors) as error:
        Cart(card(observations=wrong), seed=0)
    assert "unit 'rad' of 'position'. Expected 'm'" in str(error.value)
    assert "the twin does not measure 'colour'" in str(error.value)
