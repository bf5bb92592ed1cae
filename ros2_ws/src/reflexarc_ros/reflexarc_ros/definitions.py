"""The definitions of messages as text, with those of the types in them: what a recording carries along."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from pathlib import Path

from hardware.errors import ConfigError
from recording.writer import TopicSpec

_SEPARATOR = "=" * 80
# A field: its type, without the bounds of texts and lengths of arrays, and its name.
_FIELD = re.compile(r"^(?P<type>[A-Za-z][\w/]*)\S*\s+[A-Za-z]\w*(?!.*[^<]=)")
_HEADER = ("header", "std_msgs/Header")


def message_class(name: str) -> type:
    """Import the class of a message.

    Args:
        name: such as sensor_msgs/msg/JointState.

    Returns:
        The class.

    Raises:
        ConfigError: its package is not installed, or has no such message.
    """
    package, _, short = name.split("/")
    try:
        found: type = getattr(importlib.import_module(f"{package}.msg"), short)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the message {name} is not here ({error})",
            where="ROS messages",
            expected="an installed or sourced package with it",
            mend=f"install {package}, or source the workspace that has it",
        ) from error
    return found


def has_header(kind: type) -> bool:
    """Whether a message begins with a header or is one: its stamp lies at the same place in its bytes."""
    fields = kind.get_fields_and_field_types()  # type: ignore[attr-defined]
    return next(iter(fields.items()), None) == _HEADER or kind is message_class("std_msgs/msg/Header")


def topic_spec(topic: str, name: str) -> TopicSpec:
    """Describe a topic for a recording.

    Args:
        topic: absolute.
        name: of its message, such as sensor_msgs/msg/JointState.

    Returns:
        The description.

    Raises:
        ConfigError: there is no definition of the message, or of one in it.
    """
    return TopicSpec(topic, name, definition(name))


@functools.cache
def definition(name: str) -> str:
    """Compose the definition of a message, as ROS 2 bags have it.

    Args:
        name: such as sensor_msgs/msg/JointState.

    Returns:
        Its text; after it, once each, those of the messages in it.

    Raises:
        ConfigError: there is no definition.
    """
    package, _, short = name.split("/")
    text = _read(package, short)
    parts, seen, waiting = [text], {(package, short)}, _inside(package, text)
    while waiting:
        inner = waiting.pop(0)
        if inner in seen:
            continue
        seen.add(inner)
        text = _read(*inner)
        parts.append(f"{_SEPARATOR}\nMSG: {'/'.join(inner)}\n{text}")
        waiting += _inside(inner[0], text)
    return "\n".join(parts)


def _inside(package: str, text: str) -> list[tuple[str, str]]:
    """The messages among the fields of a definition, each with its package."""
    found = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#")[0].strip())
        if match is None:
            continue
        *path, short = match["type"].split("/")
        if path:
            found.append((path[0], short))
        elif short[0].isupper():
            found.append((package, short))
    return found


def _read(package: str, short: str) -> str:
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    for prefix in prefixes:
        path = Path(prefix) / "share" / package / "msg" / f"{short}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ConfigError(
        f"there is no definition of {package}/msg/{short}",
        where="ROS messages",
        expected=f"share/{package}/msg/{short}.msg below AMENT_PREFIX_PATH or the environment",
        mend=f"install {package}, or source the workspace that has it",
    )
