"""The parameters of recorder_node."""

from __future__ import annotations

from recording.writer import COMPRESSIONS
from reflexarc_ros.node import PACE, Setting

RECORDER_SETTINGS = (
    Setting("card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."),
    PACE,
    Setting("folder", "", "Where the episodes go: one file each, numbered after those that are there."),
    Setting(
        "begin",
        "request",
        "When an episode begins: on a request, or with the first observation after every activation.",
        choices=("request", "activation"),
    ),
    Setting("time_limit_s", 0.0, "Longest episode; 0: no limit.", minimum=0.0, maximum=86400.0),
    Setting("task", "", "What is to be done, as a short name."),
    Setting("instruction", "", "What is to be done, in words; the topic ~/instruction changes it."),
    Setting("operator", "", "Who moves the robot."),
    Setting(
        "policy", "", "Policy folder or controller file, whose card goes into the episodes; empty: none."
    ),
    Setting("calibration", [""], "Files that go into the episodes as they are (calibration and the like)."),
    Setting("parameters", "{}", "The parameters of the system as JSON; they go into the episodes."),
    Setting("exclude", [""], "Topics that are not recorded, absolute or relative to the namespace."),
    Setting(
        "expected",
        [""],
        "Topics that have to arrive beside those that the card measures, absolute or relative to the"
        " namespace: cameras, a leader.",
    ),
    Setting(
        "thresholds",
        "{}",
        "From where on an episode is marked, as JSON; what is not named keeps its default"
        " (docs/recording.md).",
    ),
    Setting("compression", "zstd", "How chunks are packed.", choices=COMPRESSIONS),
    Setting(
        "chunk_s",
        0.5,
        "Time after which a chunk goes to the disk; so much is lost at most.",
        minimum=0.02,
        maximum=10.0,
    ),
    Setting("chunk_mb", 4.0, "Megabytes after which a chunk goes to the disk.", minimum=0.01, maximum=64.0),
    Setting(
        "reserve_mb",
        256.0,
        "Free space at which an episode is ended while it can be.",
        minimum=0.0,
        maximum=1e6,
    ),
    Setting(
        "page_port",
        -1,
        "Port of the status page on this machine; 0: any that is free, -1: no page.",
        minimum=-1,
        maximum=65535,
    ),
)
