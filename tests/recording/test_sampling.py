"""Protects sampling: never a value of the future, nothing filled in, true stamps, clear refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import MS, arm_card, record

from hardware.errors import ConfigError
from recording import Episode
from recording.frames import Frames
from recording.sampling import SamplingConfig, sample_episode

ALL = SamplingConfig(fps=25, cameras=("front",))


def sample(path, config=ALL):
    return sample_episode(Episode.open(path), arm_card(), config)


def test_terms_are_found_by_name_and_actions_are_those_behind_the_gate(tmp_path):
    (frames,) = sample(record(tmp_path / "e.mcap"))
    at = (frames.stamps_ns - 1_000 * MS) / MS
    assert at.tolist() == list(range(0, 1000, 40))
    # The card lists joint b first, the messages joint a.
    np.testing.assert_array_equal(frames.terms["joint_position"], np.stack([-at, at], axis=1))
    np.testing.assert_array_equal(frames.terms["joint_velocity"], np.tile([2.0, 1.0], (25, 1)))
    np.testing.assert_array_equal(frames.actions, np.stack([-at - 0.5, at + 0.5], axis=1))
    assert frames.action_names == ("b", "a")
    assert [int(image[0, 0, 0]) for image in frames.images["front"]] == list(range(25))
    assert frames.images["front"][0].shape == (64, 96, 3)
    assert (frames.task, frames.success, frames.dropped) == ("turn it", True, 0)


@settings(max_examples=25, deadline=None)
@given(
    joints=st.lists(st.integers(5, 15), min_size=60, max_size=90),
    images=st.lists(st.integers(30, 60), min_size=12, max_size=25),
    commands=st.lists(st.integers(15, 30), min_size=30, max_size=50),
)
def test_at_every_moment_the_newest_past_value_and_never_a_later_one(
    tmp_path_factory, joints, images, commands
):
    stamps = {name: np.cumsum(steps).tolist() for name, steps in
              (("joint_ms", joints), ("image_ms", images), ("command_ms", commands))}  # fmt: skip
    path = record(tmp_path_factory.mktemp("sampled") / "e.mcap", **stamps)
    for frames in sample(path):
        moments = (frames.stamps_ns / MS - 1000).tolist()
        for row, moment in enumerate(moments):
            newest = {name: max(at for at in some if at <= moment) for name, some in stamps.items()}
            assert frames.terms["joint_position"][row, 1] == newest["joint_ms"]
            assert frames.term_stamps_ns["joint_position"][row] == (1000 + newest["joint_ms"]) * MS
            assert frames.image_stamps_ns["front"][row] == (1000 + newest["image_ms"]) * MS
            assert frames.actions[row, 1] == newest["command_ms"] + 0.5
            assert frames.action_stamps_ns[row] == (1000 + newest["command_ms"]) * MS
        assert np.allclose(np.diff(moments), 40.0)


def test_a_camera_that_dies_costs_the_moments_without_it_and_nothing_is_filled_in(tmp_path):
    alive = [at for at in range(0, 1000, 40) if not 320 <= at < 600]
    pieces = sample(record(tmp_path / "e.mcap", image_ms=alive))
    moments = [((piece.stamps_ns - 1_000 * MS) // MS).tolist() for piece in pieces]
    # The last image before the hole, of 280 ms, counts until two and a half periods later.
    assert moments == [list(range(0, 381, 40)), list(range(600, 1000, 40))]
    assert [piece.source for piece in pieces] == ["e.mcap [1/2]", "e.mcap [2/2]"]
    assert sum(piece.dropped for piece in pieces) == 5
    for piece in pieces:
        assert (piece.stamps_ns - piece.image_stamps_ns["front"]).max() <= 100 * MS


def test_a_short_piece_between_two_holes_is_dropped(tmp_path):
    alive = [at for at in range(0, 1000, 20) if at < 200 or at == 400 or at >= 600]
    pieces = sample(record(tmp_path / "e.mcap", command_ms=alive), SamplingConfig(fps=25))
    assert [len(piece.stamps_ns) for piece in pieces] == [6, 10]


def test_the_moments_lie_on_captures_even_where_streams_begin_late(tmp_path):
    path = record(tmp_path / "e.mcap", joint_ms=range(3, 1000, 10), command_ms=range(107, 1000, 20))
    (frames,) = sample(path)
    assert frames.stamps_ns[0] == 1_113 * MS
    assert (frames.stamps_ns - frames.term_stamps_ns["joint_position"]).max() == 0


@pytest.mark.parametrize(
    ("changes", "config", "text"),
    [
        (
            {"joint_ms": range(0, 1000, 50)},
            ALL,
            r"'joint_position' was recorded 20\.0 times a second.*--fps 20",
        ),
        ({"command_ms": ()}, ALL, "length zero: nothing was recorded of sent command"),
        ({"seconds": 0.15}, ALL, "length zero: at no moment everything was known"),
        (
            {"joint_value": lambda at: math.nan if at == 480 else at},
            ALL,
            "'joint_position' is not finite at 1 of 25 moments, the first is number 12",
        ),
        ({}, SamplingConfig(fps=25, terms=("joint_velocity",), cameras=("wrist",)), "no topic 'wrist/image'"),
    ],
)
def test_what_cannot_be_sampled_is_refused(tmp_path, changes, config, text):
    with pytest.raises(ConfigError, match=text):
        sample(record(tmp_path / "e.mcap", **changes), config)


def test_a_clock_that_went_back_is_refused(tmp_path):
    path = tmp_path / "e.mcap"
    from made import COMMAND, JOINTS, command, joints, open_writer

    writer = open_writer(path, topics=(JOINTS, COMMAND))
    for at in (0, 10, 20, 5):
        writer.write(
            JOINTS.name, joints(at * MS, (1.0, 1.0), (0.0, 0.0)), stamp_ns=at * MS, receive_ns=at * MS
        )
    writer.write(COMMAND.name, command(0, (0.0, 0.0)), stamp_ns=0, receive_ns=0)
    writer.finish(end_ns=30 * MS, reason="stopped")
    with pytest.raises(ConfigError, match=r"the clock went back by 0\.015 s on joint_states"):
        sample(path, SamplingConfig(fps=25))


def test_a_command_for_other_joints_is_refused(tmp_path):
    path = record(tmp_path / "e.mcap")
    limit = {"lower": -1.0, "upper": 1.0, "velocity": 3.0, "acceleration": 60.0, "jerk": 3000.0}
    other = arm_card(
        commands={"joints": {**arm_plain()["commands"]["joints"], "limits": {"a": limit, "c": limit}}}
    )
    with pytest.raises(ConfigError, match="no command interface with a, b.*joints: a, c"):
        sample_episode(Episode.open(path), other, SamplingConfig(fps=25))


def arm_plain():
    from sets import CARD

    return CARD


def test_frames_refuse_values_of_the_future_and_unequal_lengths():
    stamps = np.array([10, 20], np.int64)
    good = {
        "stamps_ns": stamps,
        "terms": {"x": np.zeros((2, 1))},
        "term_stamps_ns": {"x": stamps},
        "actions": np.zeros((2, 1)),
        "action_stamps_ns": stamps,
        "action_names": ("x",),
    }
    Frames(**good)
    with pytest.raises(ConfigError, match="'x' holds values of the future"):
        Frames(**{**good, "term_stamps_ns": {"x": stamps + 1}})
    with pytest.raises(ConfigError, match="actions have 1 rows"):
        Frames(**{**good, "actions": np.zeros((1, 1))})
    with pytest.raises(ConfigError, match="the moments do not rise"):
        Frames(**{**good, "stamps_ns": np.array([20, 20], np.int64)})
    with pytest.raises(ConfigError, match="length zero"):
        Frames(**{**good, "stamps_ns": stamps[:0]})


@pytest.mark.parametrize(
    "change", [{"fps": 0}, {"fps": 25, "stale_periods": 0.5}, {"fps": 25, "min_frames": 0}]
)
def test_numbers_that_give_no_moments_are_refused(change):
    with pytest.raises(ConfigError, match="sampling: .* at least"):
        SamplingConfig(**change)
