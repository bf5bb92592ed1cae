"""An episode as a Rerun recording (.rrd): curves, images and events on the clock of their capture.

Only a file is written; no viewer is started and nothing is sent anywhere. Rerun's own viewer reports usage to
its makers until `rerun analytics disable` has been called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import ConfigError
from recording.decoding import (
    IMAGE_TOPIC,
    SENT_TOPIC,
    FloatArray,
    StampArray,
    read_commands,
    read_images,
    read_terms,
)
from recording.episode import Episode
from recording.lerobot_export import card_of

_TIMELINE = "capture"


def write_rerun(source: Path | str, target: Path | str) -> list[str]:
    """Write a Rerun recording.

    Args:
        source: an episode.
        target: the .rrd file to write; must not exist.

    Returns:
        The entities that were written, in order: `<term>/<element>`, `sent/<element>`,
        `requested/<source>/<element>`, `cameras/<camera>` and `events`.

    Raises:
        ConfigError: no episode, no robot card in it, the target exists, or Rerun is not installed.
    """
    target = Path(target)
    if target.exists():
        raise ConfigError(
            "the file exists",
            where=str(target),
            expected="a file that is not there yet",
            mend="choose another name or remove it",
        )
    try:
        import rerun
    except ImportError as error:
        raise ConfigError(
            f"Rerun cannot be loaded ({error})",
            where="rerun",
            expected="the package rerun-sdk",
            mend="install the extra reflexarc[recording]",
        ) from error
    episode = Episode.open(source)
    card = card_of(episode)
    # Without properties, which hold the time of writing: the same episode gives the same recording.
    stream = rerun.RecordingStream(
        "reflexarc", recording_id=episode.metadata.info.episode_id or episode.path.stem, send_properties=False
    )
    stream.save(target)
    shown: list[str] = []
    recorded = _relative_topics(episode)
    terms = [name for name, spec in card.observations.items() if spec.topic in recorded]
    for name, term in read_terms(episode, card, terms).items():
        shown += _curves(rerun, stream, name, card.observations[name].names, term.stamps_ns, term.values)
    for topic in sorted(recorded):
        if topic == SENT_TOPIC or topic.startswith("command/"):
            commands, names = read_commands(episode, card, topic)
            path = "sent" if topic == SENT_TOPIC else "requested/" + topic.removeprefix("command/")
            shown += _curves(rerun, stream, path, names, commands.stamps_ns, commands.values)
    for camera in card.cameras:
        if IMAGE_TOPIC.format(camera=camera) not in recorded:
            continue
        images = read_images(episode, camera)
        for index, stamp_ns in enumerate(images.stamps_ns):
            stream.set_time(_TIMELINE, timestamp=np.datetime64(int(stamp_ns), "ns"))
            stream.log(f"cameras/{camera}", rerun.Image(images.image(index)).compress())
        shown.append(f"cameras/{camera}")
    for event in episode.metadata.events:
        stream.set_time(_TIMELINE, timestamp=np.datetime64(event.stamp_ns, "ns"))
        stream.log("events", rerun.TextLog(f"{event.kind.value} {event.text}".strip()))
    if episode.metadata.events:
        shown.append("events")
    stream.flush()
    stream.disconnect()
    return shown


def _relative_topics(episode: Episode) -> set[str]:
    space = episode.metadata.info.namespace.rstrip("/") + "/"
    return {name.removeprefix(space) for name, topic in episode.topics.items() if topic.count}


def _curves(
    rerun: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    path: str,
    names: tuple[str, ...],
    stamps_ns: StampArray,
    values: FloatArray,
) -> list[str]:
    if not len(stamps_ns):
        return []
    times = rerun.TimeColumn(_TIMELINE, timestamp=stamps_ns.astype("datetime64[ns]"))
    for column, name in enumerate(names):
        rerun.send_columns(
            f"{path}/{name}",
            indexes=[times],
            columns=rerun.Scalars.columns(scalars=values[:, column]),
            recording=stream,
        )
    return [f"{path}/{name}" for name in names]
