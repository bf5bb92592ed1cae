"""Protects the judgement of episodes: each fault is found and none where none is, live and from the file."""

import re

import numpy as np
import pytest
from made import CAMERA, COMMAND, ENGAGED, JOINTS, NS, WRIST, command, engaged, image, joints, open_writer

from hardware import ConfigError, ConfigErrors, load_robot_card, schema
from recording import Episode
from recording.criteria import (
    CRITERIA_FILE,
    Criteria,
    Thresholds,
    dump_criteria,
    expected_topics,
    parse_criteria,
    read_thresholds,
)
from recording.quality import QualityMonitor, judge

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


def judged(some, seconds=4.0, criteria=None):
    monitor = QualityMonitor(CARD, namespace="/arm", start_ns=0, criteria=criteria)
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
    assert report.joints["shoulder_pan"].coverage == pytest.approx(1.0 / 3.84, rel=0.01)
    # 0.5 sin(2 t): the third derivative has the amplitude 4.
    assert report.joints["gripper"].jerk == pytest.approx(4.0 / 2**0.5, rel=0.1)
    assert (report.joints["gripper"].unit, report.joints["gripper"].jerk_limit) == ("rad", 3000.0)
    assert report.cameras[WRIST.name].skew_limit_s == pytest.approx(1 / 15)
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
    assert report.joints["elbow_flex"].drift.rad == pytest.approx(0.1, abs=1e-9)
    assert "elbow_flex: +0.100 rad from the command, at rest" in findings
    assert {joint.drift for joint in judged(messages(drift=0.1))[0].joints.values()} == {None}


LEADER = JOINTS.__class__("/arm/leader/joint_states", JOINTS.type, JOINTS.schema)
# Where the arm of `messages(rest_from=2.0)` rests.
REST = 0.5 * np.sin(4.0)


def led(some, angle, *, says=()):
    """An episode with a leader that lies at one angle, and what was said about who commands."""
    some = some + [
        (LEADER, joints(m[2], [angle] * 6, names=NAMES), m[2], m[3]) for m in some if m[0] is JOINTS
    ]
    some += [(ENGAGED, engaged(value=value), t, t) for t, value in says]
    return sorted(some, key=lambda m: m[3])


def drift(some, joint="gripper"):
    found = judged(some)[0].joints[joint].drift
    return None if found is None else (pytest.approx(found.rad, abs=1e-6), found.against)


def test_a_leader_arm_counts_more_than_the_command():
    some = messages(rest_from=2.0, drift=0.1)
    assert drift(led(some, 0.0)) == (REST, "leader")
    assert drift(led(some, 0.0, says=[(0, True)])) == (REST, "leader")


def test_a_leader_that_was_put_aside_says_nothing():
    some = messages(rest_from=2.0, drift=0.1)
    assert drift(led(some, 0.0, says=[(0, False)])) == (0.1, "command")


def test_a_leader_that_lies_in_the_pose_of_the_robot_counts_though_nobody_commands_with_it():
    some = messages(rest_from=2.0)
    report, findings = judged(led(some, REST - 0.15, says=[(0, False)]))
    assert "elbow_flex: +0.150 rad from the leader, at rest" in findings
    assert [mark.subject for mark in report.marks if mark.figure == "drift"] == list(NAMES)
    assert drift(led(some, REST - 0.31, says=[(0, False)])) == (0.0, "command")


def test_what_the_leader_showed_at_rest_is_not_outvoted_by_the_time_in_which_the_robot_followed():
    """A follower goes wherever its leader says it is: then they agree, however wrong that is."""
    rest = 0.5 * np.sin(2.0)
    parted = []
    for spec, data, stamp_ns, receive_ns in led(
        messages(6.0, rest_from=1.0), rest, says=[(0, False), (3 * NS, True)]
    ):
        if spec is LEADER and stamp_ns < 3 * NS:
            data = joints(stamp_ns, [rest + 0.1] * 6, names=NAMES)
        parted.append((spec, data, stamp_ns, receive_ns))
    assert drift(parted) == (-0.1, "leader")


def test_the_way_to_the_leader_is_no_drift():
    """Engaged from afar: until the robot sets out, it stands where it was."""
    some = led(messages(4.0, rest_from=0.0), 1.0, says=[(0, False), (int(3.6 * NS), True)])
    assert drift(some) == (0.0, "command")


# --- what has to arrive ------------------------------------------------------------------------


def test_a_camera_that_never_came_is_told_where_it_was_expected():
    some = [m for m in messages() if m[0] is not WRIST]
    assert judged(some)[1] == []
    expected = expected_topics(CARD, "/arm", more=[CAMERA.name, WRIST.name], exclude=["/arm/cube_pose"])
    report, _ = judged(some, criteria=Criteria(expected=expected))
    assert report.findings == ("/arm/wrist/image: no message",)
    assert report.missing == ("/arm/wrist/image",)
    assert [(mark.figure, mark.subject) for mark in report.marks] == [("missing", "/arm/wrist/image")]
    assert expected == ("/arm/joint_states", "/arm/front/image", "/arm/wrist/image")


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
    thresholds = read_thresholds('{"min_coverage": 0.9, "max_skew_periods": 0.1}', "here")
    report, findings = judged(messages(), criteria=Criteria(thresholds))
    assert len(findings) == 3
    assert report.thresholds.min_coverage == 0.9
    assert read_thresholds("", "here") == Thresholds()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{max_idle: 1}", "here: the thresholds are '{max_idle: 1}'. Expected a JSON object, for instance"),
        ("[]", "here: the thresholds are '[]'. Expected a JSON object"),
        ('{"idle": 0.5}', "unknown field 'idle'. Expected one of min_duration_s, min_rate_share"),
        ('{"max_idle_share": "much"}', "max_idle_share: 'much' is not valid here. Expected a finite number"),
        ('{"max_gap_s": -1}', "max_gap_s is -1. Expected a number of zero or more"),
    ],
)
def test_thresholds_that_are_none_are_refused(text, said):
    with pytest.raises(ConfigError) as raised:
        read_thresholds(text, "here")
    assert said in str(raised.value)


@pytest.mark.parametrize(("data", "said"), [(b"{", "are not YAML"), (b"limit: 1", "unknown field 'limit'")])
def test_criteria_in_a_file_that_are_none_are_told(data, said):
    with pytest.raises((ConfigError, ConfigErrors), match=said):
        parse_criteria(data, "episode.mcap")


def test_the_file_is_judged_like_the_live_episode(tmp_path):
    criteria = Criteria(Thresholds(max_idle_share=0.1, max_drift_rad=0.2), (JOINTS.name, "/arm/side/image"))
    writer = open_writer(
        tmp_path / "e.mcap",
        topics=SPECS,
        attachments={
            "robot_card.yaml": schema.dump(CARD).encode(),
            CRITERIA_FILE: dump_criteria(criteria),
        },
    )
    live = QualityMonitor(CARD, namespace="/arm", start_ns=0, criteria=criteria)
    for spec, data, stamp_ns, receive_ns in messages(rest_from=2.0, drift=0.1):
        writer.write(spec.name, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
        live.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
    path = writer.finish(end_ns=4 * NS)
    found = judge(Episode.open(path))
    assert found.to_document() == live.document(end_ns=4 * NS)
    assert found.findings == ("/arm/side/image: no message", "the robot rests 50% of the time")
    assert "/arm/side/image: no message" not in judge(Episode.open(path), criteria=Criteria()).findings


def test_a_robot_without_a_card_is_judged_by_what_came():
    monitor = QualityMonitor(None, namespace="/arm")
    for spec, data, stamp_ns, receive_ns in messages():
        monitor.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
    report = monitor.report()
    assert report.findings == ()
    assert {joint.coverage for joint in report.joints.values()} == {None}
    assert report.topics[CAMERA.name].rate_hz == pytest.approx(15.0)
