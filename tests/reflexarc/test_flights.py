"""Protects what `eval betaflight` and `eval px4` print, and that a flight that failed is told as one."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from demo_runs import START_NS

from hardware.errors import ConfigError
from hardware.reference import make_program
from reflexarc import cli
from reflexarc.demos.metrics import figure_eight_rmse_m, hover_error_m, make_flight
from reflexarc.demos.plan import Segment
from reflexarc.demos.records import FlightRecord, GateCounts, Timing
from reflexarc.demos.stage import StageError
from reflexarc.flights import page, pilot
from reflexarc.flights.evaluate import WAYS
from reflexarc.flights.pilot import VehicleFlight
from reflexarc.flights.plan import Course
from sim.twin.trace import Trace

COURSE = Course(hover_s=4.0, period_s=5.5, loops=1)
MOTORS = ("front_right", "back_right", "back_left", "front_left")


def vehicle_flight(landed=True):
    """A flight with known errors: 2 cm in hover, 6 cm in the figure eight, after a climb of its own."""
    plan = COURSE.plan
    trajectory = make_program(plan.program, height_m=COURSE.height_m, start_m=(1.0, 2.0, 1.1), yaw_rad=0.5)
    times = np.arange(-3.0, plan.phases[-1].start_s + 3.0, 0.01)
    position = np.array([trajectory.sample(t).position_m for t in times])
    position[:, 0] += np.where(times < COURSE.hover_s, 0.02, 0.06)
    position[times < 0.0, 2] = 0.1
    end_s = plan.phases[-1].start_s + 1.5
    position[times > end_s, 2] = 0.1
    motors = np.where((times > -2.0) & (times < end_s), 0.5, 0.0)[:, None] * np.ones(4)
    stamps = START_NS + np.round(times * 1e9).astype(np.int64)
    trace = Trace(
        time_ns=stamps,
        qpos=np.concatenate([position, np.tile([1.0, 0.0, 0.0, 0.0], (len(times), 1))], axis=1),
        qvel=np.zeros((len(times), 6)),
        command_time_ns=stamps,
        command_values=motors,
        command_names=MOTORS,
        event_time_ns=np.array([], dtype=np.int64),
        event_names=(),
        event_details=(),
        robot="robot",
    )
    record = FlightRecord(
        plan=plan,
        trajectory=trajectory,
        trace=trace,
        timing=Timing(tuple(np.linspace(5.0, 20.0, 500).tolist()), 0, START_NS, 1),
        gate=GateCounts(500, 1, 0, 0),
        start_ns=START_NS,
        kill_s=math.inf,
        reaction_ms=0.0,
        commands_back_s=0.0,
        first_motion_s=0.0,
        estop_s=end_s,
        airframe="arpl",
        landing_title="Landing",
    )
    flight = make_flight(trace, trajectory, start_ns=START_NS)
    return VehicleFlight(
        record=record,
        firmware="Betaflight 4.6.0",
        hover_error_m=hover_error_m(flight, plan),
        figure_eight_rmse_m=figure_eight_rmse_m(flight, plan, COURSE.segment),
        landed=landed,
        answers=("arm: armed", "take_off: 1 m up after 2.0 s", "land: landed and disarmed after 3.0 s"),
    )


@pytest.fixture
def flown(monkeypatch):
    """Nothing flies: what the flights come to is given, and what was asked for is kept."""
    asked, results = [], {}

    def fly(robot, course, *, folder, policy, say, arguments=None):
        asked.append((robot, course, policy))
        say("hover")
        result = results.get(robot, vehicle_flight())
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(pilot, "fly_vehicle", fly)
    return asked, results


def test_the_figures_are_those_of_the_phases():
    flight = vehicle_flight()
    assert flight.hover_error_m == pytest.approx(0.02, abs=1e-6)
    assert flight.figure_eight_rmse_m == pytest.approx(0.06, abs=1e-6)


def test_the_course_is_hover_and_whole_loops():
    plan = Course(hover_s=20.0, period_s=10.0, loops=2).plan
    assert plan.program == ("hover 20", "figure_eight 10 21")
    assert [p.segment for p in plan.phases] == [Segment.HOVER, Segment.FIGURE_EIGHT_10S, Segment.PAUSE]
    assert (plan.hover_window_s, plan.phases[-1].start_s) == (15.0, 41.0)


@pytest.mark.parametrize("wrong", [{"period_s": 7.0}, {"loops": 0}, {"hover_s": 1.0}, {"hover_s": math.inf}])
def test_a_course_that_cannot_be_flown_is_refused(wrong):
    with pytest.raises(ConfigError, match="Expected 2 s of hovering or more, and a loop or more"):
        Course(**wrong)


def test_betaflight_is_flown_both_ways_and_told_for_machines(flown, capsys, tmp_path):
    asked, _ = flown
    out = tmp_path / "betaflight.json"
    words = ["eval", "betaflight", "--policy", "raptor/published", "--hover-s", "4", "--period-s", "5.5"]
    assert cli.main([*words, "--loops", "1", "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == document
    assert (document["ok"], document["firmware"]) == (True, "Betaflight 4.6.0")
    for way in ("companion", "onboard"):
        assert document[way]["hover_error_m"] == pytest.approx(0.02, abs=1e-6)
        assert document[way]["figure_eight_rmse_m"] == pytest.approx(0.06, abs=1e-6)
        assert document[way]["landed"] is True
    # Who flies onboard is chosen there alone.
    assert asked == [
        ("betaflight_sitl", COURSE, ""),
        ("betaflight_onboard_sitl", COURSE, "raptor/published"),
    ]


def test_a_flight_that_was_not_flown_to_its_end_is_no_success(flown, capsys):
    _, results = flown
    results["betaflight_onboard_sitl"] = StageError("it did not arm: RXLOSS", ("[robot_node] why",))
    assert cli.main(["eval", "betaflight", "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["ok"] is False
    assert document["companion"]["landed"] is True
    assert document["onboard"] == {
        "hover_error_m": None,
        "figure_eight_rmse_m": None,
        "landed": False,
        "robot": "betaflight_onboard_sitl",
        "error": "it did not arm: RXLOSS",
    }
    assert "[robot_node] why" in captured.err


def test_a_vehicle_that_did_not_land_is_no_success(flown, capsys):
    _, results = flown
    results["px4_peer"] = vehicle_flight(landed=False)
    assert cli.main(["eval", "px4", "--ways", "offboard"]) == 1
    assert "offboard" in capsys.readouterr().out


def test_a_way_that_nobody_knows_is_refused(flown, capsys):
    assert cli.main(["eval", "px4", "--ways", "companion", "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["what"] == "there is no way 'companion'"
    assert error["expected"] == "some of offboard, onboard"
    assert flown[0] == []


@pytest.mark.parametrize(
    ("policy", "text"),
    [("nope", "there is no policy 'nope'"), ("bc/pick_cube", "the method of policy .* is bc")],
)
def test_a_policy_that_no_firmware_can_carry_is_refused_before_it_is_built(flown, capsys, policy, text):
    assert cli.main(["eval", "betaflight", "--policy", policy]) == 2
    assert re.search(text, capsys.readouterr().err)
    assert flown[0] == []


def test_every_way_has_a_title():
    assert all(way.title and way.robot for ways in WAYS.values() for way in ways.values())


def test_the_page_holds_figures_plots_films_and_failures(monkeypatch, tmp_path):
    monkeypatch.setattr(page, "render_flight", lambda record, path, progress: path.write_bytes(b"film"))
    flights = {"companion": vehicle_flight()}
    errors = {"onboard": StageError("it did not arm: <RXLOSS>", ("[robot_node] a line",))}
    text = page.write_report("betaflight", flights, errors, tmp_path / "report").read_text()
    assert "Betaflight 4.6.0" in text
    assert "2.0 cm" in text
    assert "6.0 cm" in text
    assert text.count("<svg") == 3
    assert "it did not arm: &lt;RXLOSS&gt;" in text
    assert "land: landed and disarmed after 3.0 s" in text
    assert "video/mp4" in text
    assert (tmp_path / "report" / "plots" / "companion_timeline.png").exists()


def test_a_film_of_a_vehicle_shows_its_own_airframe_and_landing(tmp_path):
    from reflexarc.report.flight_film import render_flight

    record = vehicle_flight().record
    short = dataclasses.replace(
        record.trace,
        time_ns=record.trace.time_ns[:60],
        qpos=record.trace.qpos[:60],
        qvel=record.trace.qvel[:60],
    )
    path = tmp_path / "film.mp4"
    render_flight(dataclasses.replace(record, trace=short), path, lambda done, total: None)
    assert path.stat().st_size > 1000
    assert record.title_at(record.estop_s + 0.1) == "Landing"
