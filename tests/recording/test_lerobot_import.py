"""Protects the import: what was exported comes back as it was; sets of others by naming their terms."""

from __future__ import annotations

import numpy as np
import pytest
from sets import MS, arm_card, make_foreign, record

from hardware.errors import ConfigError
from recording import Episode
from recording.frames import Frames
from recording.lerobot_export import export_recordings
from recording.lerobot_import import map_foreign, read_frames
from recording.lerobot_set import write_set
from recording.sampling import SamplingConfig, sample_episode

ALL = SamplingConfig(fps=25, cameras=("front",))


def test_what_was_exported_comes_back(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    paths = [
        record(folder / f"episode_00000{n}.mcap", start_ns=(5 + n) * 1_000 * MS, seconds=0.6) for n in (0, 1)
    ]
    export_recordings(folder, tmp_path / "set", ALL, video=False)
    back = list(read_frames(tmp_path / "set"))
    assert len(back) == 2
    for path, found in zip(paths, back, strict=True):
        (wanted,) = sample_episode(Episode.open(path), arm_card(), ALL)
        np.testing.assert_array_equal(found.stamps_ns, wanted.stamps_ns)
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_array_equal(found.action_stamps_ns, wanted.action_stamps_ns)
        assert found.terms.keys() == wanted.terms.keys()
        for name, values in wanted.terms.items():
            np.testing.assert_array_equal(found.terms[name], values)
            np.testing.assert_array_equal(found.term_stamps_ns[name], wanted.term_stamps_ns[name])
        np.testing.assert_array_equal(found.image_stamps_ns["front"], wanted.image_stamps_ns["front"])
        for image, original in zip(found.images["front"], wanted.images["front"], strict=True):
            np.testing.assert_array_equal(image, original)
        assert (found.task, found.action_names) == (wanted.task, wanted.action_names)
        assert len(found.images["front"][2:5]) == 3


@pytest.fixture
def foreign(tmp_path):
    """A set with names and without stamps of ours, as anybody's robot gives."""
    stamps = np.arange(8, dtype=np.int64) * 40 * MS
    values = np.arange(16.0).reshape(8, 2)
    frames = Frames(
        stamps_ns=stamps,
        terms={"joint_position": values},
        term_stamps_ns={"joint_position": stamps},
        actions=values + 0.5,
        action_stamps_ns=stamps,
        action_names=("b", "a"),
        task="wave",
    )
    root = tmp_path / "foreign"
    write_set(root, arm_card(), [frames], fps=25)
    make_foreign(root, ["b_pos", "a_pos"])
    return root


def test_a_set_of_others_is_read_once_its_terms_are_named(foreign):
    with pytest.raises(ConfigError, match="observation.state has an element 'b_pos'"):
        list(read_frames(foreign))
    layout = map_foreign(foreign, arm_card(), state=("joint_position",))
    (frames,) = read_frames(foreign, layout)
    np.testing.assert_array_equal(frames.terms["joint_position"], np.arange(16.0).reshape(8, 2))
    np.testing.assert_array_equal(frames.stamps_ns, np.arange(8) * 40 * MS)
    np.testing.assert_array_equal(frames.term_stamps_ns["joint_position"], frames.stamps_ns)
    assert frames.action_names == ("b", "a")


def test_terms_that_do_not_fill_a_vector_are_refused(foreign):
    with pytest.raises(ConfigError, match=r"observation\.state has the shape \(2,\).*Expected \(4,\)"):
        map_foreign(foreign, arm_card(), state=("joint_position", "joint_velocity"))
    with pytest.raises(ConfigError, match="there is no term 'tail'"):
        map_foreign(foreign, arm_card(), state=("tail",))
