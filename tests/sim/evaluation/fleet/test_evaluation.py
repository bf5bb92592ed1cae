"""Protects the evaluation as a whole: same airframes for everybody, common survivors, parts, bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.evaluation.fleet import evaluation
from sim.evaluation.fleet.evaluation import TORQUE_TO_INERTIA, Part, evaluate_fleet
from sim.evaluation.fleet.named import fly_named, recover
from sim.evaluation.fleet.probe import probe_thrust_to_weight
from sim.quadrotor.airframes import airframe_names
from sim.quadrotor.sampling import sample_airframes

# Pitch or roll that accelerates by this much a metre and a metre a second; rates and height hold themselves.
_TILT_PER_M, _TILT_PER_M_S, _LARGEST_RAD = 0.15, 0.2, 0.4


class Pilot:
    """Cascaded proportional control of hover: good for airframes that are not too slow, and knows effort."""

    def __init__(self, airframes, *, loses=()):
        self.effort, self.loses = airframes.hover_effort, list(loses)

    def controller(self, *, clip_errors):
        return Cascade(self)


class Cascade:
    def __init__(self, pilot):
        self.pilot = pilot

    def reset(self, count):
        self.count = count
        self.hidden = np.zeros((count, 2), np.float32)

    def act(self, observation, now_ns):
        p, v, w = observation[:, 0:3], observation[:, 12:15], observation[:, 15:18]
        pitch = np.clip(-_TILT_PER_M * p[:, 0] - _TILT_PER_M_S * v[:, 0], -_LARGEST_RAD, _LARGEST_RAD)
        roll = np.clip(_TILT_PER_M * p[:, 1] + _TILT_PER_M_S * v[:, 1], -_LARGEST_RAD, _LARGEST_RAD)
        roll = 0.08 * (roll - observation[:, 10]) - 0.012 * w[:, 0]
        pitch = 0.08 * (pitch - observation[:, 5]) - 0.012 * w[:, 1]
        yaw = -0.05 * w[:, 2]
        lift = np.clip(-0.3 * p[:, 2] - 0.3 * v[:, 2], -0.2, 0.2)
        effort = np.resize(self.pilot.effort, self.count) + lift
        front, back = effort - pitch, effort + pitch
        motors = [front - roll - yaw, back - roll + yaw, back + roll - yaw, front + roll + yaw]
        action = 2.0 * np.stack(motors, axis=1) - 1.0
        action[self.pilot.loses] = -1.0
        self.hidden[:, 0] = effort
        return action.astype(np.float32)


COUNT = 24
BATCH = sample_airframes(COUNT, seed=7)


@pytest.fixture(scope="module")
def report():
    pilots = {"good": Pilot(BATCH), "loses": Pilot(BATCH, loses=[2, 5])}
    told = []
    parts = [Part.COMPARISON, Part.RECOVERY, Part.HOVER]
    monkeypatch = pytest.MonkeyPatch()
    short = tuple(replace(case, loops=1) for case in evaluation.COMPARISON)
    monkeypatch.setattr(evaluation, "COMPARISON", short)
    found = evaluate_fleet(
        pilots, airframes=COUNT, sensitivity_airframes=COUNT, seed=7, parts=parts,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    monkeypatch.undo()
    assert told[-1][0] == told[-1][1]
    return found


def test_losses_are_those_of_the_policy(report):
    good, loses = (report.policies[name].headline for name in ("good", "loses"))
    crashed = {name: flights["paper init"].crashed for name, flights in report.flights.items()}
    assert crashed["loses"][[2, 5]].all()
    others = np.delete(np.arange(COUNT), [2, 5])
    np.testing.assert_array_equal(crashed["good"][others], crashed["loses"][others])
    assert good.hover_crash.trials == loses.hover_crash.trials == COUNT
    assert good.hover_crash.count == crashed["good"].sum()


def test_errors_are_compared_on_airframes_that_nobody_lost(report):
    fast = {name: flights["5.5 s"] for name, flights in report.flights.items()}
    common = fast["good"].survived & fast["loses"].survived
    assert common.any()
    for name, result in report.policies.items():
        expected = float(fast[name].rmse_m[common].astype(np.float64).mean())
        assert result.headline.figure_eight_5_5s_rmse_m.value == pytest.approx(expected)
        row = next(row for row in result.comparison if row.name == "5.5 s")
        assert row.rmse_mean_m.value == pytest.approx(expected)
    # Both fly alike where both survive.
    np.testing.assert_array_equal(fast["good"].rmse_m[common], fast["loses"].rmse_m[common])


def test_bins_hold_every_airframe_once(report):
    bins = report.policies["good"].by_torque_to_inertia
    assert sum(b.hover_crash.trials for b in bins) == COUNT
    assert sum(b.hover_crash.count for b in bins) == report.policies["good"].headline.hover_crash.count
    assert {b.lower for b in bins} <= set(TORQUE_TO_INERTIA[:-1])
    np.testing.assert_array_equal(report.airframes.mass, BATCH.mass)


def test_parts_that_were_not_asked_for_are_empty(report):
    result = report.policies["good"]
    assert len(result.hover) == 4
    assert result.figure_eight == result.sensitivity == result.named == ()
    assert result.probe is None
    assert [row.airframe for row in result.recovery_clipped] == list(airframe_names())


def test_recovery_says_when_and_how_far():
    (row,) = recover(Pilot(BATCH.take([0])).controller(clip_errors=False), names=["x500_real"])
    assert len(row.distance_m) == 100
    assert row.distance_m[0] == pytest.approx(math.sqrt(8.0), abs=0.05)
    assert row.success is math.isfinite(row.recovered_s)


def test_named_airframes_come_in_their_order():
    class Still(Cascade):
        def act(self, observation, now_ns):
            return np.zeros((self.count, 4), np.float32)

    rows = fly_named(Still(None), seed=0, names=["fs", "arpl"])
    assert [row.airframe for row in rows] == ["fs", "arpl"]
    assert all(row.terminated.trials == 256 for row in rows)
    assert all(math.isnan(row.hover_offset_m) or row.hover_offset_m > 1 for row in rows)


def test_probe_reads_what_the_hidden_state_holds():
    class Knowing(Cascade):
        """Its hidden state is the thrust-to-weight ratio, scaled; it does not fly."""

        def reset(self, count):
            self.count = count
            batch = sample_airframes(count, seed=1_000_003)
            self.hidden = np.stack([batch.thrust_to_weight / 7 - 1, np.ones(count)], axis=1).astype(
                np.float32
            )

        def act(self, observation, now_ns):
            return np.zeros((self.count, 4), np.float32)

    probe = probe_thrust_to_weight(Knowing(None), airframes=50, seed=3)
    assert (probe.airframes, probe.fitted) == (50, 40)
    assert probe.late_r2 > 0.999
    assert probe.all_r2 > 0.999


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"airframes": 0}, "airframes is 0"),
        ({"airframes": 4, "sensitivity_airframes": 5}, "sensitivity_airframes 5"),
        ({"airframes": 4, "sensitivity_airframes": 0}, "sensitivity_airframes 0"),
        ({"parts": ()}, "0 parts"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(given, what):
    with pytest.raises(ConfigError, match=what):
        evaluate_fleet({"good": Pilot(BATCH)}, **given)
    with pytest.raises(ConfigError, match="0 policies"):
        evaluate_fleet({})
