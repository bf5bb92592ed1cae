"""Protects the schedule: actions by time, not by count, however chunks arrive, and without a step."""

import numpy as np
import pytest

from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.command import CommandKind
from hardware.errors import ConfigError

MS = 1_000_000


def chunk(values, start_ms=0, step_ms=10, valid_ms=None, **others):
    rows = np.array(values, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    names = tuple("abc"[: rows.shape[1]])
    valid_ms = step_ms * len(rows) if valid_ms is None else valid_ms
    return ActionChunk(
        CommandKind.JOINT_POSITION, names, rows, start_ms * MS, step_ms * MS, valid_ms * 1e-3, **others
    )


def scheduled(*chunks, **settings):
    schedule = Schedule(**settings)
    for given in chunks:
        assert schedule.push(given, now_ns=0)
    return schedule


def at(schedule, ms):
    value = schedule.sample(round(ms * MS))
    return None if value is None else float(value[0])


# --- the chunk ----------------------------------------------------------------------------------------


def test_a_chunk_knows_its_end_and_gives_its_steps_as_commands():
    made = chunk([1.0, 2.0, 3.0], start_ms=100, source="operator")
    assert made.end_ns == 130 * MS
    assert made.is_finite
    step = made.command_at(2, received_steady_ns=7)
    assert (step.kind, step.names, step.values.tolist()) == (CommandKind.JOINT_POSITION, ("a",), [3.0])
    assert (step.stamp_ns, step.received_steady_ns, step.source) == (120 * MS, 7, "operator")


def test_other_values_leave_the_proposals_behind():
    made = chunk([1.0, 2.0], proposals=np.zeros((4, 2, 1)))
    other = made.with_values(np.array([[5.0], [6.0]]))
    assert other.values.tolist() == [[5.0], [6.0]]
    assert other.proposals is None
    assert other.start_ns == made.start_ns


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_chunk_says_whether_it_is_finite(bad):
    assert not chunk([1.0, bad]).is_finite


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 1)), np.zeros((2, 3)), np.zeros((1, 2, 1))])
def test_values_that_do_not_fit_the_names_are_refused(values):
    with pytest.raises(ConfigError) as error:
        ActionChunk(CommandKind.MOTOR, ("a",), values, 0, MS, 0.1, source="operator")
    assert str(error.value) == (
        f"chunk of operator: values of shape {values.shape} for 1 name(s). "
        "Expected (T, 1) with T at least 1. To mend: give one row a step and one column a name."
    )


@pytest.mark.parametrize(
    ("step_ns", "valid_for_s"), [(0, 1.0), (-5, 1.0), (1, 0.0), (1, np.inf), (1, np.nan)]
)
def test_durations_must_be_positive(step_ns, valid_for_s):
    with pytest.raises(ConfigError) as error:
        ActionChunk(CommandKind.MOTOR, ("a",), np.zeros((1, 1)), 0, step_ns, valid_for_s)
    assert f"chunk of policy: step_ns {step_ns}, valid_for_s {valid_for_s}." in str(error.value)
    assert "Expected positive and finite durations." in str(error.value)


# --- one chunk ------------------------------------------------------------------------------------------


def test_an_empty_schedule_gives_nothing():
    schedule = Schedule()
    assert schedule.sample(0) is None
    assert (schedule.end_ns, schedule.current, schedule.remaining_s(0)) == (None, None, 0.0)


def test_a_step_holds_from_its_start_until_the_next():
    schedule = scheduled(chunk([1.0, 2.0, 3.0], start_ms=10))
    assert [at(schedule, ms) for ms in (9.999, 10, 19.999, 20, 30, 39.999, 40)] == [None, 1, 1, 2, 3, 3, None]


def test_lines_between_steps_and_the_last_one_stays():
    schedule = scheduled(chunk([0.0, 10.0], valid_ms=30), interpolation=Interpolation.LINEAR)
    assert [at(schedule, ms) for ms in (0, 2.5, 10, 29)] == [0.0, 2.5, 10.0, 10.0]


def test_a_chunk_of_one_step_is_valid_until_its_end_and_never_trimmed_away():
    schedule = Schedule()
    late = chunk([4.0], start_ms=0, step_ms=10, valid_ms=100)
    assert schedule.push(late, now_ns=90 * MS)
    assert at(schedule, 90) == at(schedule, 99.9) == 4.0
    assert at(schedule, 100) is None


def test_what_remains_is_told_and_can_be_forgotten():
    schedule = scheduled(chunk([1.0, 2.0]))
    assert schedule.end_ns == 20 * MS
    assert schedule.remaining_s(5 * MS) == pytest.approx(0.015)
    assert schedule.remaining_s(50 * MS) == 0.0
    schedule.clear()
    assert (schedule.sample(0), schedule.end_ns, schedule.current) == (None, None, None)


# --- several chunks -------------------------------------------------------------------------------------


def test_a_chunk_that_arrives_after_its_end_is_dropped_and_the_old_one_stays():
    schedule = scheduled(chunk([1.0], valid_ms=100))
    old = schedule.current
    assert not schedule.push(chunk([9.0], valid_ms=20), now_ns=20 * MS)
    assert schedule.current is old
    assert at(schedule, 50) == 1.0


def test_a_late_chunk_is_trimmed_by_time():
    schedule = scheduled(chunk([1.0] * 10))
    schedule.push(chunk([5.0, 6.0, 7.0, 8.0]), now_ns=25 * MS)
    assert [at(schedule, ms) for ms in (25, 30, 39)] == [7.0, 8.0, 8.0]


def test_an_early_chunk_waits_for_its_start():
    schedule = scheduled(chunk([1.0] * 10))
    schedule.push(chunk([5.0] * 10, start_ms=50), now_ns=20 * MS)
    assert [at(schedule, ms) for ms in (20, 49.9, 50)] == [1.0, 1.0, 5.0]


def test_a_waiting_chunk_does_not_lose_its_place_to_one_that_begins_later():
    schedule = scheduled(chunk([1.0] * 10))
    schedule.push(chunk([5.0] * 10, start_ms=30), now_ns=10 * MS)
    schedule.push(chunk([9.0] * 10, start_ms=60), now_ns=20 * MS)
    assert [at(schedule, ms) for ms in (20, 29.9, 30, 59.9, 60)] == [1.0, 1.0, 5.0, 5.0, 9.0]


def test_a_newer_chunk_that_begins_earlier_replaces_a_waiting_one():
    schedule = scheduled(chunk([1.0] * 10))
    schedule.push(chunk([5.0] * 10, start_ms=60), now_ns=10 * MS)
    schedule.push(chunk([9.0] * 10, start_ms=30), now_ns=20 * MS)
    assert [at(schedule, ms) for ms in (29.9, 30, 60, 99)] == [1.0, 9.0, 9.0, 9.0]


def test_a_newer_chunk_that_has_ended_does_not_bring_the_old_one_back():
    schedule = scheduled(chunk([1.0], valid_ms=500))
    schedule.push(chunk([5.0], valid_ms=20), now_ns=0)
    assert at(schedule, 10) == 5.0
    assert at(schedule, 30) is None


def test_after_a_gap_a_chunk_begins_at_once():
    schedule = scheduled(chunk([1.0]), blend_s=0.02)
    schedule.push(chunk([5.0], start_ms=40, valid_ms=50), now_ns=40 * MS)
    assert at(schedule, 40) == 5.0


def test_a_chunk_is_faded_in_by_time():
    schedule = scheduled(chunk([1.0] * 10), blend_s=0.02)
    schedule.push(chunk([5.0] * 10, start_ms=30), now_ns=10 * MS)
    assert [at(schedule, ms) for ms in (30, 35, 40, 50, 80)] == [1.0, 2.0, 3.0, 5.0, 5.0]


def test_a_fade_out_of_an_unfinished_fade_makes_no_step():
    schedule = scheduled(chunk([0.0] * 50), blend_s=0.02)
    schedule.push(chunk([10.0] * 50, start_ms=10), now_ns=10 * MS)
    before = at(schedule, 15)
    schedule.push(chunk([-10.0] * 50, start_ms=15), now_ns=15 * MS)
    assert before == at(schedule, 15) == 2.5
    path = [at(schedule, 15 + ms / 10) for ms in range(300)]
    assert max(abs(b - a) for a, b in zip(path, path[1:], strict=False)) < 0.2
    assert path[-1] == -10.0


def test_chunks_in_quick_succession_are_continuous_and_forgotten_when_faded_out():
    schedule = Schedule(blend_s=0.05)
    rng = np.random.default_rng(1)
    last = None
    for ms in range(0, 2000, 7):
        schedule.push(chunk([float(rng.uniform(-1, 1))], start_ms=ms, valid_ms=200), now_ns=ms * MS)
        for k in range(7):
            now = at(schedule, ms + k)
            assert last is None or abs(now - last) < 2 / 50 * 1.01 * 3
            last = now
    assert len(schedule._queue) < 12


def test_pushing_alone_does_not_pile_up():
    schedule = Schedule()
    for ms in range(1000):
        schedule.push(chunk([1.0], start_ms=ms, valid_ms=50), now_ns=ms * MS)
    assert len(schedule._queue) < 4


# --- looking ahead ------------------------------------------------------------------------------------


def test_a_preview_is_what_is_carried_out_afterwards_and_changes_nothing():
    def made():
        schedule = scheduled(chunk(np.arange(8.0), step_ms=10), blend_s=0.03, interpolation="linear")
        assert schedule.push(chunk(10.0 + np.arange(8.0), start_ms=20, step_ms=10), now_ns=20 * MS)
        return schedule

    schedule, untouched = made(), made()
    # Past the fade and past the end of the first chunk, then beyond all.
    ahead = schedule.preview(25 * MS, 5 * MS, 40)
    assert len(ahead) == 15
    for index in range(15):
        assert ahead[index, 0] == at(schedule, 25 + 5 * index) == at(untouched, 25 + 5 * index)
    assert schedule.preview(100 * MS, MS, 3) is None
    assert Schedule().preview(0, MS, 3) is None


def test_a_chunk_tells_the_age_of_its_observation():
    assert chunk([1.0], start_ms=100).age_s(150 * MS) == pytest.approx(0.05)
    assert chunk([1.0], start_ms=100, observed_ns=20 * MS).age_s(150 * MS) == pytest.approx(0.13)
