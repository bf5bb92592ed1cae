"""Protects folders of episodes: numbers, merging, deleting, repairing, verifying, and room on the disk."""

import errno
import os
import shutil
from dataclasses import replace

import pytest
from made import JOINTS, Clock, info, joints, numbers, open_writer, write_joints

from hardware import load_robot_card
from hardware.errors import ConfigError
from recording import Episode, EpisodeWriter, Event, EventKind, Outcome, WriterConfig, folder
from recording.folder import (
    FileState,
    delete_episodes,
    episode_path,
    finished,
    forecast,
    list_episodes,
    merge_folders,
    next_number,
)
from recording.repair import repair, verify


def record(folder, number, count=5, **more):
    folder.mkdir(exist_ok=True)
    writer = open_writer(episode_path(folder, number), number=number, **more)
    write_joints(writer, range(count))
    return writer.finish()


def half_write(folder, number, chunks=2, **more):
    """An episode whose recorder was killed with a chunk open."""
    folder.mkdir(exist_ok=True)
    writer = open_writer(episode_path(folder, number), number=number, **more)
    for chunk in range(chunks):
        write_joints(writer, range(10 * chunk, 10 * chunk + 10))
        writer.commit()
    write_joints(writer, range(10 * chunks, 10 * chunks + 5))
    writer.abandon()
    return writer.part_path


def test_a_folder_is_what_lies_in_it(tmp_path):
    assert list_episodes(tmp_path / "none") == ()
    assert next_number(tmp_path) == 0
    record(tmp_path, 3)
    half = half_write(tmp_path, 7)
    (tmp_path / "notes.txt").write_text("not an episode")
    open_one = open_writer(episode_path(tmp_path, 8))
    states = {file.number: file.state for file in list_episodes(tmp_path)}
    assert states == {3: FileState.FINISHED, 7: FileState.HALF_WRITTEN, 8: FileState.RECORDING}
    assert next_number(tmp_path) == 9
    assert [p.name for p in finished(tmp_path)] == ["episode_000003.mcap"]
    assert finished(half) == (half,)
    open_one.discard()
    with pytest.raises(ConfigError, match="no finished episode.*episode_000012.mcap"):
        finished(tmp_path / "none")


def test_deleting_takes_all_or_nothing(tmp_path):
    record(tmp_path, 0)
    record(tmp_path, 1)
    writer = open_writer(episode_path(tmp_path, 2))
    with pytest.raises(ConfigError, match="there is no episode 9"):
        delete_episodes(tmp_path, [0, 9])
    with pytest.raises(ConfigError, match="episode 2 is being recorded"):
        delete_episodes(tmp_path, [0, 2])
    assert len(list_episodes(tmp_path)) == 3
    writer.abandon()
    deleted = [path.name for path in delete_episodes(tmp_path, [0, 2])]
    assert deleted == ["episode_000000.mcap", "episode_000002.mcap.part"]
    assert [file.number for file in list_episodes(tmp_path)] == [1]


def test_merging_numbers_anew_and_again_does_nothing(tmp_path):
    a, b, target = tmp_path / "a", tmp_path / "b", tmp_path / "all"
    first, second = record(a, 4), record(a, 6, count=7)
    third = record(b, 0, count=9)
    record(target, 2, count=3)
    half_write(b, 1)
    seen = []
    merged = merge_folders([a, b], target, progress=lambda done, total: seen.append((done, total)))
    assert merged.copied == (
        (first, episode_path(target, 3)),
        (second, episode_path(target, 4)),
        (third, episode_path(target, 5)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [Episode.open(p).message_count for p in finished(target)] == [3, 5, 7, 9]
    again = merge_folders([a, b], target)
    assert (again.copied, again.known) == ((), (first, second, third))
    assert len(list_episodes(target)) == 4


def test_robots_are_not_mixed(tmp_path):
    record(tmp_path / "a", 0)
    drone = replace(info(), robot="drone")
    EpisodeWriter(episode_path(tmp_path, 0), drone, steady_clock=Clock()).finish()
    with pytest.raises(ConfigError, match="episodes of several robots: 'arm' in .*'drone' in"):
        merge_folders([tmp_path / "a", tmp_path], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_merging_into_a_folder_that_is_recorded_into_overwrites_nothing(tmp_path, monkeypatch):
    target = tmp_path / "all"
    first = record(tmp_path / "a", 0, count=7)
    record(target, 0)
    writers, copyfile = [], shutil.copyfile

    def record_meanwhile(source, copy):
        copyfile(source, copy)
        writers.append(open_writer(episode_path(target, next_number(target))))

    monkeypatch.setattr(shutil, "copyfile", record_meanwhile)
    merged = merge_folders([tmp_path / "a"], target)
    assert merged.copied == ((first, episode_path(target, 2)),)
    write_joints(writers[0], range(9))
    assert writers[0].finish() == episode_path(target, 1)
    assert [Episode.open(p).message_count for p in finished(target)] == [5, 9, 7]


def test_merging_takes_no_number_that_somebody_claims_at_the_same_time(tmp_path, monkeypatch):
    target = tmp_path / "all"
    first = record(tmp_path / "a", 0, count=7)
    claimed = []

    def late(there):
        # Between the look into the folder and the claim.
        number = next_number(there)
        if not claimed:
            claimed.append(open_writer(episode_path(there, number)))
        return number

    monkeypatch.setattr(folder, "next_number", late)
    assert merge_folders([tmp_path / "a"], target).copied == ((first, episode_path(target, 1)),)
    write_joints(claimed[0], range(9))
    claimed[0].finish()
    assert [Episode.open(p).message_count for p in finished(target)] == [9, 7]


def test_merging_onto_a_full_disk_leaves_nothing_half(tmp_path, monkeypatch):
    record(tmp_path / "a", 0)

    def fail(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(ConfigError, match="cannot be copied .No space left"):
        merge_folders([tmp_path / "a"], tmp_path / "all")
    assert list((tmp_path / "all").iterdir()) == []


def test_a_half_written_episode_is_repaired(tmp_path):
    part = half_write(tmp_path, 5, attachments={"robot_card.yaml": b"name: arm\n"})
    found = verify(part)
    assert (found.is_complete, found.messages) == (False, 20)
    assert found.findings == ("its recorder did not finish it",)
    done = repair(part, steady_clock=Clock())
    assert (done.path, done.messages, done.lost) == (episode_path(tmp_path, 5), 20, ())
    assert not part.exists()
    assert verify(done.path).is_ok
    episode = Episode.open(done.path)
    assert numbers(episode) == list(range(20))
    assert episode.metadata.is_repaired
    assert episode.metadata.info.number == 5
    assert episode.metadata.end.reason == "its recorder was interrupted"
    assert episode.attachments == {"robot_card.yaml": b"name: arm\n"}
    assert [p.name for p in tmp_path.iterdir()] == ["episode_000005.mcap"]
    with pytest.raises(ConfigError, match="nothing is wrong with it"):
        repair(done.path, steady_clock=Clock())


def test_a_repair_keeps_what_was_said(tmp_path):
    writer = open_writer(episode_path(tmp_path, 0))
    write_joints(writer, range(3), start_ns=10**9)
    write_joints(writer, range(3, 6))
    writer.add_event(Event(EventKind.SUCCESS, 7, "in the box"))
    writer.commit()
    writer.abandon()
    metadata = Episode.open(repair(writer.part_path, steady_clock=Clock()).path).metadata
    assert (metadata.outcome, metadata.reason, metadata.clock_jumps) == (Outcome.SUCCESS, "in the box", 1)


def test_a_damaged_episode_keeps_its_bytes_beside_the_repaired_one(tmp_path):
    writer = open_writer(episode_path(tmp_path, 0), config=WriterConfig(compression="none"))
    for first in (0, 3, 6):
        write_joints(writer, range(first, first + 3))
        writer.commit()
    path = writer.finish()
    data = bytearray(path.read_bytes())
    data[data.find(joints(4 * 20_000_000, (4.0, 0.0))) + 40] ^= 1
    path.write_bytes(data)
    found = verify(path)
    assert not found.is_ok
    assert found.findings[-1] == "6 messages of 9"
    done = repair(path, steady_clock=Clock())
    assert (done.messages, len(done.lost)) == (6, 2)
    assert numbers(Episode.open(path)) == [0, 1, 2, 6, 7, 8]
    assert path.with_name(path.name + ".damaged").read_bytes() == data
    assert verify(path).is_ok


def test_a_repair_that_was_interrupted_is_done_again(tmp_path):
    part = half_write(tmp_path, 0)
    (tmp_path / "episode_000000.repair.mcap.part").write_bytes(b"left behind")
    assert repair(part, steady_clock=Clock()).messages == 20
    assert [p.name for p in tmp_path.iterdir()] == ["episode_000000.mcap"]


def test_a_file_whose_recorder_was_killed_before_its_first_byte_goes(tmp_path):
    part = tmp_path / "episode_000003.mcap.part"
    part.touch()
    done = repair(part, steady_clock=Clock())
    assert (done.path, done.messages) == (None, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_repair_refuses_an_open_episode_and_a_name_that_is_taken(tmp_path):
    writer = open_writer(episode_path(tmp_path, 0))
    with pytest.raises(ConfigError, match="it is being recorded"):
        repair(writer.part_path, steady_clock=Clock())
    writer.abandon()
    shutil.copyfile(record(tmp_path / "b", 1), episode_path(tmp_path, 0))
    with pytest.raises(ConfigError, match="episode_000000.mcap exists"):
        repair(writer.part_path, steady_clock=Clock())


def test_verify_tells_what_is_wrong(tmp_path):
    assert verify(record(tmp_path, 0)).is_ok
    assert verify(record(tmp_path, 1, count=0)).findings == ("it holds no message",)
    junk = tmp_path / "episode_000002.mcap"
    junk.write_bytes(b"junk and more junk")
    assert verify(junk).findings == ("this is no MCAP file",)
    writer = open_writer(episode_path(tmp_path, 3))
    writer.write(JOINTS.name, b"\x00\x01\x00\x00abc", stamp_ns=1, receive_ns=1)
    (finding,) = verify(writer.finish()).findings
    assert "a message on /arm/joint_states cannot be decoded" in finding


def test_the_forecast_knows_the_card_and_then_the_episodes(tmp_path):
    card = load_robot_card("so101_twin")
    guess = forecast(tmp_path / "new" / "folder", card, reserve_bytes=0, duration_s=10.0)
    images = 2 * 15 * 320 * 240 * 3
    assert images < guess.bytes_per_s < 1.1 * images
    assert guess.needed_bytes == pytest.approx(10.0 * guess.bytes_per_s)
    assert "robot card" in guess.basis
    assert forecast(tmp_path, card, reserve_bytes=0, with_cameras=False).bytes_per_s < 0.1 * images
    path = record(tmp_path, 0, count=101)
    measured = forecast(tmp_path, card, reserve_bytes=0)
    assert measured.bytes_per_s == pytest.approx(path.stat().st_size / 2.0)
    assert measured.fits
    measured.check(tmp_path)
    # What cannot be read keeps nobody from recording beside it.
    episode_path(tmp_path, 1).write_bytes(b"junk and more junk")
    assert forecast(tmp_path, card, reserve_bytes=0).bytes_per_s == measured.bytes_per_s
    full = forecast(tmp_path, card, reserve_bytes=shutil.disk_usage(tmp_path).free, duration_s=60.0)
    assert full.time_left_s < 60.0
    with pytest.raises(ConfigError, match="kept in reserve.*as the last episodes here"):
        full.check(tmp_path)
