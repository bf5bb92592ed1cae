"""Protects the demo's figures: what was flown is measured where it counts, what was not is not invented.

The demo itself, over ROS 2, is the last step of `make test`.
"""

import json
import math
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from demo_runs import (
    BACK_S,
    END_S,
    ESTOP_S,
    KILL_S,
    PLAN,
    REACTION_S,
    START_NS,
    arm_record,
    flight_record,
    flight_trace,
)

from hardware import ConfigError
from hardware.reference import make_program
from reflexarc import demo
from reflexarc.demos.judge import arm_figures, flight_figures, judge_arm, judge_flight, passed
from reflexarc.demos.metrics import (
    Flight,
    fault_figures,
    figure_eight_rmse_m,
    gust_figures,
    hover_error_m,
    lift_off_s,
    make_flight,
    percentiles,
    recovery_s,
    safe_stretches,
)
from reflexarc.demos.plan import GUST_DURATION_S, Segment, plan_arm, plan_flight
from reflexarc.demos.records import Timing
from reflexarc.demos.stage import Check, StageError, StageLog
from reflexarc.report.pieces import bounds_text, figure_text

# --- plans --------------------------------------------------------------------------------------


def test_the_whole_demo_shows_everything_and_figure_eights_are_whole_loops():
    assert [p.segment for p in PLAN.phases] == [
        Segment.TAKE_OFF,
        Segment.HOVER,
        Segment.FIGURE_EIGHT_10S,
        Segment.PAUSE,
        Segment.FIGURE_EIGHT_5_5S,
        Segment.PAUSE,
        Segment.GUST,
        Segment.FAULT,
    ]
    assert PLAN.program == ("hover 11.6", "figure_eight 10 21", "hover 2", "figure_eight 5.5 23", "hover 2")
    assert PLAN.hover_window_s == 5.0
    assert plan_arm(None).episodes == 10


@pytest.mark.parametrize("seconds", [None, 1.0, 5.0, 12.0, 20.0, 33.0, 61.0, 500.0])
def test_phases_are_what_the_reference_does(seconds):
    plan = plan_flight(seconds)
    assert plan.phases[0].start_s == 0.0
    for before, after in zip(plan.phases, plan.phases[1:], strict=False):
        assert after.start_s == pytest.approx(before.end_s)
    assert plan.kill_s == plan.phases[-1].start_s
    assert math.isinf(plan.phases[-1].end_s)
    trajectory = make_program(plan.program, height_m=plan.height_m)
    for phase in plan.phases:
        # At rest at the centre wherever a phase but the climb begins, and moving in a figure eight.
        begin = trajectory.sample(phase.start_s + 1e-6)
        if phase.segment is not Segment.TAKE_OFF:
            assert begin.position_m == pytest.approx((0.0, 0.0, plan.height_m), abs=1e-4)
        if phase.segment in (Segment.FIGURE_EIGHT_10S, Segment.FIGURE_EIGHT_5_5S):
            period_s = 10.0 if phase.segment is Segment.FIGURE_EIGHT_10S else 5.5
            middle = trajectory.sample(phase.start_s + 0.5 + period_s / 2)
            assert np.linalg.norm(middle.velocity_m_s) == pytest.approx(2 * math.pi / period_s * 2**0.5)


def test_a_short_demo_lasts_about_as_long_as_asked_and_grows_with_it():
    lengths = [plan_flight(seconds).kill_s for seconds in (5.0, 12.0, 20.0, 30.0, 45.0, 60.0)]
    assert lengths == sorted(lengths)
    for seconds, length in zip((5.0, 12.0, 20.0, 30.0, 45.0, 60.0), lengths, strict=True):
        assert length <= seconds + 0.5
    assert plan_flight(5.0).find(Segment.FIGURE_EIGHT_5_5S) is None
    assert plan_flight(20.0).find(Segment.FIGURE_EIGHT_5_5S) is not None
    assert [plan_arm(s).episodes for s in (5.0, 13.0, 1000.0)] == [1, 2, 10]


@pytest.mark.parametrize("seconds", [0.0, -3.0, math.inf, math.nan])
def test_seconds_that_are_none_are_refused(seconds):
    with pytest.raises(
        ConfigError, match=r"--seconds is .* Expected a positive number of seconds.* mend: correct"
    ):
        plan_flight(seconds)


# --- figures ------------------------------------------------------------------------------------


def test_figures_are_measured_where_they_count_and_nowhere_else():
    figures = flight_figures(flight_record())
    assert figures.hover_error_m == pytest.approx(0.02)
    assert figures.figure_eight_10s_rmse_m == pytest.approx(0.06)
    assert figures.figure_eight_5_5s_rmse_m == pytest.approx(0.17)
    assert figures.gust.largest_error_m == pytest.approx(0.45)
    assert figures.gust.settled_s == pytest.approx(0.3, abs=0.011)
    assert figures.photon_to_motor_ms.p50 == pytest.approx(4.0)
    assert figures.photon_to_motor_ms.p99 == pytest.approx(5.96)
    assert passed(judge_flight(figures))


def test_the_fault_is_timed_from_the_kill_and_ends_before_the_landing():
    fault = flight_figures(flight_record()).fault
    assert fault.reaction_ms == pytest.approx(104.0)
    assert fault.height_lost_m == pytest.approx(0.4 * BACK_S, abs=0.01)
    # The climb ends BACK_S after the commands are back; 10 cm earlier it is near enough.
    assert fault.recovered_s == pytest.approx(2 * BACK_S - 0.25, abs=0.02)


def test_what_was_not_flown_has_no_figure_and_is_not_judged():
    short = plan_flight(5.0)
    flight = Flight(np.arange(0.0, 4.0, 0.01), np.zeros((400, 3)), np.zeros((400, 3)))
    assert hover_error_m(flight, short) is None
    assert figure_eight_rmse_m(flight, short, Segment.FIGURE_EIGHT_10S) is None
    assert gust_figures(flight, short, begin_s=None) is None
    # A flight that broke off in the middle of a figure has no figure for it either.
    trace = flight_trace()
    rows = slice(0, round((PLAN.find(Segment.FIGURE_EIGHT_5_5S).end_s - 3.0) * 100))
    cut = replace(trace, time_ns=trace.time_ns[rows], qpos=trace.qpos[rows], qvel=trace.qvel[rows])
    figures = flight_figures(flight_record(trace=cut))
    assert figures.figure_eight_10s_rmse_m == pytest.approx(0.06)
    assert figures.figure_eight_5_5s_rmse_m is None
    checks = {c.title: c.passed for c in judge_flight(figures)}
    assert checks["Figure eight of 5.5 s, RMSE"] is None


def test_a_vehicle_that_stays_away_has_not_recovered_and_fails():
    trace = flight_trace()
    qpos = trace.qpos.copy()
    qpos[trace.time_s > KILL_S, 0] += 0.5
    figures = flight_figures(flight_record(trace=replace(trace, qpos=qpos)))
    assert figures.fault.recovered_s is None
    failed = [c.title for c in judge_flight(figures) if c.passed is False]
    assert failed == ["Back within 10 cm after the kill"]


def test_a_gust_that_carries_the_vehicle_off_fails():
    trace = flight_trace()
    qpos = trace.qpos.copy()
    blown = (trace.time_s >= PLAN.gust_s) & (trace.time_s < KILL_S)
    qpos[blown, 0] += 1.0
    figures = flight_figures(flight_record(trace=replace(trace, qpos=qpos)))
    assert figures.gust.settled_s is None
    assert [c.title for c in judge_flight(figures) if c.passed is False] == [
        "Back within 10 cm after the gust"
    ]


def test_the_gust_is_counted_from_the_robots_start_not_the_references():
    trace = flight_trace()
    late = replace(flight_record(), start_ns=START_NS - 200_000_000)
    assert late.gust_s == pytest.approx((PLAN.gust_s + 0.2, PLAN.gust_s + 0.2 + GUST_DURATION_S))
    flight = make_flight(trace, late.trajectory, start_ns=late.start_ns)
    assert flight.time_s[0] == pytest.approx(0.2)


def test_recovery_must_last():
    times = np.arange(0.0, 6.0, 0.01)
    error = np.where((times > 1.0) & (times < 1.8), 0.05, 0.5)
    error[times >= 3.0] = 0.05
    flight = Flight(times, np.stack([error, 0 * error, 0 * error], axis=1), np.zeros((len(times), 3)))
    assert recovery_s(flight, after_s=0.5) == pytest.approx(3.0)
    assert recovery_s(flight, after_s=5.5) is None
    lost = fault_figures(flight, kill_s=0.5, end_s=5.0, reaction_ms=None, commands_back_s=None)
    assert lost.height_lost_m == 0.0


def test_the_safe_action_is_read_off_the_twins_events():
    found = safe_stretches(flight_trace(), start_ns=START_NS)
    assert found[0] == pytest.approx((0.0, 0.4))
    assert found[1] == pytest.approx((KILL_S + REACTION_S, KILL_S + BACK_S))
    assert found[2] == pytest.approx((ESTOP_S + 0.1, END_S), abs=0.02)


def test_take_off_and_percentiles():
    assert lift_off_s(flight_trace()) == pytest.approx(0.05, abs=0.011)
    assert percentiles([]).p50 is None
    assert percentiles([1.0, 2.0, 3.0]).samples == 3


def test_the_robots_clock_and_the_steady_clock_meet_at_the_origin():
    assert Timing((), 0, 1_000, 400).data_ns(450) == 1_050


def test_the_arm_needs_eight_of_ten():
    figures = arm_figures(arm_record((True,) * 8 + (False,) * 2))
    assert (figures.successes, figures.episodes) == (8, 10)
    assert figures.picked_s[0] == pytest.approx(2.5)
    assert figures.picked_s[9] is None
    assert figures.wilson.lower == pytest.approx(0.4902, abs=1e-3)
    assert passed(judge_arm(figures))
    assert not passed(judge_arm(arm_figures(arm_record((True,) * 7 + (False,) * 3))))


def test_a_check_holds_its_bounds_and_reads_well():
    check = Check("x", 0.17, "m", at_least=0.1437, at_most=0.1944)
    assert check.passed
    assert bounds_text(check) == "14.4 cm to 19.4 cm"
    assert replace(check, value=0.2).passed is False
    assert replace(check, value=None).passed is None
    assert [
        figure_text(v, u) for v, u in ((0.0219, "m"), (104.3, "ms"), (3.14, "s"), (0.8, ""), (None, "m"))
    ] == [
        "2.2 cm",
        "104 ms",
        "3.1 s",
        "80%",
        "–",
    ]
    assert figure_text(math.inf, "s") == "never"


# --- stages -------------------------------------------------------------------------------------


def test_the_log_keeps_all_lines_and_an_error_the_last_ones(tmp_path):
    with StageLog(tmp_path / "data" / "stage.log") as log:
        for number in range(30):
            log.line("gate_node", f"line {number}")
        error = log.error("nothing happened")
    assert isinstance(error, StageError)
    assert (error.what, error.log[-1], len(error.log)) == ("nothing happened", "[gate_node] line 29", 12)
    # Nodes may still talk when the file is closed.
    log.line("gate_node", "late")
    assert len((tmp_path / "data" / "stage.log").read_text().splitlines()) == 30


def test_the_time_since_the_start_is_the_kernels(tmp_path):
    from reflexarc.demos.show import _seconds_since_start

    first = _seconds_since_start()
    time.sleep(0.05)
    assert 0.03 < _seconds_since_start() - first < 5.0
    assert first > 0.0


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path):
    from reflexarc.demos.show import _make_folder

    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"--out .*file/report: the folder cannot be made .*mend: give another folder"
    ):
        _make_folder(tmp_path / "file" / "report")


# --- the whole, with stages that need no robot ---------------------------------------------------


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Shows given records, or stops early, and renders nothing."""

    def run(flight, arm):
        def given(what):
            def stage(*_, **__):
                if isinstance(what, Exception):
                    raise what
                return what

            return stage

        monkeypatch.setattr("reflexarc.demos.quadrotor.fly", given(flight))
        monkeypatch.setattr("reflexarc.demos.arm.pick", given(arm))
        monkeypatch.setattr("reflexarc.report.build.film", lambda *_: {})
        code = demo.run(demo.DemoConfig(headless=True, out=tmp_path / "report"))
        return code, json.loads((tmp_path / "report" / "summary.json").read_text()), tmp_path / "report"

    return run


def test_a_demo_that_reaches_everything_exits_with_zero(show, capsys):
    code, summary, folder = show(flight_record(), arm_record((True,) * 10))
    assert (code, summary["passed"]) == (0, True)
    assert (folder / "report.html").stat().st_size > 100_000
    assert "passed in" in capsys.readouterr().out


def test_a_stage_that_fails_does_not_keep_the_other_from_being_shown(show, capsys):
    broken = StageError("the vehicle did not leave the ground within 15 s", ("[robot_node] [boom] x",))
    code, summary, folder = show(broken, arm_record((True,) * 10))
    assert (code, summary["passed"]) == (1, False)
    assert summary["stages"]["quadrotor"]["error"] == broken.what
    assert summary["stages"]["arm"]["passed"] is True
    assert summary["quadrotor"]["hover_error_m"] is None
    assert broken.what in (folder / "report.html").read_text()
    shown = capsys.readouterr().out
    assert "stopped early: the vehicle did not leave the ground" in shown
    assert "[robot_node] [boom] x" in shown


def test_a_figure_out_of_its_bounds_exits_with_one(show):
    code, summary, _ = show(flight_record(), arm_record((True, False)))
    assert (code, summary["stages"]["arm"]["passed"]) == (1, False)


def test_only_the_first_interrupt_is_heard():
    with demo._one_interrupt():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        # The second one, while everything is being stopped.
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_a_library_disguises_is_still_one():
    def imported_badly():
        with demo._one_interrupt():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as interrupt:
                raise ImportError("initialization failed") from interrupt

    with pytest.raises(KeyboardInterrupt):
        imported_badly()


def test_bad_input_moves_nothing_and_exits_with_two(run_cli, tmp_path):
    done = run_cli("demo", "--headless", "--seconds", "-1", "--out", str(tmp_path / "report"))
    assert done.returncode == 2
    assert "--seconds is -1" in done.stderr
    assert not (tmp_path / "report").exists()
    done = run_cli("demo", "--headless", "--out", str(tmp_path / "x"), env={"MUJOCO_GL": "disable"})
    assert done.returncode == 2
    assert "MUJOCO_GL is 'disable'" in done.stderr
