"""What a page and the stack say to each other: one JSON object a message, checked before anything is used.

From the page: `{"type": "input", "controls": {name: number}, "pressed": [name], "pose": null or {"position":
[x, y, z], "orientation": [w, x, y, z]}, "echo": number, "held_ms": number}`, thirty times a second, whether
anything changed or not. `echo` is the newest number that the stack sent, `held_ms` how long ago that was for
the page: together they tell how old the input is, whatever a weak network did to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.errors import Refusal
from hardware.teleop.reading import Pose, Status

# What a page may say, and between which bounds.
CONTROLS: dict[str, float] = {
    **dict.fromkeys(("left_x", "left_y", "right_x", "right_y"), -1.0),
    **dict.fromkeys(("engage", "left", "right", "clutch"), 0.0),
    **dict.fromkeys(("grip_open", "grip_close", "tilt_up", "tilt_down"), 0.0),
    **dict.fromkeys(("success", "failure", "discard", "emergency_stop"), 0.0),
}
# The name of the pose of a page that tracks its device.
POSE = "phone"
LONGEST = 4096
# Poses farther away than this are no tracking, metres.
_FARTHEST_M = 100.0


@dataclass(frozen=True)
class Input:
    """One message of a page."""

    # Sticks and buttons.
    controls: Mapping[str, float]
    # What was pressed since the last message.
    pressed: frozenset[str]
    # Where the device is, forward, left and up; None: it is not tracked.
    pose: Pose | None
    # The newest number that the page had from the stack, and for how long, milliseconds; None: none yet.
    echo: float | None
    held_ms: float


def parse_input(text: str | bytes) -> Input:
    """Read one message of a page.

    Args:
        text: as received.

    Returns:
        The input.

    Raises:
        Refusal: it is anything else.
    """
    if len(text) > LONGEST:
        raise Refusal(f"a message of {len(text)} bytes: at most {LONGEST} are taken")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"a message that is not JSON ({type(error).__name__})") from error
    if not isinstance(data, dict) or data.get("type") != "input":
        raise Refusal("a message that is no input")
    controls = data.get("controls", {})
    pressed = data.get("pressed", [])
    if not isinstance(controls, dict) or not isinstance(pressed, list):
        raise Refusal("controls that are no object, or pressed that is no list")
    unknown = [
        str(name)[:20] for name in (*controls, *pressed) if not (isinstance(name, str) and name in CONTROLS)
    ]
    if unknown:
        raise Refusal(f"unknown control {unknown[0]!r}")
    bounded = {name: min(max(_number(value, name), CONTROLS[name]), 1.0) for name, value in controls.items()}
    echo = data.get("echo")
    return Input(
        bounded,
        frozenset(pressed),
        _pose(data.get("pose")),
        None if echo is None else _number(echo, "echo"),
        max(0.0, _number(data.get("held_ms", 0.0), "held_ms")),
    )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal(f"{name} is no number")
    try:
        number = float(value)
    except OverflowError as error:
        raise Refusal(f"{name} is too large") from error
    if not math.isfinite(number):
        raise Refusal(f"{name} is not finite")
    return number


def _pose(data: object) -> Pose | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise Refusal("a pose that is no object")
    position = _numbers(data.get("position"), 3, "position")
    orientation = _numbers(data.get("orientation"), 4, "orientation")
    length = float(np.linalg.norm(orientation))
    if not (np.abs(position) <= _FARTHEST_M).all() or not abs(length - 1.0) < 0.05:
        raise Refusal("a pose that cannot be")
    return Pose(position, orientation / length)


def _numbers(data: object, count: int, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if not isinstance(data, list) or len(data) != count:
        raise Refusal(f"{name} is no list of {count} numbers")
    return np.array([_number(value, name) for value in data])


def write_status(status: Status | None, *, role: str, echo: float) -> str:
    """Write what a page is told.

    Args:
        status: of the stack; None: it has not said anything yet.
        role: `operator` or `observer`.
        echo: the number that the page sends back.

    Returns:
        The message.
    """
    told: dict[str, Any] = {"type": "status", "role": role, "echo": echo}
    if status is not None:
        told |= {
            "state": status.state.value,
            "robot": status.robot,
            "mapping": status.mapping,
            "message": status.message,
            "link_age_ms": round(min(status.link_age_s, 9999.0) * 1e3),
            "values": {name: round(value, 4) for name, value in status.values.items()},
            "legend": dict(status.legend),
        }
    return json.dumps(told)
