"""Protects `reflexarc record`: keys, the status in the terminal, plans, and systems really recorded."""

import dataclasses
import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time

import pytest
from rich.console import Console

from recording import Episode, Outcome
from recording.folder import finished
from recording.repair import verify
from reflexarc.cli import main
from reflexarc.record_screen import KeyReader, screen
from tests.recording.reports import REPORT

STATUS = {
    "state": "recording",
    "message": "recording",
    "episode": 12,
    "duration_s": 3.25,
    "messages": 812,
    "size_bytes": 4_200_000,
    "dropped": 3,
    "finished": 2,
    "findings": ["/so101/wrist/image: silent for 2.00 s"],
    "quality": REPORT.to_document(),
    "outcome": "unknown",
    "instruction": "pick [the] cube",
    "folder": "/data",
    "time_left_s": 7200.0,
    "bytes_per_s": 1.2e6,
}


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("s", [("start", "")]),
        ("sxY", [("start", ""), ("stop", ""), ("success", "")]),
        ("rd", [("rerecord", ""), ("discard", "")]),
        ("f\r", [("failure", "")]),
        ("fdropped it\n", [("failure", "dropped it")]),
        ("na flx\x7fy\r", [("note", "a fly")]),
        ("n\r", []),
        ("nquit\x1bs", [("start", "")]),
        ("ipick s\rx", [("instruction", "pick s"), ("stop", "")]),
        ("?z", []),
    ],
)
def test_keys_ask_for_what_they_say(typed, asked):
    found = []
    reader = KeyReader(lambda request, text: found.append((request, text)))
    reader.feed(typed)
    assert found == asked
    assert not reader.wants_to_quit


def test_q_quits_but_not_within_words():
    reader = KeyReader(lambda request, text: None)
    reader.feed("nq")
    assert not reader.wants_to_quit
    reader.feed("\rq")
    assert reader.wants_to_quit


# --- the screen --------------------------------------------------------------------------------


def shown(status, **more):
    console = Console(width=140, record=True, file=open(os.devnull, "w"))
    console.print(screen(status, **{"answer": "", "reader": None, "plan": "", **more}))
    return console.export_text()


def test_the_screen_says_what_is_recorded_and_how_good_it_is():
    reader = KeyReader(lambda request, text: None)
    text = shown(STATUS, answer="noted", reader=reader, plan="50 episodes")
    for part in (
        "recording",
        "episode 12",
        "3.2 s",
        "4.2 MB",
        "2 finished",
        "3 messages dropped",
        "pick [the] cube",
        "/so101/joint_states",
        "49.6",
        "to look at: /so101/wrist/image: silent for 2.00 s",
        "room for 120 min",
        "50 episodes",
        "noted",
        "q quit",
    ):
        assert part in text, part
    reader.feed("na fly")
    assert "note: a fly" in shown(STATUS, reader=reader)
    assert "waiting for the recorder" in shown({})
    assert "the disk is full" in shown({**STATUS, "state": "failed", "message": "the disk is full"})


def rows(text):
    """The words of every line, by its first one."""
    return {
        words[0]: words[1:] for words in (line.strip("│ ").split() for line in text.splitlines()) if words
    }


def test_the_screen_shows_every_figure_with_its_unit_and_marks_what_is_beyond_its_limit():
    text = shown(STATUS)
    found = rows(text)
    assert "at rest ! 86% of 12.5 s   broken numbers ! 1" in text
    assert "limits: at rest 80%, frozen 0.5 s, drift 0.05 rad; range: one over 2%" in text
    front, wrist = ("/so101/front/image", "/so101/wrist/image")
    # The cameras' own rows come before those of all topics.
    cameras = rows(text.split("longest gap")[0])
    assert " ".join(cameras[front]) == "4 ms 11 ms 19 ms 67 ms 0.0 s"
    assert " ".join(cameras[wrist]) == "21 ms ! 87 ms 141 ms 67 ms ! 1.4 s"
    assert " ".join(found["shoulder_pan"]) == "812 rad/s³ 3000 31% ! +0.103 rad leader"
    assert " ".join(found["shoulder_lift"]) == "! 3457 rad/s³ 3000 44% -0.004 rad leader"
    assert " ".join(found["gripper"]) == "12 rad/s³"
    assert " ".join(found["/so101/joint_states"]) == "! 162 (2 back) ! 43.9 50 ! 12.3% ! 621 ms 1.8 ms"
    assert " ".join(found["/so101/gate/command"]) == "162 49.6 20 ms 1.0 ms"
    assert "! /so101/side/image" in text


def test_nothing_is_marked_where_nothing_is_beyond_its_limit():
    good = dataclasses.replace(REPORT, marks=(), missing=())
    text = shown({**STATUS, "findings": [], "quality": good.to_document()})
    assert "!" not in text
    assert "nothing to object to" in text


def test_what_cannot_be_judged_is_told_without_figures():
    text = shown(
        {**STATUS, "findings": ["it cannot be judged"], "quality": {"findings": ["it cannot be judged"]}}
    )
    assert "to look at: it cannot be judged" in text
    assert "at rest" not in text


def test_a_low_terminal_shows_the_keys_and_leaves_topics_out():
    status = {**STATUS, "findings": list(REPORT.findings)}
    lines = shown(status, reader=KeyReader(lambda request, text: None), answer="noted").splitlines()
    assert any("and 5 more" in line for line in lines)
    keys = next(i for i, line in enumerate(lines) if "q quit" in line)
    topics = next(i for i, line in enumerate(lines) if "longest gap" in line)
    assert keys < topics
    assert keys < 24


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--episodes", "3", "--seconds", "2"], "--episodes without a system"),
        (["arm", "--episodes", "3"], "--episodes 3 without --seconds"),
        (["arm", "--episodes", "-1"], "numbers of zero or more"),
        (["--operator", "Ada"], "--operator without a system"),
        (["--exclude", "tf"], "--exclude without a system"),
        (["arm", "--thresholds", "half"], "the thresholds are 'half'"),
        (["arm", "--exclude", "front image"], "'front image' is not a topic"),
        (["arm", "--calibration", "none.yaml"], "none.yaml cannot be read"),
        (["arm", "--judged"], "--judged without --episodes"),
        (["submarine"], "there is no system 'submarine'"),
        (["arm", "policy:=raptor/published"], "the policy was made for robots of kind 'quadrotor'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["record", *words]) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch, capsys):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**9))
    words = ["arm", "--out", str(tmp_path / "out"), "--episodes", "5000", "--seconds", "100"]
    assert main(["record", *words]) == 2
    assert "the disk has 1.00 GB free" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- over ROS ----------------------------------------------------------------------------------


def in_own_domain(words, **more):
    from reflexarc_ros.domain import OwnDomain

    with OwnDomain() as domain:
        return subprocess.run(
            [sys.executable, "-m", "reflexarc", *words],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain.id)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **more,
        )


@pytest.mark.ros
def test_the_expert_is_recorded_without_a_person_and_judged_by_the_twin(tmp_path):
    done = in_own_domain(
        [
            *("record", "arm", "policy:=expert/pick_cube", "--out", str(tmp_path), "--task", "PickCube"),
            *("--episodes", "2", "--seconds", "20", "--judged", "--json"),
        ]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [episode["number"] for episode in found["episodes"]] == [0, 1]
    assert "status page: http://127.0.0.1:" in done.stderr
    for path in finished(tmp_path):
        assert verify(path).is_ok
        episode = Episode.open(path)
        assert episode.metadata.outcome is Outcome.SUCCESS
        assert (episode.metadata.info.task, episode.metadata.info.operator) == ("PickCube", "pick_cube")
        counts = {name: topic.count for name, topic in episode.topics.items()}
        assert counts["/so101/gate/command"] > 50
        assert counts["/so101/joint_states"] > 50
        assert counts["/so101/command/policy"] > 0
        assert counts["/so101/robot_description"] == 1
        first = next(episode.messages("joint_states"))
        assert "gripper" in first.data.name
        parameters = json.loads(episode.attachments["parameters.json"])
        assert parameters["arguments"]["policy"] == "expert/pick_cube"
        assert "policy_card.yaml" in episode.attachments


@pytest.mark.ros
def test_cameras_are_recorded_as_they_were_seen(tmp_path):
    """In real time: images in the background, each with the stamp of what it shows."""
    (tmp_path / "eye.yaml").write_text("focal: 300\n")
    done = in_own_domain(
        [
            *("record", "arm", "cameras:=true", "--out", str(tmp_path / "out"), "--operator", "Ada"),
            *("--episodes", "1", "--seconds", "4", "--json", "--calibration", str(tmp_path / "eye.yaml")),
            *("--thresholds", '{"min_duration_s": 100}', "--exclude", "front/camera_info", "/diagnostics"),
        ]
    )
    assert done.returncode == 0, done.stderr
    (path,) = finished(tmp_path / "out")
    episode = Episode.open(path)
    assert episode.metadata.info.operator == "Ada"
    assert episode.attachments["calibration/eye.yaml"] == b"focal: 300\n"
    assert not {"/so101/front/camera_info", "/diagnostics"} & set(episode.topics)
    assert "less than 100 s" in str(episode.metadata.quality["findings"])
    assert episode.metadata.quality["missing"] == []
    for camera in ("front", "wrist"):
        images = list(episode.messages(f"{camera}/image"))
        assert images
        first = images[0].data
        assert (first.width, first.height, len(first.data)) == (320, 240, 320 * 240 * 3)
        assert len(set(first.data)) > 10
        stamps = [image.stamp_ns for image in images]
        assert stamps == sorted(set(stamps))
        # Either of the two may be lost on a busy machine: cameras are best effort.
        if camera == "front":
            continue
        models = {info.stamp_ns for info in episode.messages(f"{camera}/camera_info")}
        assert models & set(stamps)
    assert {"/so101/front/image", "/so101/wrist/image"} == set(episode.metadata.quality["cameras"])


@pytest.mark.ros
def test_nothing_to_join_is_told(tmp_path):
    done = in_own_domain(["record", "--search-s", "1"], cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no recorder" in done.stderr


@pytest.mark.ros
def test_a_person_records_in_a_terminal(tmp_path):
    """A real terminal: the status is drawn, keys start and judge an episode, q keeps the open one."""
    from reflexarc_ros.domain import OwnDomain

    main_side, terminal = pty.openpty()
    with OwnDomain() as domain:
        process = subprocess.Popen(
            [sys.executable, "-m", "reflexarc", "record", "arm", "--out", str(tmp_path)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain.id), "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(terminal)
        seen = Seen(main_side)
        try:
            assert seen.wait("q quit"), seen.text
            os.write(main_side, b"s")
            assert seen.wait("episode 0"), seen.text
            assert wait_for(lambda: list(tmp_path.glob("*.part")))
            os.write(main_side, b"na fly\r")
            assert seen.wait("note: a fly"), seen.text
            # What is said is on the disk at once.
            assert wait_for(lambda: any(b"a fly" in part.read_bytes() for part in tmp_path.glob("*.part")))
            os.write(main_side, b"fslipped\r")
            assert wait_for(lambda: list(tmp_path.glob("*.mcap"))), seen.text
            os.write(main_side, b"s")
            assert wait_for(lambda: list(tmp_path.glob("*.part"))), seen.text
            os.write(main_side, b"q")
            assert process.wait(60) == 0, seen.text
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            seen.close()
    first, second = finished(tmp_path)
    metadata = Episode.open(first).metadata
    assert (metadata.outcome, metadata.reason, metadata.notes) == (Outcome.FAILURE, "slipped", ("a fly",))
    assert verify(first).is_ok
    assert verify(second).is_ok


def take_terminal():
    """Make standard input the terminal of the new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


class Seen:
    """What a terminal shows."""

    def __init__(self, file):
        self._file, self.text, self._running = file, "", True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, text):
        return wait_for(lambda: text in self.text)

    def close(self):
        self._running = False
        self._thread.join(5)
        os.close(self._file)

    def _read(self):
        while self._running:
            if select.select([self._file], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._file, 65536).decode("utf-8", "replace")
                except OSError:
                    return
