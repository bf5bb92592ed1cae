"""The session behind recorder_node, made of its parameters."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

from hardware.robot import RobotCard
from policies.provenance import git_commit
from recording.criteria import Criteria, expected_topics, read_thresholds
from recording.metadata import EpisodeInfo
from recording.quality import QualityMonitor
from recording.session import Session
from recording.session_status import SessionConfig
from recording.writer import WriterConfig
from reflexarc_ros.node import ReflexarcNode
from reflexarc_ros.recorder_contents import attachments, installed_versions


def make_session(
    node: ReflexarcNode,
    card: RobotCard,
    folder: Path,
    *,
    now_ns: Callable[[], int],
    exclude: Collection[str],
    expected: Collection[str],
    on_finish: Callable[[Path], None],
) -> Session:
    """Make the session of a recorder.

    Args:
        node: has the settings of `recorder_settings`.
        card: of the robot.
        folder: where the episodes go.
        now_ns: the clock of the stamps.
        exclude: topics that are not recorded, absolute.
        expected: topics that have to arrive beside those that the card measures, absolute.
        on_finish: is told every finished file, in the thread of the session.

    Returns:
        The session, idle.

    Raises:
        ConfigError: the folder cannot be made, a file cannot be read, or a threshold is none.
    """
    root, where = node.get_namespace().rstrip("/"), node.get_fully_qualified_name()
    criteria = Criteria(
        read_thresholds(node.setting("thresholds"), f"{where}: parameter 'thresholds'"),
        expected_topics(card, root, more=expected, exclude=exclude),
    )
    info = EpisodeInfo(
        "",
        0,
        robot=card.name,
        namespace=root,
        task=node.setting("task"),
        instruction=node.setting("instruction"),
        operator=node.setting("operator"),
        clock="twin" if node.setting("use_sim_time") else "system",
        git_commit=git_commit(),
        versions=installed_versions(),
    )
    config = SessionConfig(
        writer=WriterConfig(
            chunk_bytes=round(node.setting("chunk_mb") * 1e6),
            chunk_s=node.setting("chunk_s"),
            compression=node.setting("compression"),
        ),
        reserve_bytes=round(node.setting("reserve_mb") * 1e6),
        time_limit_s=node.setting("time_limit_s"),
    )
    return Session(
        folder,
        info,
        steady_clock=time.monotonic_ns,
        data_clock=now_ns,
        wall_clock=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        free_bytes=lambda: shutil.disk_usage(folder).free,
        attachments=attachments(
            card,
            criteria=criteria,
            parameters=node.setting("parameters"),
            policy=node.setting("policy"),
            calibration=node.setting("calibration"),
            where=where,
        ),
        make_judge=lambda i: QualityMonitor(card, namespace=root, criteria=criteria, start_ns=i.start_ns),
        on_finish=on_finish,
        config=config,
    )
