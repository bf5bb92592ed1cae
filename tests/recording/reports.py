"""A quality report with something wrong at every place, for those who show reports."""

from recording.criteria import Thresholds
from recording.quality_report import (
    CameraQuality,
    Drift,
    Finding,
    JointQuality,
    QualityReport,
    TopicQuality,
)

JOINTS, FRONT, WRIST, SIDE = (
    "/so101/joint_states",
    "/so101/front/image",
    "/so101/wrist/image",
    "/so101/side/image",
)
REPORT = QualityReport(
    duration_s=12.5,
    messages=812,
    topics={
        # Whoever has no rate may have several publishers, with clocks of their own: that is no fault.
        "/so101/gate/command": TopicQuality(162, 49.6, 0.0, 0.0, 0.02, 0.001, 0.004, 3),
        FRONT: TopicQuality(180, 14.8, 15.0, 0.0, 0.07, 0.031, 0.04, 0),
        JOINTS: TopicQuality(162, 43.9, 50.0, 0.123, 0.621, 0.0018, 0.01, 2),
        WRIST: TopicQuality(170, 14.9, 15.0, 0.0, 0.07, 0.031, 0.04, 0),
    },
    cameras={
        FRONT: CameraQuality(0.004, 0.011, 0.019, 1 / 15, 0.0),
        WRIST: CameraQuality(0.021, 0.087, 0.141, 1 / 15, 1.4),
    },
    missing=(SIDE,),
    joints={
        "shoulder_pan": JointQuality("rad", 812.4, 3000.0, 0.31, Drift(0.103, "leader")),
        "shoulder_lift": JointQuality("rad", 3456.7, 3000.0, 0.44, Drift(-0.004, "leader")),
        "gripper": JointQuality("rad", 12.0, None, None, None),
    },
    idle_share=0.86,
    not_finite=1,
    thresholds=Thresholds(),
    marks=(
        Finding("missing", SIDE, f"{SIDE}: no message"),
        Finding("backward", JOINTS, f"{JOINTS}: 2 stamps go back in time"),
        Finding("rate_hz", JOINTS, f"{JOINTS}: 43.9 Hz of 50 Hz"),
        Finding("drop_share", JOINTS, f"{JOINTS}: 12.3% of the messages are missing"),
        Finding("max_gap_s", JOINTS, f"{JOINTS}: silent for 0.62 s, longer than 0.25 s"),
        Finding("skew_p95_s", WRIST, f"{WRIST}: skew 87 ms (95th percentile), more than 67 ms"),
        Finding("frozen_s", WRIST, f"{WRIST}: the same image for 1.4 s while the robot moved"),
        Finding("not_finite", "", "1 messages with numbers that are not finite"),
        Finding("idle_share", "", "the robot rests 86% of the time"),
        Finding("jerk", "shoulder_lift", "shoulder_lift: jerk 3457 (RMS), more than 3000"),
        Finding("drift", "shoulder_pan", "shoulder_pan: +0.103 rad from the leader, at rest"),
    ),
)
