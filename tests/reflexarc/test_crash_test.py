"""Protects «a killed recorder loses at most its open chunk», and the test of it: real losses are counted."""

import json
import os
import shutil
import time

import pytest

from reflexarc.cli import main
from reflexarc.crash_test import CrashTest, Life, crash, inspect
from reflexarc.crash_worker import COUNTER


def test_eighteen_kills_of_the_recorder_lose_open_chunks_alone(tmp_path):
    tally = crash(
        CrashTest(kills=18, target="writer", longest_s=0.5, seed=4), tmp_path, lambda done, total: None
    )
    assert tally.kills == 18
    assert tally.lost == 0, tally.problems
    assert tally.episodes_finished > 0
    assert tally.open_chunks_lost <= 18
    assert tally.messages_finished > 0
    assert tally.messages_saved > 0


@pytest.mark.ros
def test_two_kills_of_recorder_node_over_ros_lose_open_chunks_alone(tmp_path, capsys):
    out = tmp_path / "crash.json"
    code = main(
        [
            "data",
            "crash-test",
            "--kills",
            "2",
            "--longest-s",
            "0.8",
            "--seed",
            "1",
            "--json",
            "--out",
            str(out),
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    assert code == 0, printed
    assert (printed["kills"], printed["lost"]) == (2, 0)
    assert {"episodes_finished", "open_chunks_lost"} <= set(printed)
    assert json.loads(out.read_text()) == printed


def test_no_kills_are_bad_input(capsys):
    assert main(["data", "crash-test", "--kills", "0"]) == 2
    assert "at least one kill" in capsys.readouterr().err


# --- what is counted ---------------------------------------------------------------------------


def record(folder, *, count=20, finish=True, skip=()):
    from recording import EpisodeInfo, EpisodeWriter
    from recording.folder import episode_path, next_number

    number = next_number(folder)
    writer = EpisodeWriter(
        episode_path(folder, number), EpisodeInfo(f"id{number}", number), steady_clock=time.monotonic_ns
    )
    writer.add_topic(COUNTER)
    for i in range(100, 100 + count):
        if i not in skip:
            data = b"\x00\x01\x00\x00" + i.to_bytes(8, "little")
            writer.write(COUNTER.name, data, stamp_ns=i, receive_ns=i)
        if i == 100 + count // 2:
            writer.commit()
    if finish:
        return writer.finish()
    writer.abandon()
    return writer.part_path


def test_whole_episodes_and_an_open_chunk_are_no_loss(tmp_path):
    record(tmp_path)
    record(tmp_path, finish=False)
    tally = inspect(tmp_path, Life(finished={0: (100, 20)}, open=(1, 100, 20, 11)))
    assert (tally.episodes_finished, tally.lost, tally.open_chunks_lost) == (1, 0, 1)
    assert (tally.messages_finished, tally.messages_saved) == (20, 11)


def test_an_episode_finished_without_a_word_is_counted(tmp_path):
    record(tmp_path)
    assert inspect(tmp_path, Life()).episodes_finished == 1
    assert inspect(tmp_path, Life(), known={"episode_000000.mcap"}).episodes_finished == 0


@pytest.mark.parametrize("fault", ["gone", "cut", "flipped", "hole", "fewer", "late"])
def test_a_finished_episode_that_is_not_whole_is_lost(tmp_path, fault):
    path = record(tmp_path, skip=(107,) if fault == "hole" else ())
    life = Life(finished={0: (100, 21 if fault == "fewer" else 19 if fault == "hole" else 20)})
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif fault == "flipped":
        data = bytearray(path.read_bytes())
        data[path.stat().st_size // 3] ^= 255
        path.write_bytes(data)
    elif fault == "late":
        life.at_most[0] = 99
    tally = inspect(tmp_path, life)
    assert tally.lost == 1
    assert len(tally.problems) == 1


def test_more_than_the_open_chunk_is_a_loss(tmp_path):
    record(tmp_path, finish=False)
    tally = inspect(tmp_path, Life(open=(0, 100, 20, 12)))
    assert (tally.lost, tally.open_chunks_lost) == (1, 1)
    assert tally.problems == ("episode_000000.mcap.part: 11 messages of 12 that were on the disk",)


def test_a_killed_life_before_its_first_word_is_no_loss(tmp_path):
    record(tmp_path, finish=False)
    shutil.copy(tmp_path / "episode_000000.mcap.part", tmp_path / "episode_000001.mcap.part")
    assert inspect(tmp_path, Life()).lost == 0
