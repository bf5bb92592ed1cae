"""From streams at their own rates to moments at one rate: as of each moment, never of the future.

At a moment a stream counts with the newest value that was captured until then. A value that is much older
than the stream's own period says that the stream had stopped: such a moment is dropped, nothing is filled in.
Where moments were dropped the episode is cut, so that one period always lies between a moment and the next.

An episode that was imported from a dataset says at which moments everything was known; at the rate of that
dataset those are its moments, so that it comes back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording.authority import read_authority
from recording.decoding import ImageStream, Stream, read_commands, read_images, read_moments, read_terms
from recording.episode import Episode
from recording.frames import Frames, LazyImages, StampArray
from recording.metadata import Outcome


@dataclass(frozen=True)
class SamplingConfig:
    """What becomes of a recording."""

    # Moments a second.
    fps: int
    # The terms to keep; none: all of the robot card.
    terms: tuple[str, ...] = ()
    # The cameras to keep.
    cameras: tuple[str, ...] = ()
    # A value older than so many of its stream's own periods is not used any more.
    stale_periods: float = 2.5
    # A piece between two cuts with fewer moments than this is dropped.
    min_frames: int = 5

    def __post_init__(self) -> None:
        """Refuse numbers that give no moments.

        Raises:
            ConfigError: a number is out of range.
        """
        for name, least in (("fps", 1), ("stale_periods", 1.0), ("min_frames", 1)):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where="sampling",
                    expected=f"at least {least}",
                    mend=f"correct {name}",
                )


def sample_episode(episode: Episode, card: RobotCard, config: SamplingConfig) -> list[Frames]:
    """Sample a recording.

    Args:
        episode: the recording.
        card: the card of its robot.
        config: what to keep, and how often.

    Returns:
        One piece, or several where a stream had stopped in between.

    Raises:
        ConfigError: a topic is missing, a stream is slower than the moments, its clock went back, a number is
            not finite, or there is no moment at which everything was known.
    """
    where = str(episode.path)
    terms = read_terms(episode, card, config.terms or tuple(card.observations))
    cameras = {camera: read_images(episode, camera) for camera in config.cameras}
    commands, action_names = read_commands(episode, card)
    authority = read_authority(episode)
    streams: dict[str, Stream | ImageStream] = {**terms, **cameras, "sent command": commands}
    empty = sorted(name for name, stream in streams.items() if not len(stream.stamps_ns))
    if empty:
        raise ConfigError(
            f"an episode of length zero: nothing was recorded of {', '.join(empty)}",
            where=where,
            expected="at least one value of each",
            mend="record it again, or leave it out (--skip-faulty)",
        )
    moments = _imported(episode, config.fps)
    if len(moments):
        rows = {name: _as_of(stream.stamps_ns, moments) for name, stream in streams.items()}
        known = np.all([found >= 0 for found in rows.values()], axis=0)
    else:
        moments, rows, known = _sample(terms, streams, config, where)
    pieces = [piece for piece in _pieces(known) if len(piece) >= config.min_frames]
    if not pieces:
        raise ConfigError(
            "an episode of length zero: at no moment everything was known",
            where=where,
            expected=f"at least {config.min_frames} moments in a row with a fresh value of "
            + ", ".join(streams),
            mend="record it again, or leave it out (--skip-faulty)",
        )
    dropped = len(moments) - sum(map(len, pieces))
    metadata = episode.metadata
    success = {Outcome.SUCCESS: True, Outcome.FAILURE: False}.get(metadata.outcome)

    def frames(number: int, piece: NDArray[np.int64]) -> Frames:
        chosen = {name: indices[piece] for name, indices in rows.items()}
        sent_ns = commands.stamps_ns[chosen["sent command"]]
        return Frames(
            stamps_ns=moments[piece],
            terms={name: term.values[chosen[name]] for name, term in terms.items()},
            term_stamps_ns={name: term.stamps_ns[chosen[name]] for name, term in terms.items()},
            actions=commands.values[chosen["sent command"]],
            action_stamps_ns=sent_ns,
            action_names=action_names,
            images={name: LazyImages(camera.image, chosen[name]) for name, camera in cameras.items()},
            image_stamps_ns={name: camera.stamps_ns[chosen[name]] for name, camera in cameras.items()},
            task=metadata.instruction or metadata.info.task,
            success=success,
            interventions=None if authority is None else authority.is_operator(sent_ns),
            source=episode.path.name + (f" [{number + 1}/{len(pieces)}]" if len(pieces) > 1 else ""),
            dropped=dropped if number == 0 else 0,
        )

    return [frames(number, piece) for number, piece in enumerate(pieces)]


def _sample(
    terms: Mapping[str, Stream],
    streams: Mapping[str, Stream | ImageStream],
    config: SamplingConfig,
    where: str,
) -> tuple[StampArray, dict[str, NDArray[np.int64]], NDArray[np.bool_]]:
    """The moments; the row of every stream that counts at each; whether everything was known at it."""
    for name, term in terms.items():
        _check_rate(name, term.stamps_ns, config.fps, where)
    periods_ns = {name: _period_ns(stream.stamps_ns) for name, stream in streams.items()}
    # The moments lie on the captures of the fastest term, so that its values are fresh.
    pace = min(terms, key=lambda name: periods_ns[name]) if terms else "sent command"
    moments = _moments(streams, streams[pace].stamps_ns, config.fps)
    rows = {name: _as_of(stream.stamps_ns, moments) for name, stream in streams.items()}
    known = np.ones(len(moments), np.bool_)
    for name, stream in streams.items():
        limit_ns = config.stale_periods * max(periods_ns[name], 1.0)
        known &= (rows[name] >= 0) & (moments - stream.stamps_ns[rows[name]] <= limit_ns)
    return moments, rows, known


def _check_rate(name: str, stamps_ns: StampArray, fps: int, where: str) -> None:
    period_ns = _period_ns(stamps_ns)
    # A stream of exactly that rate jitters a little.
    if period_ns * fps > 1.05e9:
        raise ConfigError(
            f"{name!r} was recorded {1e9 / period_ns:.1f} times a second",
            where=where,
            expected=f"at least the {fps} moments a second of the dataset",
            mend=f"give --fps {max(1, int(1e9 / period_ns))} or less, or leave the term out with --terms",
        )


def _period_ns(stamps_ns: StampArray) -> float:
    """The stream's own period: the median, which a gap does not change; 0 for a single value."""
    return float(np.median(np.diff(stamps_ns))) if len(stamps_ns) > 1 else 0.0


def _moments(streams: Mapping[str, Stream | ImageStream], pace_ns: StampArray, fps: int) -> StampArray:
    """Evenly spaced from the first capture of the pace at which every stream has begun, to the last one."""
    begun_ns = max(int(stream.stamps_ns[0]) for stream in streams.values())
    later = pace_ns[pace_ns >= begun_ns]
    if not len(later):
        return np.zeros(0, np.int64)
    count = int((int(later[-1]) - int(later[0])) * fps // 1_000_000_000) + 1
    # In whole nanoseconds from the start each, so that no error adds up.
    return int(later[0]) + np.arange(count, dtype=np.int64) * 1_000_000_000 // fps


def _imported(episode: Episode, fps: int) -> StampArray:
    """The moments of an imported episode, where it is sampled at the rate of its dataset; else none."""
    moments = read_moments(episode)
    # A single moment has no rate.
    same = len(moments) < 2 or abs(_period_ns(moments) * fps - 1e9) < 0.02 * 1e9
    return moments if same else np.zeros(0, np.int64)


def _as_of(stamps_ns: StampArray, moments: StampArray) -> NDArray[np.int64]:
    """The newest value at each moment; -1 where there was none yet."""
    return np.searchsorted(stamps_ns, moments, side="right").astype(np.int64) - 1


def _pieces(known: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    rows = np.flatnonzero(known).astype(np.int64)
    if not len(rows):
        return []
    return np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
