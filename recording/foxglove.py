"""Layouts for Foxglove, made from the robot's card: what a person looks for first, whatever the robot is."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardware.command import CommandKind
from hardware.robot import RobotCard
from hardware.robot_parts import CommandSpec
from recording.decoding import IMAGE_TOPIC, POINT_FIELD, SENT_TOPIC

# Layouts that come with Reflexarc; opened in Foxglove with Layouts, Import from file.
FOLDER = Path(__file__).parent / "foxglove"
_TOPIC_KEYS = ("topic", "topicToRender", "imageTopic", "calibrationTopic", "value")
# So many curves are told apart in one plot.
_CURVES = 8
# Distinguishable for colour-blind eyes (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_JOINT_FIELDS = ("position", "velocity", "effort")
_DIAGNOSTICS = "/diagnostics"
# Where in a message a term lies whose name ends like this, by the ending of its topic.
_PLACES: Mapping[str, Mapping[str, str]] = {
    "odom": {
        "position": "pose.pose.position",
        "orientation": "pose.pose.orientation",
        "linear_velocity": "twist.twist.linear",
        "angular_velocity": "twist.twist.angular",
    },
    "imu": {
        "orientation": "orientation",
        "angular_velocity": "angular_velocity",
        "linear_acceleration": "linear_acceleration",
    },
    "pose": {"position": "pose.position", "orientation": "pose.orientation"},
}
Panels = dict[str, dict[str, Any]]


def make_layout(card: RobotCard, *, root: str = "", topics: Collection[str] | None = None) -> dict[str, Any]:
    """Compose a layout: the robot and its surroundings in 3D, cameras, commands beside measurements, health.

    Two arms, or a humanoid, have a plot each side; what is one too many for a plot goes into the next.

    Args:
        card: the robot.
        root: its namespace; empty: the name on the card.
        topics: absolute names that are there, such as those of a recording; what is not is left out. None:
            those that a system with this robot and a policy has.

    Returns:
        The layout, as Foxglove imports it.
    """
    root = root or f"/{card.name}"
    known = set(topics) if topics is not None else set(system_topics(card, root=root))
    scene = _scene(card, root, known)
    images = _images(card, root, known)
    plots = {**_command_plots(card, root, known), **_term_plots(card, root, known)}
    health = _health(known)
    left = [*scene, *([_split("row", list(images))] if images else [])]
    right = [*plots, *health]
    columns = [_split("column", side) for side in (left, right) if side]
    return {
        "configById": {**plots, **images, **scene, **health},
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": _split("row", columns) if columns else None,
    }


def system_topics(card: RobotCard, *, root: str = "") -> tuple[str, ...]:
    """List the topics of a system with this robot, its cameras and a policy; absolute names."""
    root = root or f"/{card.name}"
    found = {spec.topic for spec in card.observations.values()}
    found |= {SENT_TOPIC, "command/policy", "robot_description"}
    for camera in card.cameras:
        found |= {IMAGE_TOPIC.format(camera=camera), f"{camera}/camera_info"}
    return (*sorted(f"{root}/{topic}" for topic in found), _DIAGNOSTICS)


def layout_topics(path: Path | str) -> tuple[str, ...]:
    """Find the topics that a layout shows.

    Args:
        path: a layout, as Foxglove exports it.

    Returns:
        Absolute names, each once, sorted.
    """
    panels = json.loads(Path(path).read_text(encoding="utf-8"))["configById"]
    return tuple(sorted({name for panel in panels.values() for name in _topics(panel)}))


# --- panels ----------------------------------------------------------------------------------


def _scene(card: RobotCard, root: str, known: Collection[str]) -> Panels:
    poses = sorted({s.topic for s in card.observations.values() if s.topic.endswith(("pose", "odom"))})
    shown: dict[str, Any] = {}
    for topic in (f"{root}/{name}" for name in poses):
        if topic in known:
            shown[topic] = {"visible": True, "type": "axis", "axisScale": 0.05}
    description = f"{root}/robot_description"
    layers = {}
    if description in known:
        layers["urdf"] = {
            "layerId": "foxglove.Urdf",
            "instanceId": "urdf",
            "label": card.name,
            "visible": True,
            "sourceType": "topic",
            "topic": description,
            "order": 1,
        }
    if not shown and not layers:
        return {}
    # An arm is looked at from near by, a vehicle from farther away.
    flies = card.kind == "quadrotor"
    camera = {
        "distance": 6.0 if flies else 0.9,
        "phi": 60,
        "thetaOffset": 40,
        "targetOffset": [0.0, 0.0, 1.0] if flies else [0.2, 0.0, 0.1],
        "target": [0, 0, 0],
        "targetOrientation": [0, 0, 0, 1],
        "fovy": 45,
        "near": 0.01,
        "far": 100,
    }
    panel = {"followMode": "follow-none", "topics": shown, "layers": layers, "scene": {}}
    return {"3D!robot": {**panel, "cameraState": camera}}


def _images(card: RobotCard, root: str, known: Collection[str]) -> Panels:
    panels: Panels = {}
    for camera in card.cameras:
        image, info = f"{root}/{IMAGE_TOPIC.format(camera=camera)}", f"{root}/{camera}/camera_info"
        if image in known:
            mode = {"imageTopic": image} | ({"calibrationTopic": info} if info in known else {})
            panels[f"Image!{camera}"] = {"imageMode": mode, "cameraState": {}, "topics": {}}
    return panels


def _command_plots(card: RobotCard, root: str, known: Collection[str]) -> Panels:
    """What was sent beside what was measured, and what was asked for, part by part of the robot."""
    spec = next(iter(card.commands.values()))
    measured = _measured(card, spec) if f"{root}/joint_states" in known else {}
    asked = sorted(t for t in known if t.startswith(f"{root}/command/"))
    panels: Panels = {}
    for part, names in _parts(spec.names):
        of = f" of {part}" if part else ""
        curves = [
            _curve(f"{root}/joint_states.position[{measured[name]}]", f"{name} measured", i, 1.0)
            for i, name in enumerate(names)
            if name in measured
        ]
        if f"{root}/{SENT_TOPIC}" in known:
            curves += _command_curves(spec, f"{root}/{SENT_TOPIC}", names, "sent", 1.5)
        title = "measured and sent" if measured else "sent"
        _add(panels, f"sent {part}", f"{title}{of} ({spec.unit})", curves)
        for topic in asked:
            source = topic.rpartition("/")[2]
            curves = _command_curves(spec, topic, names, "", 1.0)
            _add(panels, f"{source} {part}", f"asked for by {source}{of} ({spec.unit})", curves)
    return panels


def _term_plots(card: RobotCard, root: str, known: Collection[str]) -> Panels:
    """Everything else that is measured, but for turns: nobody reads a quaternion."""
    panels: Panels = {}
    for term, spec in card.observations.items():
        topic = f"{root}/{spec.topic}"
        if topic not in known or term.endswith("orientation") or term == "joint_position":
            continue
        title = f"{term.replace('_', ' ')} in {spec.frame} ({spec.unit})" if spec.frame else ""
        title = title or f"{term.replace('_', ' ')} ({spec.unit})"
        for part, names in _parts(spec.names):
            paths = _term_paths(term, spec.topic, spec.names, names)
            curves = [
                _curve(f"{topic}.{path}", name, i, 1.0)
                for i, (name, path) in enumerate(zip(names, paths, strict=False))
            ]
            _add(panels, f"{term} {part}", f"{title}, {part}" if part else title, curves)
    return panels


def _health(known: Collection[str]) -> Panels:
    if _DIAGNOSTICS not in known:
        return {}
    panel = {"minLevel": 0, "pinnedIds": [], "hardwareIdFilter": "", "topicToRender": _DIAGNOSTICS}
    return {"DiagnosticSummary!health": {**panel, "sortByLevel": True}}


# --- curves ----------------------------------------------------------------------------------


def _measured(card: RobotCard, spec: CommandSpec) -> Mapping[str, int]:
    """Where in joint_states each commanded joint is measured, in the order that the card has."""
    if spec.kind is not CommandKind.JOINT_POSITION:
        return {}
    terms = [t for n, t in card.observations.items() if t.topic == "joint_states" and n.endswith("position")]
    return {name: i for i, name in enumerate(terms[0].names)} if terms else {}


def _command_curves(
    spec: CommandSpec, topic: str, names: Sequence[str], what: str, size: float
) -> list[dict[str, Any]]:
    curves = []
    for i, name in enumerate(names):
        path = _command_path(spec, name)
        if path:
            curves.append(_curve(f"{topic}.points[0].{path}", f"{name} {what}".strip(), i, size))
    return curves


def _command_path(spec: CommandSpec, name: str) -> str:
    """Where in a trajectory's point an element lies; empty where no curve shows it."""
    if spec.kind in POINT_FIELD:
        return f"{POINT_FIELD[spec.kind]}[{spec.names.index(name)}]"
    # A pose and its velocity: x, velocity_x; turns are left to the 3D panel.
    what, _, axis = name.rpartition("_")
    place = {"": "transforms[0].translation", "velocity": "velocities[0].linear"}.get(what, "")
    return f"{place}.{axis}" if place and axis in ("x", "y", "z") else ""


def _term_paths(term: str, topic: str, all_names: Sequence[str], names: Sequence[str]) -> list[str]:
    if topic == "joint_states":
        field = next((f for f in _JOINT_FIELDS if term.endswith(f)), "")
        return [f"{field}[{all_names.index(name)}]" for name in names] if field else []
    places = next((p for ending, p in _PLACES.items() if topic.endswith(ending)), {})
    ending = next((e for e in sorted(places, key=len, reverse=True) if term.endswith(e)), "")
    return [f"{places[ending]}.{name}" for name in names] if ending else []


def _curve(value: str, label: str, number: int, size: float) -> dict[str, Any]:
    return {
        "value": value,
        "label": label,
        "enabled": True,
        "timestampMethod": "headerStamp",
        "color": _COLOURS[number % len(_COLOURS)],
        "lineSize": size,
    }


def _add(panels: Panels, key: str, title: str, curves: list[dict[str, Any]]) -> None:
    if curves:
        panels[f"Plot!{key.strip()}"] = {
            "title": title,
            "paths": curves,
            "showXAxisLabels": True,
            "showYAxisLabels": True,
            "showLegend": True,
            "legendDisplay": "floating",
            "isSynced": True,
            "xAxisVal": "timestamp",
        }


def _parts(names: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """The elements by the side of the robot that they belong to, no more than a plot holds."""
    sides = {side: [n for n in names if n.startswith(f"{side}_")] for side in ("left", "right")}
    rest = [n for n in names if not n.startswith(("left_", "right_"))]
    groups = [(side, some) for side, some in sides.items() if some] + ([("", rest)] if rest else [])
    found: list[tuple[str, Sequence[str]]] = []
    for side, some in groups:
        pieces = [some[i : i + _CURVES] for i in range(0, len(some), _CURVES)]
        for number, piece in enumerate(pieces):
            found.append((f"{side} {number + 1}".strip() if len(pieces) > 1 else side, piece))
    return found


# --- placing ---------------------------------------------------------------------------------


def _split(direction: str, names: Sequence[Any]) -> Any:  # noqa: ANN401
    """Foxglove places two at a time; all get the same share."""
    if len(names) == 1:
        return names[0]
    return {
        "direction": direction,
        "splitPercentage": round(100 / len(names), 1),
        "first": names[0],
        "second": _split(direction, names[1:]),
    }


def _topics(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _TOPIC_KEYS and isinstance(item, str) and item.startswith("/"):
                yield item.partition(".")[0]
            elif key == "topics" and isinstance(item, dict):
                yield from item
            else:
                yield from _topics(item)
    elif isinstance(value, list):
        for item in value:
            yield from _topics(item)
