"""The Foxglove layouts that come with Reflexarc, and the topics that they show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Opened in Foxglove: Layouts, Import from file.
FOLDER = Path(__file__).parent / "foxglove"
_TOPIC_KEYS = ("topic", "topicToRender", "imageTopic", "calibrationTopic", "value")


def layout_topics(path: Path | str) -> tuple[str, ...]:
    """Find the topics that a layout shows.

    Args:
        path: a layout, as Foxglove exports it.

    Returns:
        Absolute names, each once, sorted.
    """
    panels = json.loads(Path(path).read_text(encoding="utf-8"))["configById"]
    return tuple(sorted({name for panel in panels.values() for name in _topics(panel)}))


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
