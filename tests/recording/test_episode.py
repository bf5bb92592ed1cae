"""Protects episodes: what is written is read again, bit for bit, whole or half-written, damaged or not."""

import errno
import fcntl
import os
import threading

import pytest
from made import CAMERA, JOINTS, NOTE, Clock, image, joints, numbers, open_writer, string, write_joints

from hardware.errors import ConfigError
from recording import Episode, Event, EventKind, Outcome, WriterConfig
from recording.scan import CHECKSUM
from recording.writer import is_being_written


def finished(path, count=10, **more):
    writer = open_writer(path, **more)
    write_joints(writer, range(count))
    return writer.finish()


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "episode_000007.mcap"
    writer = open_writer(
        path,
        number=7,
        task="PickCube",
        attachments={"robot_card.yaml": b"name: arm\n"},
        topics=(JOINTS, CAMERA, NOTE),
    )
    raw = image(5, range(24))
    writer.write(CAMERA.name, raw, stamp_ns=5, receive_ns=9)
    writer.write(JOINTS.name, joints(6, (0.25, -1.5)), stamp_ns=6, receive_ns=10)
    writer.write(NOTE.name, string("hello"), stamp_ns=11, receive_ns=11)
    writer.add_event(Event(EventKind.NOTE, 12, "a note"))
    writer.add_event(Event(EventKind.FAILURE, 13, "dropped it"))
    assert not path.exists()
    assert writer.finish(quality={"findings": []}, dropped=2) == path
    assert not writer.part_path.exists()

    episode = Episode.open(path)
    assert episode.is_complete
    assert not episode.damages
    assert episode.message_count == 3
    assert [t.count for t in episode.topics.values()] == [1, 1, 1]
    assert episode.topics["/arm/joint_states"].type == "sensor_msgs/msg/JointState"
    ((stamp_ns, receive_ns, data),) = episode.messages("front/image")
    assert (stamp_ns, receive_ns, bytes(data.data), data.header.stamp.nanosec) == (5, 9, bytes(range(24)), 5)
    assert [list(m.data.position) for m in episode.messages("/arm/joint_states")] == [[0.25, -1.5]]
    assert [m.data.data for m in episode.messages("note")] == ["hello"]
    assert [m.data for m in episode.raw_messages(["front/image"])] == [raw]
    assert [m.topic for m in episode.raw_messages()] == [CAMERA.name, JOINTS.name, NOTE.name]
    assert episode.attachments == {"robot_card.yaml": b"name: arm\n"}
    metadata = episode.metadata
    assert (metadata.info.number, metadata.info.task, metadata.info.namespace) == (7, "PickCube", "/arm")
    assert (metadata.outcome, metadata.reason) == (Outcome.FAILURE, "dropped it")
    assert metadata.notes == ("a note",)
    assert (metadata.end.messages, metadata.end.dropped, metadata.end.reason) == (3, 2, "stopped")
    assert metadata.quality == {"findings": []}
    assert episode.duration_s == pytest.approx(2e-9)


def test_the_scan_of_a_finished_file_finds_what_its_summary_says(tmp_path, monkeypatch):
    path = finished(tmp_path / "e.mcap", config=WriterConfig(chunk_bytes=500))
    whole = Episode.open(path, scan_all=True)
    with monkeypatch.context() as patch:
        patch.delattr("recording.episode._scan")
        quick = Episode.open(path)
    assert quick.topics == whole.topics
    assert (quick.message_count, quick.duration_s) == (whole.message_count, whole.duration_s)
    assert quick.metadata == whole.metadata
    assert numbers(quick) == numbers(whole) == list(range(10))
    assert whole.is_complete
    assert not whole.damages


def test_other_readers_understand_the_file(tmp_path):
    """Foxglove and rosbag2 use the same format; the library's own strict reader stands for them."""
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    path = finished(tmp_path / "e.mcap", config=WriterConfig(chunk_bytes=500))
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        found = [m.position[0] for _, _, _, m in reader.iter_decoded_messages()]
        assert reader.get_header().profile == "ros2"
    assert found == list(map(float, range(10)))


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_a_half_written_file_gives_every_whole_chunk(tmp_path, compression):
    writer = open_writer(tmp_path / "e.mcap", config=WriterConfig(compression=compression))
    write_joints(writer, range(5))
    writer.commit()
    durable = writer.size_bytes
    write_joints(writer, range(5, 9))
    writer.commit()
    whole = writer.size_bytes
    writer.abandon()
    for size in range(whole, durable - 1, -1):
        os.truncate(writer.part_path, size)
        episode = Episode.open(writer.part_path)
        # What follows a chunk is only its index, which a half-written file does without.
        assert numbers(episode) in ([0, 1, 2, 3, 4], list(range(9)))
        assert not episode.is_complete
        assert not episode.damages
    assert numbers(Episode.open(writer.part_path)) == [0, 1, 2, 3, 4]
    assert Episode.open(writer.part_path).metadata.info.robot == "arm"


def test_nothing_but_the_open_chunk_is_at_risk(tmp_path):
    """A chunk ends when it is full, when its time is up, and with every event."""
    clock = Clock()
    writer = open_writer(tmp_path / "e.mcap", clock, config=WriterConfig(chunk_bytes=1000, chunk_s=0.5))
    write_joints(writer, range(3))
    assert writer.durable_messages == 0
    clock.now_ns = 499_999_999
    writer.tick()
    assert writer.durable_messages == 0
    clock.now_ns = 500_000_000
    writer.tick()
    assert writer.durable_messages == 3
    write_joints(writer, range(3, 30))
    assert 3 < writer.durable_messages <= 30
    assert numbers(Episode.open(writer.part_path)) == list(range(writer.durable_messages))
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_a_damaged_chunk_is_told_and_the_others_are_read(tmp_path):
    writer = open_writer(tmp_path / "e.mcap", config=WriterConfig(compression="none"))
    for first in (0, 3, 6):
        write_joints(writer, range(first, first + 3))
        writer.commit()
    path = writer.finish()
    data = bytearray(path.read_bytes())
    needle = joints(4 * 20_000_000, (4.0, 0.0))
    place = data.find(needle)
    data[place + len(needle) - 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="a damaged chunk .* at byte .*reflexarc data repair"):
        numbers(Episode.open(path))
    episode = Episode.open(path, scan_all=True)
    assert numbers(episode) == [0, 1, 2, 6, 7, 8]
    assert [d.what for d in episode.damages] == ["a damaged chunk (CRCValidationError)", CHECKSUM]


def test_a_word_that_was_changed_is_noticed(tmp_path):
    """Texts beside the messages have no checksum of their own."""
    path = finished(tmp_path / "e.mcap", task="PickCube")
    path.write_bytes(path.read_bytes().replace(b"PickCube", b"PickCure"))
    assert [d.what for d in Episode.open(path, scan_all=True).damages] == [CHECKSUM]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "the file is empty"), (b"not a recording at all", "this is no MCAP file")],
)
def test_what_is_no_episode_is_refused(tmp_path, content, text):
    path = tmp_path / "e.mcap"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        Episode.open(path)
    with pytest.raises(ConfigError, match="cannot be read .No such file"):
        Episode.open(tmp_path / "none.mcap")


def test_zeros_at_the_end_are_told_and_cost_nothing(tmp_path):
    """What some file systems leave after a power cut."""
    writer = open_writer(tmp_path / "e.mcap")
    write_joints(writer, range(4))
    writer.commit()
    writer.abandon()
    with writer.part_path.open("ab") as file:
        file.write(bytes(4096))
    episode = Episode.open(writer.part_path)
    assert numbers(episode) == [0, 1, 2, 3]
    assert [d.what for d in episode.damages] == ["no record (kind 0)"]


def test_an_unknown_topic_is_named_with_those_there_are(tmp_path):
    episode = Episode.open(finished(tmp_path / "e.mcap"))
    with pytest.raises(ConfigError, match="no topic 'odom'.*/arm/joint_states"):
        list(episode.messages("odom"))


def test_an_episode_without_messages_is_one(tmp_path):
    episode = Episode.open(finished(tmp_path / "e.mcap", count=0))
    assert (episode.message_count, episode.duration_s, episode.is_complete) == (0, 0.0, True)


def test_a_clock_that_goes_back_is_noted_and_the_order_of_arrival_is_kept(tmp_path):
    writer = open_writer(tmp_path / "e.mcap")
    write_joints(writer, range(3), start_ns=10**10)
    write_joints(writer, range(3, 6), start_ns=0)
    episode = Episode.open(writer.finish())
    assert numbers(episode) == [0, 1, 2, 3, 4, 5]
    assert episode.metadata.clock_jumps == 1
    (event,) = episode.metadata.events
    assert event.text == "the clock went back by 9.980 s"


def test_an_episode_is_never_overwritten(tmp_path):
    path = finished(tmp_path / "e.mcap")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="the episode exists"):
        open_writer(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e.mcap"]
    writer = open_writer(tmp_path / "f.mcap")
    with pytest.raises(ConfigError, match="is being recorded"):
        open_writer(tmp_path / "f.mcap")
    assert is_being_written(writer.part_path)
    writer.abandon()
    assert not is_being_written(writer.part_path)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be written .No such file"):
        open_writer(tmp_path / "none" / "e.mcap")
    with pytest.raises(ConfigError, match="the compression is 'rar'"):
        open_writer(tmp_path / "e.mcap", config=WriterConfig(compression="rar"))


def test_whoever_looks_at_an_episode_that_begins_is_waited_for(tmp_path, monkeypatch):
    lock, lookers = fcntl.flock, []

    def look_first(file, how):
        if not lookers:
            looker = os.open(tmp_path / "episode_000000.mcap.part", os.O_RDONLY)
            lock(looker, fcntl.LOCK_SH)
            lookers.append(threading.Timer(0.1, os.close, [looker]))
            lookers[0].start()
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", look_first)
    assert numbers(Episode.open(finished(tmp_path / "episode_000000.mcap"))) == list(range(10))
    lookers[0].join()


def test_a_disk_that_cannot_lock_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ConfigError, match="the episode cannot be written .No locks available"):
        finished(tmp_path / "episode_000000.mcap")
    assert not list(tmp_path.iterdir())
