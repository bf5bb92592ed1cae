"""By what an episode is judged: thresholds, and the topics that have to arrive. It travels in the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field

import yaml

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard

# The attachment with the criteria.
CRITERIA_FILE = "quality.yaml"


@dataclass(frozen=True)
class Thresholds:
    """From where on an episode is marked. Every one is judged by itself."""

    # Shortest episode, seconds.
    min_duration_s: float = 0.5
    # Least share of its nominal rate (robot card) that a topic may have.
    min_rate_share: float = 0.9
    # Largest share of a topic's messages that may be missing, told by its capture stamps.
    max_drop_share: float = 0.02
    # Longest time without a message of a topic, seconds, and in periods of its rate; the longer counts.
    max_gap_s: float = 0.25
    max_gap_periods: float = 4.0
    # Largest distance in time between images of different cameras, 95th percentile, in periods of the camera.
    max_skew_periods: float = 1.0
    # Longest time for which a camera may show the same image while the robot moves, seconds.
    max_frozen_s: float = 0.5
    # Largest share of the time in which the robot may rest.
    max_idle_share: float = 0.8
    # Largest jerk of the measured joints (root mean square), as a share of the limit on the robot card.
    max_jerk_share: float = 1.0
    # Least share of its range that the joint that moves most has to cover.
    min_coverage: float = 0.02
    # Largest distance between what was asked for and what was measured while both rest, radians.
    max_drift_rad: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what would mark every episode, whatever is in it.

        Raises:
            ConfigError: one is negative.
        """
        for name, value in dataclasses.asdict(self).items():
            if value < 0.0:
                raise ConfigError(
                    f"{name} is {value:g}",
                    where="thresholds",
                    expected="a number of zero or more",
                    mend="correct the threshold",
                )


@dataclass(frozen=True)
class Criteria:
    """By what an episode is judged."""

    # From where on it is marked.
    thresholds: Thresholds = field(default_factory=Thresholds)
    # The topics that have to arrive, absolute; none given: those that the robot card measures.
    expected: tuple[str, ...] | None = None


def read_thresholds(text: str, where: str) -> Thresholds:
    """Read thresholds that a person typed.

    Args:
        text: a JSON object with names and numbers; the others keep their defaults.
        where: who asks, for the message.

    Returns:
        The thresholds.

    Raises:
        ConfigError: it is something else.
        ConfigErrors: one line for every unknown name and every value that is none.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ConfigError(
            f"the thresholds are {text!r}",
            where=where,
            expected='a JSON object, for instance {"max_idle_share": 0.5}',
            mend="correct the value",
        )
    return schema.parse(Thresholds, given, where=where)


def measured_topics(card: RobotCard, root: str) -> tuple[str, ...]:
    """Name the topics of everything that a robot measures.

    Args:
        card: of the robot.
        root: its namespace, without a slash at the end.

    Returns:
        Absolute topics, each once.
    """
    return tuple(dict.fromkeys(f"{root}/{term.topic}" for term in card.observations.values()))


def expected_topics(
    card: RobotCard, root: str, *, more: Collection[str], exclude: Collection[str]
) -> tuple[str, ...]:
    """Name the topics that have to arrive.

    Args:
        card: of the robot.
        root: its namespace, without a slash at the end.
        more: beside what the card measures, absolute.
        exclude: not recorded, absolute.

    Returns:
        Absolute topics, each once.
    """
    return tuple(t for t in dict.fromkeys((*measured_topics(card, root), *more)) if t not in exclude)


def dump_criteria(criteria: Criteria) -> bytes:
    """Write criteria as they lie in a file."""
    return schema.dump(criteria).encode()


def parse_criteria(data: bytes, where: str) -> Criteria:
    """Read criteria from a file.

    Args:
        data: what `dump_criteria` wrote.
        where: the file, for the messages.

    Returns:
        The criteria.

    Raises:
        ConfigError: it is something else.
    """
    try:
        found = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the criteria of its quality are not YAML ({' '.join(str(error).split())})",
            where=where,
            expected=f"the attachment {CRITERIA_FILE} as a recorder writes it",
            mend="look at the file: reflexarc data verify",
        ) from error
    return schema.parse(Criteria, found, where=f"{where}: {CRITERIA_FILE}")
