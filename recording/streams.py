"""What arrives on a topic, judged by its stamps; and what a camera shows, told apart by its bytes."""

from __future__ import annotations

import zlib
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The encapsulation and the stamp, which no two messages share.
_STAMP_END = 12


class Stream:
    """The stamps of a topic."""

    def __init__(self) -> None:
        """Begin with none."""
        self._stamps, self._receives = array("q"), array("q")

    def add(self, stamp_ns: int, receive_ns: int) -> None:
        """Keep the stamps of a message, nanoseconds."""
        self._stamps.append(stamp_ns)
        self._receives.append(receive_ns)

    @property
    def stamps(self) -> NDArray[np.int64]:
        """Capture stamps in the order of arrival, nanoseconds, (N,)."""
        return np.array(self._stamps, dtype=np.int64)

    def figures(self, start_ns: int, end_ns: int, nominal_hz: float) -> dict[str, Any]:
        """Rate, drops, gaps and latency.

        Args:
            start_ns: when the episode began, on the clock of the stamps.
            end_ns: when it ended.
            nominal_hz: the rate that is expected; 0: the median of what came.

        Returns:
            The fields of `TopicQuality` but `nominal_hz`.
        """
        stamps, receives = self.stamps, np.array(self._receives, dtype=np.int64)
        steps = np.diff(stamps)
        forward = steps[steps > 0]
        span_s = float(forward.sum()) * 1e-9
        period_ns = 1e9 / nominal_hz if nominal_hz else float(np.median(forward)) if len(forward) else 0.0
        missing = int(np.maximum(np.round(forward / period_ns) - 1, 0).sum()) if period_ns else 0
        # By capture: how late something arrives (in lockstep: how far its listener is) makes no gap. What has
        # no rate of its own may come from several nodes with clocks of their own.
        inside = steps if nominal_hz else np.diff(receives)
        gaps = [
            min(int(stamps[0]), int(receives[0])) - start_ns,
            int(inside.max(initial=0)),
            end_ns - max(int(stamps[-1]), int(receives[-1])),
        ]
        latency_s = (receives - stamps) * 1e-9
        return {
            "count": len(stamps),
            "rate_hz": len(forward) / span_s if span_s else 0.0,
            "drop_share": missing / (missing + len(stamps)),
            "max_gap_s": max(gaps) * 1e-9,
            "latency_p50_s": float(np.median(latency_s)),
            "latency_max_s": float(latency_s.max()),
            "backward": int((steps < 0).sum()),
        }


class CameraStream:
    """What a camera shows."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._shown: int | None = None
        self._since_ns = 0
        self._path_then = 0.0
        # Longest time for which the same image came again and again while the robot moved, seconds.
        self.frozen_s = 0.0

    def add(self, data: bytes, stamp_ns: int, path: float) -> None:
        """Compare an image with the one before.

        Args:
            data: the message, CDR.
            stamp_ns: when it was captured, nanoseconds.
            path: how far the robot has moved so far; see `Motion.path`.
        """
        shown = zlib.crc32(memoryview(data)[_STAMP_END:])
        if shown != self._shown:
            self._shown, self._since_ns, self._path_then = shown, stamp_ns, path
        elif path - self._path_then > MOVED:
            self.frozen_s = max(self.frozen_s, (stamp_ns - self._since_ns) * 1e-9)


# How far a robot has to move for every camera to see it: radians or metres, summed over its joints.
MOVED = 0.05


def skew_s(reference_ns: NDArray[np.int64], others_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance in time from each stamp to the nearest one of another stream.

    Args:
        reference_ns: stamps, (N,), at least one.
        others_ns: stamps, (M,), at least one.

    Returns:
        Seconds, (N,).
    """
    others = np.sort(others_ns)
    right = np.searchsorted(others, reference_ns).clip(0, len(others) - 1)
    left = (right - 1).clip(0)
    nearest = np.minimum(np.abs(others[right] - reference_ns), np.abs(others[left] - reference_ns))
    return np.asarray(nearest * 1e-9, dtype=np.float64)
