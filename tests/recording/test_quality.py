"""Protects the judgement of episodes: each fault is found and none where none is, live and from the file."""

import re

import numpy as np
import pytest
from made import CAMERA, COMMAND, JOINTS, NS, WRIST, command, image, joints, open_writer

from hardware import load_robot_card, schema
from recording import Episode
from recording.quality import QualityMonitor, Thresholds, judge

CARD = load_robot_card("so101_twin")
NAMES = CARD.commands["joints"].names
SPECS = (JOINTS, CAMERA, WRIST, COMMAND)
PERIOD = NS // 50
CAMERA_PERIOD = NS // 15


def messages(seconds=4.0, *, rest_from=1e9, drift=0.0):
    """A good episode: an arm swings, two cameras see it, commands are just ahead. In order of arrival."""
    made = []
    rng = np.random.default_rng(0)
    for i in range(int(seconds * 50)):
        stamp_ns = i * PERIOD
        angle = 0.5 * np.sin(2.0 * min(stamp_ns * 1e-9, rest_from))
        made.append((JOINTS, joints(stamp_ns, [angle] * 6, names=NAMES), stamp_ns, stamp_ns + 2_000_000))
        made.append(
            (COMMAND, command(stamp_ns, [angle - drift] * 6, names=NAMES), stamp_ns, stamp_ns + 1_000_000)
        )
    for i in range(int(seconds * 15)):
        for spec, offset_ns in ((CAMERA, 0), (WRIST, 10_000_000)):
            stamp_ns = i * CAMERA_PERIOD + offset_ns
            pixels = rng.integers(0, 255, 24, dtype=np.uint8)
            made.append((spec, image(stamp_ns, pixels), stamp_ns, stamp_ns + 8_000_000))
    return sorted(made, key=lambda m: m[3])


def judged(some, seconds=4.0, thresholds=None):
    monitor = QualityMonitor(CARD, namespace="/arm", start_ns=0, thresholds=thresholds)
    for spec, data, stamp_ns, receive_ns in some:
        monitor.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
    report = monitor.report(end_ns=int(seconds * NS))
    return report, [f for f in report.findings if "cube_pose" not in f]


def test_a_good_episode_has_good_figures_and_no_finding():
    report, findings = judged(messages())
    assert findings == []
    assert report.duration_s == pytest.approx(4.0)
    assert report.topics[JOINTS.name].rate_hz == pytest.approx(50.0)
    assert report.topics[JOINTS.name].latency_p50_s == pytest.approx(0.002)
    assert report.topics[CAMERA.name].nominal_hz == 15.0
    assert report.cameras[WRIST.name].skew_p50_s == pytest.approx(0.01, abs=1e-6)
    assert report.cameras[CAMERA.name].skew_max_s <= 0.0101
    assert report.coverage["shoulder_pan"] == pytest.approx(1.0 / 3.84, rel=0.01)
    # 0.5 sin(2 t): the third derivative has the amplitude 4.
    assert report.jerk["gripper"] == pytest.approx(4.0 / 2**0.5, rel=0.1)
    assert report.idle_share < 0.05


def test_a_topic_of_the_card_that_never_came_is_told():
    report, _ = judged(messages())
    assert report.findings == ("/arm/cube_pose: no message",)
    assert not report.is_good


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            lambda m: [x for i, x in enumerate(m) if x[0] is not JOINTS or i % 3],
            "joint_states: .* are missing",
        ),
        (lambda m: [x for x in m if x[0] is not WRIST or x[2] < 2 * NS], "wrist/image: silent for 2.0. s"),
        (lambda m: [x for x in m if x[0] is not WRIST or x[2] < 2 * NS], "wrist/image: skew .* ms"),
        (
            lambda m: [(s, image(t, [7] * 24), t, r) if s is WRIST else (s, d, t, r) for s, d, t, r in m],
            "wrist/image: the same image for 3.9 s while the robot moved",
        ),
        (
            lambda m: [
                (s, joints(t, [np.nan] * 6, names=NAMES), t, r) if s is JOINTS and t == NS else (s, d, t, r)
                for s, d, t, r in m
            ],
            "1 messages with numbers that are not finite",
        ),
        (
            lambda m: [
                (s, joints(t, [d * 0.3 for d in np.random.default_rng(t).normal(size=6)], names=NAMES), t, r)
                if s is JOINTS
                else (s, d, t, r)
                for s, d, t, r in m
            ],
            r"shoulder_pan: jerk \d+ .RMS., more than 3000",
        ),
        (lambda m: m[:10], "joint_states: silent for"),
    ],
)
def test_every_fault_is_found(spoil, text):
    _, findings = judged(spoil(messages()))
    assert any(re.search(text, finding) for finding in findings), findings


def test_what_arrives_late_is_no_gap_but_what_was_not_captured_is():
    """In lockstep a recorder may be many steps behind: then messages of one moment arrive far apart."""
    late = [(s, d, t, max(r, 2 * NS) if NS < t < 2 * NS else r) for s, d, t, r in messages()]
    report, findings = judged(sorted(late, key=lambda m: m[3]))
    assert findings == []
    assert report.topics[JOINTS.name].max_gap_s == pytest.approx(0.02)
    missing = [m for m in messages() if m[0] is not JOINTS or not NS < m[2] < 2 * NS]
    report, findings = judged(missing)
    assert report.topics[JOINTS.name].max_gap_s == pytest.approx(1.0)
    assert any("joint_states: silent for 1.00 s" in finding for finding in findings)


def test_an_arm_that_rests_is_told_and_its_cameras_may_show_the_same():
    still = [
        (s, image(t, [7] * 24), t, r) if s is CAMERA else (s, d, t, r)
        for s, d, t, r in messages(rest_from=0.0)
    ]
    report, findings = judged(still)
    assert findings == ["the robot rests 100% of the time", "no joint covers more than 0.0% of its range"]
    assert report.cameras[CAMERA.name].frozen_s == 0.0


def test_drift_between_asked_and_measured_is_found_at_rest_only():
    report, findings = judged(messages(rest_from=2.0, drift=0.1))
    assert report.drift_rad["elbow_flex"] == pytest.approx(0.1, abs=1e-9)
    assert "elbow_flex: +0.100 rad from what was asked for, at rest" in findings
    assert judged(messages(drift=0.1))[0].drift_rad == {}


def test_a_leader_arm_counts_more_than_the_command():
    leader = JOINTS.__class__("/arm/leader/joint_states", JOINTS.type, JOINTS.schema)
    some = messages(rest_from=2.0, drift=0.1)
    some += [(leader, joints(m[2], [0.0] * 6, names=NAMES), m[2], m[3]) for m in some if m[0] is JOINTS]
    report, _ = judged(sorted(some, key=lambda m: m[3]))
    assert report.drift_rad["gripper"] == pytest.approx(0.5 * np.sin(4.0), abs=1e-6)


def test_an_episode_without_messages_and_one_too_short_are_told():
    assert judged([], 0.0)[1] == ["no message arrived"]
    short = [m for m in messages() if m[3] < NS // 10]
    assert judged(short, 0.1)[1][0] == "it lasts 0.10 s, less than 0.5 s"


def test_a_clock_that_goes_back_is_told():
    some = messages(2.0)
    later = [m for m in messages(2.0) if m[0] is JOINTS]
    _, findings = judged(some + later)
    assert "/arm/joint_states: 1 stamps go back in time" in findings


def test_thresholds_are_the_users():
    _, findings = judged(messages(), thresholds=Thresholds(min_coverage=0.9, max_skew_periods=0.1))
    assert len(findings) == 3


def test_the_file_is_judged_like_the_live_episode(tmp_path):
    writer = open_writer(
        tmp_path / "e.mcap",
        topics=SPECS,
        attachments={"robot_card.yaml": schema.dump(CARD).encode()},
    )
    live = QualityMonitor(CARD, namespace="/arm", start_ns=0)
    for spec, data, stamp_ns, receive_ns in messages(rest_from=2.0, drift=0.1):
        writer.write(spec.name, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
        live.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
    path = writer.finish(end_ns=4 * NS)
    assert judge(Episode.open(path)).to_document() == live.document(end_ns=4 * NS)


def test_a_robot_without_a_card_is_judged_by_what_came():
    monitor = QualityMonitor(None, namespace="/arm")
    for spec, data, stamp_ns, receive_ns in messages():
        monitor.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
    report = monitor.report()
    assert report.findings == ()
    assert report.coverage == {}
    assert report.topics[CAMERA.name].rate_hz == pytest.approx(15.0)
