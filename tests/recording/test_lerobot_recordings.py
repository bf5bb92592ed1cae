"""Protects the import of datasets as recordings: what was exported, imported and exported again is the same,
sets of others come in by naming their terms, and what does not fit the robot leaves nothing behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made import Clock
from sets import CARD, MS, arm_card, make_foreign, record

from hardware.errors import ConfigError, ConfigErrors
from recording import Episode, EventKind, Outcome
from recording.lerobot_export import Selection, export_recordings
from recording.lerobot_recordings import Naming, import_set
from recording.lerobot_set import CARD_FILE, RECORD_FILE, table_hashes
from recording.repair import verify
from recording.sampling import SamplingConfig

WITH_CAMERA = SamplingConfig(fps=30, cameras=("front",))
ALL = Selection(outcomes=())


def bring(source, target, **more):
    return import_set(source, target, steady_clock=Clock(), **more)


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    record(folder / "episode_000000.mcap", start_ns=5_000 * MS, seconds=0.7)
    # Out of step with the joints, and of a camera that pauses: two pieces.
    late = [at for at in range(3, 2000, 40) if not 600 < at < 1200]
    record(
        folder / "episode_000001.mcap",
        start_ns=9_000 * MS,
        seconds=2.0,
        image_ms=late,
        command_ms=range(7, 2000, 20),
        outcome=EventKind.FAILURE,
    )
    record(folder / "episode_000002.mcap", start_ns=15_000 * MS, seconds=0.7, outcome=None)
    return folder


def test_what_is_imported_exports_to_the_same_tables(tmp_path, recordings):
    first, _ = export_recordings(recordings, tmp_path / "set", WITH_CAMERA, selection=ALL, video=False)
    told = []
    made = bring(tmp_path / "set", tmp_path / "back", progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 4) for n in (1, 2, 3, 4)]
    assert [one.path.name for one in made] == [f"episode_00000{n}.mcap" for n in range(4)]
    assert [one.moments for one in made] == [one.frames for one in first.episodes]
    assert all(verify(one.path).is_ok for one in made)
    again, skipped = export_recordings(
        tmp_path / "back", tmp_path / "again", WITH_CAMERA, selection=ALL, video=False
    )
    assert skipped == ()
    assert again.tables == first.tables
    assert [(one.task, one.success) for one in again.episodes] == [
        (one.task, one.success) for one in first.episodes
    ]
    # The same set gives the same episodes: merging them twice copies nothing.
    twice = bring(tmp_path / "set", tmp_path / "twice")
    for one, other in zip(made, twice, strict=True):
        assert Episode.open(one.path).metadata.info == Episode.open(other.path).metadata.info


def test_a_recording_holds_what_the_set_knows_and_no_more(tmp_path, recordings):
    export_recordings(recordings, tmp_path / "set", WITH_CAMERA, selection=ALL, video=False)
    made = bring(tmp_path / "set", tmp_path / "back")
    episode = Episode.open(made[0].path)
    original = Episode.open(recordings / "episode_000000.mcap")
    info = episode.metadata.info
    assert (info.robot, info.namespace, info.instruction) == ("arm", "/arm", "turn it")
    assert (info.git_commit, info.started_utc, info.operator) == ("", "", "")
    assert episode.robot_card == arm_card()
    assert set(episode.attachments) == {"robot_card.yaml", "dataset/info.json", "dataset/export.yaml"}
    assert episode.metadata.notes == ("imported from set: episode 0, which was episode_000000.mcap",)
    outcomes = [Episode.open(one.path).metadata.outcome for one in made]
    assert outcomes == [Outcome.SUCCESS, Outcome.FAILURE, Outcome.FAILURE, Outcome.UNKNOWN]
    # Measured values keep the stamps of their capture, and count as received when the set first holds them.
    stamps = {m.stamp_ns: list(m.data.position) for m in original.messages("joint_states")}
    moments = [m.stamp_ns for m in episode.messages("dataset/moment")]
    for message in episode.messages("joint_states"):
        position = dict(zip(message.data.name, message.data.position, strict=True))
        assert [position["a"], position["b"]] == stamps[message.stamp_ns]
        assert message.receive_ns == min(moment for moment in moments if moment >= message.stamp_ns)
    # A rate below the card's is said, not hidden.
    assert any("joint_states" in finding for finding in made[0].findings)


def test_what_a_set_lacks_is_not_made_up(tmp_path, recordings):
    positions = SamplingConfig(fps=50, terms=("joint_position",))
    export_recordings(recordings, tmp_path / "set", positions)
    bring(tmp_path / "set", tmp_path / "back")
    episode = Episode.open(tmp_path / "back" / "episode_000000.mcap")
    assert all(len(message.data.velocity) == 0 for message in episode.messages("joint_states"))
    with pytest.raises(ConfigError, match="0 numbers in 'velocity' for 2 joints"):
        export_recordings(tmp_path / "back", tmp_path / "again", SamplingConfig(fps=50))
    export_recordings(tmp_path / "back", tmp_path / "again", positions)
    assert table_hashes(tmp_path / "again") == table_hashes(tmp_path / "set")


def test_a_set_of_others_comes_in_by_the_card_and_the_names_of_its_terms(tmp_path, recordings):
    positions = SamplingConfig(fps=50, terms=("joint_position",))
    export_recordings(recordings, tmp_path / "set", positions)
    root = tmp_path / "set"
    make_foreign(root, ["b_pos", "a_pos"])
    with pytest.raises(ConfigError, match="does not say which robot it is of.*--robot"):
        bring(root, tmp_path / "back")
    with pytest.raises(ConfigError, match="an element 'b_pos'.*--state"):
        bring(root, tmp_path / "back", card=arm_card())
    assert not (tmp_path / "back").exists()
    made = bring(root, tmp_path / "back", card=arm_card(), naming=Naming(state=("joint_position",)))
    episode = Episode.open(made[0].path)
    assert episode.metadata.outcome is Outcome.UNKNOWN
    stamps = [message.stamp_ns for message in episode.messages("joint_states")]
    np.testing.assert_array_equal(np.diff(stamps), 20 * MS)


def test_data_of_another_robot_is_refused_with_every_difference(tmp_path, recordings):
    export_recordings(recordings, tmp_path / "set", WITH_CAMERA, video=False)
    other = {**CARD, "cameras": {"front": {**CARD["cameras"]["front"], "width": 128}}}
    limits = CARD["commands"]["joints"]["limits"]
    other["commands"] = {
        "joints": {**CARD["commands"]["joints"], "limits": {**limits, "a": {**limits["a"], "velocity": 1.0}}}
    }
    with pytest.raises(ConfigErrors) as caught:
        bring(tmp_path / "set", tmp_path / "back", card=arm_card(**other))
    text = str(caught.value)
    assert "cameras.front.width: 96 instead of 128" in text
    assert "commands.joints.limits.a.velocity: 3.0 instead of 1.0" in text
    assert not (tmp_path / "back").exists()


def test_columns_that_the_robot_has_not_are_listed(tmp_path, recordings):
    export_recordings(recordings, tmp_path / "set", WITH_CAMERA, video=False)
    (tmp_path / "set" / CARD_FILE).unlink()
    (tmp_path / "set" / RECORD_FILE).unlink()
    text = json.dumps(CARD).replace('"b"', '"c"')
    other = arm_card(**{**json.loads(text), "cameras": {}})
    with pytest.raises(ConfigErrors) as caught:
        bring(tmp_path / "set", tmp_path / "back", card=other)
    for line in (
        "joint_position: b, a instead of c, a",
        "camera front: 96 x 64 instead of nothing",
        "action: b, a instead of c, a",
    ):
        assert line in str(caught.value)


def test_a_failure_on_the_way_leaves_nothing(tmp_path, recordings, monkeypatch):
    export_recordings(recordings, tmp_path / "set", WITH_CAMERA, selection=ALL, video=False)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="the folder exists"):
        bring(tmp_path / "set", tmp_path / "taken")
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(file, data, offset):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recording.writer.os.pwrite", full)
    with pytest.raises(ConfigError, match="the disk is full"):
        bring(tmp_path / "set", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def spoil_table(root, column, change):
    """Change one column of a dataset's table, as a faulty program or disk would."""
    import pyarrow
    import pyarrow.parquet as parquet

    path = root / "data" / "chunk-000" / "file-000.parquet"
    table = parquet.read_table(path)
    values = change(table[column].to_pylist())
    place = table.column_names.index(column)
    field = table.schema.field(column)
    parquet.write_table(table.set_column(place, field, pyarrow.array(values, field.type)), path)


def with_nan(rows):
    rows[3] = [float("nan"), rows[3][1]]
    return rows


def with_a_jump_back(stamps):
    return [stamp - (500 * MS if row > 10 else 0) for row, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    ("column", "change", "text"),
    [
        ("action", with_nan, "'action' is not finite at 1 of .* the first is number 3"),
        ("reflexarc.stamp_ns", with_a_jump_back, "the moments do not rise"),
        ("reflexarc.stamp_ns.action", with_a_jump_back, "the stamps of /arm/gate/command go back"),
    ],
)
def test_a_damaged_dataset_is_refused_and_nothing_is_left(tmp_path, recordings, column, change, text):
    positions = SamplingConfig(fps=50, terms=("joint_position",))
    export_recordings(recordings, tmp_path / "set", positions)
    spoil_table(tmp_path / "set", column, change)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match=text):
        bring(tmp_path / "set", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_half_written_dataset_is_refused(tmp_path, recordings):
    export_recordings(recordings, tmp_path / "set", SamplingConfig(fps=50, terms=("joint_position",)))
    path = tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ConfigError, match="LeRobot cannot read the dataset.*whose recording was cut off"):
        bring(tmp_path / "set", tmp_path / "back")
    assert not (tmp_path / "back").exists()
