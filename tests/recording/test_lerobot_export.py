"""Protects the export: LeRobot loads it, the same input gives the same bytes, other robots are refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sets import CARD, MS, arm_card, record

from hardware import schema
from hardware.errors import ConfigError
from recording import Episode, EventKind
from recording.card_diff import card_differences
from recording.lerobot_export import (
    Selection,
    card_of,
    export_recordings,
    recorded_card,
    sample_recordings,
)
from recording.lerobot_set import ExportRecord, open_set, read_card, read_info, table_hashes
from recording.sampling import SamplingConfig

ALL = SamplingConfig(fps=25, cameras=("front",))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "recordings"
    made.mkdir()
    record(made / "episode_000000.mcap")
    record(made / "episode_000001.mcap", seconds=0.6, start_ns=9_000 * MS)
    return made


@pytest.mark.parametrize("video", [True, False])
def test_lerobot_loads_it_with_sent_actions_and_true_stamps(folder, tmp_path, video):
    record_, skipped = export_recordings(folder, tmp_path / "set", ALL, video=video)
    assert skipped == ()
    assert [(e.source, e.frames) for e in record_.episodes] == [
        ("episode_000000.mcap", 25),
        ("episode_000001.mcap", 15),
    ]
    dataset = open_set(tmp_path / "set")
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (2, 40, 25)
    item = dataset[26]
    assert item["task"] == "turn it"
    torch.testing.assert_close(item["observation.state"], torch.tensor([-40.0, 40.0, 2.0, 1.0]))
    torch.testing.assert_close(item["action"], torch.tensor([-40.5, 40.5]))
    assert int(item["reflexarc.stamp_ns"]) == 9_040 * MS
    assert int(item["reflexarc.stamp_ns.front"]) == 9_040 * MS
    assert dataset.meta.features["observation.state"]["names"] == [
        "joint_position.b", "joint_position.a", "joint_velocity.b", "joint_velocity.a",
    ]  # fmt: skip
    assert item["observation.images.front"].shape == (3, 64, 96)
    if not video:
        # Image files keep every bit: the picture's number is that of its capture.
        assert torch.all(item["observation.images.front"] * 255 == 1)


def test_the_same_recordings_give_the_same_bytes(folder, tmp_path):
    first, _ = export_recordings(folder, tmp_path / "one" / "set", ALL)
    second, _ = export_recordings(folder, tmp_path / "two" / "set", ALL)
    assert first == second
    files = {
        p.relative_to(tmp_path / "one"): p.read_bytes()
        for p in (tmp_path / "one").rglob("*.*")
        if p.is_file()
    }
    again = {
        p.relative_to(tmp_path / "two"): p.read_bytes()
        for p in (tmp_path / "two").rglob("*.*")
        if p.is_file()
    }
    assert len(files) == 8
    assert files == again
    assert first.tables == table_hashes(tmp_path / "one" / "set")
    stored = schema.load(ExportRecord, tmp_path / "one" / "set" / "meta" / "reflexarc" / "export.yaml")
    assert stored == first
    assert read_card(tmp_path / "one" / "set") == arm_card()
    # One number more, and the hash of the table is another.
    record(folder / "episode_000002.mcap", seconds=0.6)
    third, _ = export_recordings(folder, tmp_path / "three" / "set", ALL)
    assert third.tables["data/chunk-000/file-000.parquet"] != first.tables["data/chunk-000/file-000.parquet"]


def test_tables_with_images_in_them_do_not_depend_on_the_folder(folder, tmp_path):
    config = SamplingConfig(fps=25, cameras=("front",))
    first, _ = export_recordings(folder, tmp_path / "one", config, video=False)
    second, _ = export_recordings(folder, tmp_path / "another", config, video=False)
    assert first.tables == second.tables


def test_a_full_disk_leaves_no_half_of_a_dataset(folder, tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(
        ConfigError, match="the dataset cannot be written .*No space left on device.*free some"
    ):
        export_recordings(folder, tmp_path / "set", ALL)
    assert not list(tmp_path.glob("*set*"))
    monkeypatch.undo()
    export_recordings(folder, tmp_path / "set", ALL)


def test_a_recording_of_another_robot_is_refused_with_the_difference(folder, tmp_path):
    other = copy.deepcopy(CARD)
    other["observations"]["joint_position"]["unit"] = "m"
    other["commands"]["joints"]["limits"]["a"]["upper"] = 2.0
    record(folder / "episode_000002.mcap", card=other)
    with pytest.raises(ConfigError) as raised:
        export_recordings(folder, tmp_path / "set", ALL)
    message = str(raised.value)
    assert "episode_000002.mcap: 2 finding(s)" in message
    assert "observations.joint_position.unit: m instead of rad" in message
    assert "commands.joints.limits.a.upper: 2.0 instead of 3000.0" in message
    assert not (tmp_path / "set").exists()


def test_cards_may_differ_in_what_says_nothing_about_the_data():
    other = copy.deepcopy(CARD)
    other |= {"name": "second", "driver": "feetech", "description": "another one"}
    other["observations"]["joint_position"]["rate_hz"] = 200
    assert card_differences(arm_card(**other), arm_card()) == []
    limits = other["commands"]["joints"]["limits"]
    other["commands"]["joints"]["limits"] = {"a": limits["a"], "b": limits["b"]}
    assert card_differences(arm_card(**other), arm_card()) == [
        "commands.joints.names: ['a', 'b'] instead of ['b', 'a']"
    ]


def test_failed_and_faulty_episodes_are_left_out_and_named(folder, tmp_path):
    record(folder / "episode_000002.mcap", outcome=EventKind.FAILURE)
    record(folder / "episode_000003.mcap", joint_value=lambda at: float("nan"))
    record(folder / "episode_000004.mcap", command_ms=())
    with pytest.raises(ConfigError) as raised:
        export_recordings(folder, tmp_path / "set", ALL)
    message = str(raised.value)
    assert "2 of 4 episodes cannot be exported" in message
    assert "is not finite at 25 of 25 moments" in message
    assert "length zero" in message
    assert not (tmp_path / "set").exists()
    made, skipped = export_recordings(folder, tmp_path / "set", ALL, selection=Selection(skip_faulty=True))
    assert len(made.episodes) == 2
    assert {s.source: s.reason.split(":")[0] for s in skipped} == {
        "episode_000002.mcap": "its outcome is failure",
        "episode_000003.mcap": "'joint_position' is not finite at 25 of 25 moments, the first is number 0",
        "episode_000004.mcap": "an episode of length zero",
    }
    everything, _ = export_recordings(
        folder, tmp_path / "all", ALL, selection=Selection(outcomes=(), skip_faulty=True)
    )
    assert [e.success for e in everything.episodes] == [True, True, False]


def test_an_episode_that_cannot_be_read_ends_an_export_or_is_left_out(folder, tmp_path):
    first, whole = folder / "episode_000000.mcap", folder / "episode_000001.mcap"
    first.write_bytes(b"")
    with pytest.raises(ConfigError, match="the file is empty"):
        export_recordings(folder, tmp_path / "set", ALL)
    skip = Selection(skip_faulty=True)
    made, skipped = export_recordings(folder, tmp_path / "set", ALL, selection=skip)
    assert (len(made.episodes), skipped[0].source, skipped[0].reason) == (1, first.name, "the file is empty")
    assert recorded_card(folder, selection=skip) == card_of(Episode.open(whole))
    assert len(list(sample_recordings(folder, ALL, card=recorded_card(whole), selection=skip))) == 1
    whole.write_bytes(b"junk junk junk junk")
    for selection in (skip, Selection()):
        with pytest.raises(ConfigError, match="2 of 2 episodes cannot be read") as raised:
            export_recordings(folder, tmp_path / "none", ALL, selection=selection)
        assert "this is no MCAP file" in str(raised.value)
    assert not (tmp_path / "none").exists()


def test_nothing_is_left_behind_and_nothing_is_overwritten(folder, tmp_path):
    export_recordings(folder, tmp_path / "set", ALL)
    before = table_hashes(tmp_path / "set")
    with pytest.raises(ConfigError, match="the folder exists"):
        export_recordings(folder, tmp_path / "set", ALL)
    assert table_hashes(tmp_path / "set") == before
    none = Selection(outcomes=(), skip_faulty=True)
    with pytest.raises(ConfigError, match="no episode"):
        export_recordings(folder, tmp_path / "none", SamplingConfig(fps=25, min_frames=999), selection=none)
    with pytest.raises(ConfigError, match="there is no term 'tail'"):
        export_recordings(folder, tmp_path / "none", SamplingConfig(fps=25, terms=("tail",)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recordings", "set"]


def test_a_recording_without_a_card_and_a_damaged_set_are_refused(folder, tmp_path):
    export_recordings(folder, tmp_path / "set", ALL)
    record(folder / "episode_000002.mcap", card=None)
    with pytest.raises(ConfigError, match="the recording holds no robot card"):
        export_recordings(folder, tmp_path / "again", ALL)
    table = tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet"
    table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="LeRobot cannot read the dataset"):
        open_set(tmp_path / "set")
    info = tmp_path / "set" / "meta" / "info.json"
    info.write_text(info.read_text().replace('"v3.0"', '"v2.1"'))
    with pytest.raises(ConfigError, match=r"the version is v2\.1"):
        read_info(tmp_path / "set")


def test_images_of_all_usual_packings_are_read():
    import io
    from types import SimpleNamespace

    from PIL import Image

    from recording.decoding import ImageStream

    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)

    def one(**fields):
        return ImageStream(np.zeros(1, np.int64), [SimpleNamespace(**fields)], "camera").image(0)

    raw = {"width": 4, "height": 2}
    np.testing.assert_array_equal(one(**raw, encoding="rgb8", step=12, data=pixels.tobytes()), pixels)
    np.testing.assert_array_equal(
        one(**raw, encoding="bgr8", step=12, data=pixels[:, :, ::-1].tobytes()), pixels
    )
    padded = np.concatenate([pixels.reshape(2, 12), np.full((2, 4), 9, np.uint8)], axis=1)
    np.testing.assert_array_equal(one(**raw, encoding="rgb8", step=16, data=padded.tobytes()), pixels)
    grey = one(**raw, encoding="mono8", step=4, data=bytes(range(8)))
    np.testing.assert_array_equal(grey[:, :, 1], np.arange(8).reshape(2, 4))
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    np.testing.assert_array_equal(one(format="png", data=packed.getvalue()), pixels)
    with pytest.raises(ConfigError, match="a compressed image .* cannot be read"):
        one(format="jpeg", data=b"nonsense")
    with pytest.raises(ConfigError, match="an image of 4 x 2, 'rgb8', in 11 bytes"):
        one(**raw, encoding="rgb8", step=12, data=bytes(11))
