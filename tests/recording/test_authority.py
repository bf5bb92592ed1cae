"""Protects who commanded: what the gate said is in the frames, in the dataset and back, never guessed."""

import json

import numpy as np
import pytest
from sets import arm_card, record

from hardware.errors import ConfigError
from policies.demonstrations.recorded import load_recorded
from recording import Episode
from recording.authority import Authority, read_authority
from recording.lerobot_export import export_recordings
from recording.lerobot_import import read_frames
from recording.lerobot_recordings import import_set
from recording.lerobot_set import open_set
from recording.sampling import SamplingConfig, sample_episode

# The policy, a person from 300 to 599 ms, the gate until the policy has it again at 620, and at the end the
# person once more.
SOURCES = ((0, "gate"), (20, "policy"), (300, "operator"), (600, "gate"), (620, "policy"), (900, "operator"))
CONFIG = SamplingConfig(fps=50, terms=("joint_position",))


def persons(frames):
    """The moments at which the command was a person's, by the number in the command: its milliseconds."""
    at_ms = frames.actions[:, list(frames.action_names).index("a")] - 0.5
    return (at_ms >= 300) & (at_ms < 600) | (at_ms >= 900)


def test_every_frame_says_whose_command_was_sent(tmp_path):
    path = record(tmp_path / "episode_000000.mcap", sources=SOURCES)
    (frames,) = sample_episode(Episode.open(path), arm_card(), CONFIG)
    assert frames.interventions.dtype == np.bool_
    assert 15 < frames.interventions.sum() < 25
    np.testing.assert_array_equal(frames.interventions, persons(frames))


def test_a_recording_that_does_not_say_it_leaves_it_open(tmp_path):
    path = record(tmp_path / "episode_000000.mcap")
    assert read_authority(Episode.open(path)) is None
    (frames,) = sample_episode(Episode.open(path), arm_card(), CONFIG)
    assert frames.interventions is None


def test_shares_and_takeovers_are_counted():
    found = Authority(np.array([0, 100, 400, 500]), ("policy", "operator", "policy", "gate"))
    assert found.shares(1000) == {"policy": 0.2, "operator": 0.3, "gate": 0.5}
    assert found.interventions == 1
    assert Authority(np.array([50]), ("operator",)).interventions == 1
    # Told later, of the same instant: the last word counts. Before the first word nobody commanded.
    both = Authority(np.array([50, 50]), ("policy", "operator"))
    np.testing.assert_array_equal(both.is_operator(np.array([49, 50, 51])), [False, True, True])
    assert both.shares(100) == {"policy": 0.0, "operator": 1.0}


def test_the_dataset_holds_the_flag_and_gives_it_back(tmp_path):
    (tmp_path / "rec").mkdir()
    for number in range(2):
        record(tmp_path / "rec" / f"episode_{number:06d}.mcap", sources=SOURCES)
    export_recordings(tmp_path / "rec", tmp_path / "set", CONFIG)
    feature = json.loads((tmp_path / "set" / "meta" / "info.json").read_text())["features"]["intervention"]
    assert (feature["dtype"], feature["shape"]) == ("bool", [1])
    loaded = open_set(tmp_path / "set")
    read = [bool(loaded[row]["intervention"]) for row in range(len(loaded))]
    found = list(read_frames(tmp_path / "set"))
    for frames in found:
        np.testing.assert_array_equal(frames.interventions, persons(frames))
    np.testing.assert_array_equal(read, np.concatenate([frames.interventions for frames in found]))
    # A learner has it either way.
    settings = {"step_s": 0.02, "terms": ("joint_position",)}
    from_set = load_recorded(tmp_path / "set", arm_card(), **settings)
    from_files = load_recorded(tmp_path / "rec", arm_card(), **settings)
    for one, other in zip(from_set.episodes, from_files.episodes, strict=True):
        np.testing.assert_array_equal(one.expert, other.expert)


def test_a_dataset_that_is_imported_keeps_the_flag(tmp_path):
    (tmp_path / "rec").mkdir()
    record(tmp_path / "rec" / "episode_000000.mcap", sources=SOURCES)
    export_recordings(tmp_path / "rec", tmp_path / "set", CONFIG)
    (imported,) = import_set(tmp_path / "set", tmp_path / "again", steady_clock=lambda: 0)
    authority = read_authority(Episode.open(imported.path))
    assert authority.sources == ("other", "operator", "other", "operator")
    assert authority.interventions == 2
    (frames,) = sample_episode(Episode.open(imported.path), arm_card(), CONFIG)
    np.testing.assert_array_equal(frames.interventions, persons(frames))


@pytest.mark.parametrize(
    ("first", "then", "text"),
    [(SOURCES, None, "nothing says who commanded"), (None, SOURCES, "it says who commanded")],
)
def test_the_flag_is_never_made_up_for_recordings_without_it(tmp_path, first, then, text):
    (tmp_path / "rec").mkdir()
    for number, sources in enumerate((first, then)):
        record(tmp_path / "rec" / f"episode_{number:06d}.mcap", sources=sources)
    with pytest.raises(ConfigError, match=text):
        export_recordings(tmp_path / "rec", tmp_path / "set", CONFIG)
    assert not (tmp_path / "set").exists()
