"""What recorder_node says about itself: its status as a plain document, and its health."""

from __future__ import annotations

import dataclasses
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from recording.folder import Forecast
from recording.session import Session
from recording.session_status import State, Status


def describe(session: Session, forecast: Forecast, *, topics: int) -> dict[str, Any]:
    """Describe a session as a plain document.

    Args:
        session: records.
        forecast: how much room the disk has.
        topics: how many are listened to.

    Returns:
        Names and values that JSON takes.
    """
    status = session.status
    return {
        **dataclasses.asdict(status),
        "state": status.state.value,
        "folder": str(session.folder),
        "time_left_s": forecast.time_left_s,
        "time_limit_s": session.config.time_limit_s,
        "bytes_per_s": forecast.bytes_per_s,
        "topics": topics,
    }


def health(status: Status, *, topics: int) -> tuple[bytes, str, dict[str, Any]]:
    """Say how a session is.

    Args:
        status: of the session.
        topics: how many are listened to.

    Returns:
        The level of /diagnostics, a sentence, and values by name.
    """
    return (
        *_level(status),
        {
            "state": status.state.value,
            "episode": status.episode,
            "duration_s": f"{status.duration_s:.1f}",
            "messages": status.messages,
            "megabytes": f"{status.size_bytes * 1e-6:.1f}",
            "dropped": status.dropped,
            "finished": status.finished,
            "findings": len(status.findings),
            "topics": topics,
        },
    )


def _level(status: Status) -> tuple[bytes, str]:
    if status.state is State.FAILED:
        return DiagnosticStatus.ERROR, status.message
    if status.dropped:
        return DiagnosticStatus.WARN, f"{status.dropped} messages dropped: the disk is too slow"
    if status.state is State.RECORDING and status.findings:
        return DiagnosticStatus.WARN, f"recording; {status.findings[0]}"
    return DiagnosticStatus.OK, status.message
