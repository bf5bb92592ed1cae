"""`reflexarc data export|import|layout`: recordings to and from datasets, to Rerun and for Foxglove."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reflexarc.output import Output


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and how."""

    # Recordings: a folder of episodes, or one of them.
    source: Annotated[Path, tyro.conf.Positional]
    # The folder of the dataset, which must not exist yet; with --rerun the .rrd file.
    out: Path
    # Moments a second; none: as often as the robot's card measures its fastest term.
    fps: int = 0
    # The robot's card, a name or a path, when it is not the one in the recordings.
    robot: str = ""
    # The terms to keep; none: all of the card.
    terms: tuple[str, ...] = ()
    # The cameras to keep; none: no images.
    cameras: tuple[str, ...] = ()
    # Keep images as files, which are lossless and larger, and not as videos.
    image_files: bool = False
    # Take failed episodes, too.
    failures: bool = False
    # Leave out episodes that cannot be exported, and name them, instead of exporting nothing.
    skip_faulty: bool = False
    # A value older than so many of its stream's own periods is not used any more.
    stale_periods: float = 2.5
    # Write a Rerun recording of one episode instead of a dataset.
    rerun: bool = False


@dataclass(frozen=True)
class ImportConfig:
    """What to import, and where to."""

    # The dataset's folder, the one that holds meta/info.json.
    source: Annotated[Path, tyro.conf.Positional]
    # The folder of the recordings, which must not exist yet.
    out: Annotated[Path, tyro.conf.Positional]
    # The robot's card, a name or a path: what the dataset's card must agree with, or, where it has none, the
    # robot that the dataset is of.
    robot: str = ""
    # The terms in observation.state, in order, where the names in the dataset do not say so.
    state: tuple[str, ...] = ()
    # Those in observation.environment_state.
    environment: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayoutConfig:
    """What the layout is to show."""

    # An episode, a folder of them (the first one counts), or a robot's card: a name or a path.
    source: Annotated[str, tyro.conf.Positional]
    # The file of the layout, JSON.
    out: Annotated[Path, tyro.conf.Positional]


def export(config: ExportConfig, output: Output) -> int:
    """Export recordings.

    Args:
        config: what, where to and how.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: nothing to export, something that cannot be, or another robot.
    """
    if config.rerun:
        return _export_rerun(config, output)
    from hardware.cards.library import load_robot_card
    from recording.lerobot_export import Selection, export_recordings, recorded_card
    from recording.metadata import Outcome
    from recording.sampling import SamplingConfig

    outcomes = () if config.failures else (Outcome.SUCCESS, Outcome.UNKNOWN)
    selection = Selection(outcomes=outcomes, skip_faulty=config.skip_faulty)
    if config.robot:
        card = load_robot_card(config.robot)
    else:
        card = recorded_card(config.source, selection=selection)
    fastest_hz = max(spec.rate_hz for spec in card.observations.values())
    sampling = SamplingConfig(
        fps=config.fps or round(fastest_hz),
        terms=config.terms,
        cameras=config.cameras,
        stale_periods=config.stale_periods,
    )
    with output.progress("exporting") as progress:
        record, skipped = export_recordings(
            config.source,
            config.out,
            sampling,
            card=card,
            selection=selection,
            video=not config.image_files,
            progress=progress,
        )
    frames = sum(episode.frames for episode in record.episodes)
    dropped = sum(episode.dropped for episode in record.episodes)
    output.result(
        {
            "folder": config.out,
            "fps": record.fps,
            "episodes": record.episodes,
            "frames": frames,
            "dropped": dropped,
            "skipped": skipped,
            "tables": record.tables,
        }
    )
    for episode in skipped:
        output.log(f"{episode.source} left out: {episode.reason}")
    if not output.json:
        output.console.print(
            f"{config.out}: {len(record.episodes)} episodes, {frames} moments at {record.fps} Hz,"
            f" {dropped} dropped, {len(skipped)} recordings left out",
            markup=False,
            soft_wrap=True,
        )
    return 0


def _export_rerun(config: ExportConfig, output: Output) -> int:
    from hardware.errors import ConfigError
    from recording.folder import finished
    from recording.rerun_file import write_rerun

    paths = finished(config.source)
    if len(paths) != 1:
        raise ConfigError(
            f"{len(paths)} episodes",
            where=str(config.source),
            expected="one of them: a Rerun recording shows one",
            mend=f"name a file, such as {paths[0]}",
        )
    shown = write_rerun(paths[0], config.out)
    output.result({"file": config.out, "entities": shown, "bytes": config.out.stat().st_size})
    if not output.json:
        output.console.print(f"{config.out}: open it with `rerun {config.out}`", markup=False, soft_wrap=True)
    return 0


def import_episodes(config: ImportConfig, output: Output) -> int:
    """Import a dataset.

    Args:
        config: what and where to.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: nothing to import, something that cannot be, or another robot. Nothing is written then.
    """
    from hardware.cards.library import load_robot_card
    from recording.lerobot_recordings import Naming, import_set

    card = load_robot_card(config.robot) if config.robot else None
    with output.progress("importing") as progress:
        made = import_set(
            config.source,
            config.out,
            card=card,
            naming=Naming(config.state, config.environment),
            steady_clock=time.monotonic_ns,
            progress=progress,
        )
    moments = sum(one.moments for one in made)
    output.result({"folder": config.out, "episodes": made, "moments": moments, "verified": len(made)})
    if not output.json:
        marked = sum(bool(one.findings) for one in made)
        output.console.print(
            f"{config.out}: {len(made)} episodes, {moments} moments; all read again and verified,"
            f" {marked} to look at",
            markup=False,
            soft_wrap=True,
        )
    return 0


def write_layout(config: LayoutConfig, output: Output) -> int:
    """Write a layout for Foxglove.

    Args:
        config: what for and where to.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: there is no such recording or card, or the recording holds no card.
    """
    import json

    from hardware.cards.library import load_robot_card
    from recording.episode import Episode
    from recording.folder import finished
    from recording.foxglove import layout_topics, make_layout
    from recording.lerobot_export import card_of

    path = Path(config.source)
    if path.exists() and path.suffix != ".yaml":
        episode = Episode.open(finished(path)[0])
        card, root = card_of(episode), episode.metadata.info.namespace
        topics = [name for name, topic in episode.topics.items() if topic.count]
        layout = make_layout(card, root=root, topics=topics)
    else:
        card = load_robot_card(config.source)
        layout = make_layout(card)
    config.out.write_text(json.dumps(layout, indent=2) + "\n", encoding="utf-8")
    shown = layout_topics(config.out)
    output.result({"file": config.out, "robot": card.name, "topics": shown})
    if not output.json:
        output.console.print(
            f"{config.out}: {len(shown)} topics of {card.name}; in Foxglove: Layouts, Import from file",
            markup=False,
            soft_wrap=True,
        )
    return 0
