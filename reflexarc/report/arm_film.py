"""The film of the arm's attempts, rendered from their traces, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from reflexarc.demos.records import ArmRecord, Episode
from reflexarc.report.video import (
    ALARM,
    GOOD,
    HEIGHT,
    NEUTRAL,
    RATE_HZ,
    WIDTH,
    Label,
    Mp4Writer,
    write_labels,
)
from sim.worlds.render import Quality
from sim.worlds.so101_view import So101View

# How long the end of each attempt stays, seconds.
_END_S = 0.3


def render_arm(record: ArmRecord, path: Path, progress: Callable[[int, int], None]) -> None:
    """Render all attempts.

    Args:
        record: the attempts.
        path: the MP4 file.
        progress: called with the number of frames done and in all.

    Raises:
        ConfigError: no OpenGL library can be loaded.
    """
    rows = [_rows(episode) for episode in record.episodes]
    total, done, picked = sum(map(len, rows)), 0, 0
    # Half-way through the first attempt the gripper is at the cube.
    poster = rows[0][len(rows[0]) // 2]
    with So101View(quality=Quality.VIDEO) as view, Mp4Writer(path) as film:
        for number, (episode, shown) in enumerate(zip(record.episodes, rows, strict=True)):
            for row in shown:
                frame = view.image(episode.trace.qpos[row], "front", width=WIDTH, height=HEIGHT)
                write_labels(frame, _labels(record, number, picked, float(episode.trace.time_s[row])))
                film.add(frame)
                done += 1
                if number == 0 and row == poster:
                    film.keep_poster()
                progress(done, total)
            film.hold(_END_S)
            picked += episode.picked_s is not None


def _rows(episode: Episode) -> list[int]:
    """The rows of the trace that the film shows: those nearest to the times of its frames."""
    times = episode.trace.time_s
    wanted = np.arange(0.0, times[-1], 1.0 / RATE_HZ)
    return [int(row) for row in np.searchsorted(times, wanted)]


def _labels(record: ArmRecord, number: int, picked: int, now_s: float) -> list[Label]:
    picked_s = record.episodes[number].picked_s
    is_picked = picked_s is not None and now_s >= picked_s
    labels = [
        Label(f"Cube {number + 1} of {len(record.episodes)}", 24, 22, size=27),
        Label(f"{now_s:.1f} s", 24, 68),
        Label(f"{picked + is_picked} picked", WIDTH - 24, 58, from_right=True),
    ]
    if is_picked:
        labels.append(Label(f"picked in {picked_s:.1f} s", WIDTH - 24, 22, colour=GOOD, from_right=True))
    elif picked_s is None and now_s >= record.plan.time_limit_s:
        labels.append(Label("out of time", WIDTH - 24, 22, colour=ALARM, from_right=True))
    else:
        labels.append(Label("learned policy, over ROS 2", WIDTH - 24, 22, colour=NEUTRAL, from_right=True))
    return labels
