"""A quality report as tables in the terminal: each figure with its unit and limit, and what is beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_MARK = "!"


def topics_table(quality: Mapping[str, Any]) -> Table:
    """Show how regularly topics arrived, those first that did not arrive at all.

    Args:
        quality: a report as a plain document; it may be empty.

    Returns:
        What rich shows.
    """
    cell = _Cells(quality)
    rows: list[Sequence[str | Text]] = [
        (cell(name, "missing", name), "0", *[""] * 5) for name in quality.get("missing", ())
    ]
    for name, topic in quality.get("topics", {}).items():
        # What has no rate may have several publishers, each by a clock of its own: its stamps say nothing.
        nominal = topic["nominal_hz"]
        back = f" ({topic['backward']} back)" if topic["backward"] and nominal else ""
        rows.append(
            (
                name,
                cell(f"{topic['count']}{back}", "backward", name),
                cell(f"{topic['rate_hz']:.1f}", "rate_hz", name),
                f"{nominal:g}" if nominal else "",
                cell(f"{topic['drop_share']:.1%}", "drop_share", name) if nominal else "",
                cell(f"{topic['max_gap_s'] * 1e3:.0f} ms", "max_gap_s", name),
                f"{topic['latency_p50_s'] * 1e3:.1f} ms",
            )
        )
    return _table(("topic", "messages", "Hz", "of", "missing", "longest gap", "latency"), rows)


def figures(quality: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Show rest, cameras and joints.

    Args:
        quality: a report as a plain document; it may be empty.

    Yields:
        What rich shows; nothing where there is no report.
    """
    from rich.text import Text

    if "thresholds" not in quality:
        return
    cell, limit = _Cells(quality), quality["thresholds"]
    yield Text.assemble(
        "at rest ",
        cell(f"{quality['idle_share']:.0%}", "idle_share"),
        f" of {quality['duration_s']:.1f} s   broken numbers ",
        cell(str(quality["not_finite"]), "not_finite"),
    )
    yield Text(
        f"limits: at rest {limit['max_idle_share']:.0%}, frozen {limit['max_frozen_s']:g} s,"
        f" drift {limit['max_drift_rad']:g} rad; range: one over {limit['min_coverage']:.0%}",
        "dim",
    )
    cameras = [
        (
            name,
            f"{camera['skew_p50_s'] * 1e3:.0f} ms",
            cell(f"{camera['skew_p95_s'] * 1e3:.0f} ms", "skew_p95_s", name),
            f"{camera['skew_max_s'] * 1e3:.0f} ms",
            f"{camera['skew_limit_s'] * 1e3:.0f} ms",
            cell(f"{camera['frozen_s']:.1f} s", "frozen_s", name),
        )
        for name, camera in quality["cameras"].items()
    ]
    if cameras:
        yield _table(("camera", "skew p50", "p95", "max", "limit", "frozen"), cameras)
    joints = [_joint(cell, name, joint) for name, joint in quality["joints"].items()]
    if joints:
        yield _table(("joint", "jerk RMS", "limit", "range", "drift", "from"), joints)


def _joint(cell: _Cells, name: str, joint: Mapping[str, Any]) -> Sequence[str | Text]:
    drift = joint["drift"]
    return (
        name,
        "" if joint["jerk"] is None else cell(f"{joint['jerk']:.0f} {joint['unit']}/s³", "jerk", name),
        "" if joint["jerk_limit"] is None else f"{joint['jerk_limit']:.0f}",
        # No joint is to blame where none moves enough.
        "" if joint["coverage"] is None else cell(f"{joint['coverage']:.0%}", "coverage"),
        "" if drift is None else cell(f"{drift['rad']:+.3f} rad", "drift", name),
        "" if drift is None else drift["against"],
    )


class _Cells:
    """Makes cells, and marks those that are beyond their limit."""

    def __init__(self, quality: Mapping[str, Any]) -> None:
        self._marked = {(mark["figure"], mark["subject"]) for mark in quality.get("marks", ())}

    def __call__(self, text: str, figure: str, subject: str = "") -> Text:
        """A cell with the figure of a topic, camera or joint, or of the episode."""
        from rich.text import Text

        is_marked = (figure, subject) in self._marked
        return Text(f"{_MARK} {text}", "bold yellow") if is_marked else Text(text)


def _table(names: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim")
    for i, name in enumerate(names):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table
