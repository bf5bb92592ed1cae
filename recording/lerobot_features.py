"""What our terms, cameras and actions are called in a LeRobot dataset, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardware.errors import ConfigError
from hardware.robot import RobotCard

STATE = "observation.state"
ENVIRONMENT = "observation.environment_state"
IMAGES = "observation.images."
ACTION = "action"
# Ours: LeRobot keeps such columns and gives them to nobody's network.
STAMP = "reflexarc.stamp_ns"
STAMP_OF = "reflexarc.stamp_ns."
# Whether a person had taken over; the same holds for it.
INTERVENTION = "intervention"
# Topics on which a robot tells about itself; what comes on another one is about its surroundings.
_OWN_TOPICS = ("joint_states", "odom", "imu")


@dataclass(frozen=True)
class FeatureMap:
    """Which terms and cameras of a robot make up LeRobot's features."""

    # The terms of the robot's own state, and those of its surroundings, in order.
    state: tuple[str, ...]
    environment: tuple[str, ...]
    # The cameras.
    cameras: tuple[str, ...]
    # The elements of every term.
    elements: Mapping[str, tuple[str, ...]]
    # The elements of an action.
    action: tuple[str, ...]
    # Whether it says of every moment if a person had taken over.
    has_interventions: bool = False

    @property
    def vectors(self) -> Mapping[str, tuple[str, ...]]:
        """LeRobot's name of each vector and the terms in it; a vector without terms is not there."""
        both = {STATE: self.state, ENVIRONMENT: self.environment}
        return {name: terms for name, terms in both.items() if terms}

    @property
    def terms(self) -> tuple[str, ...]:
        """All terms, in the order of the vectors."""
        return (*self.state, *self.environment)

    def features(self, sizes: Mapping[str, tuple[int, int]], *, video: bool) -> dict[str, dict[str, Any]]:
        """Describe the columns as LeRobot's writer wants them.

        Args:
            sizes: height and width of every camera's images.
            video: whether images become videos or image files.

        Returns:
            Column name to dtype, shape and names.
        """
        columns: dict[str, dict[str, Any]] = {}
        for name, terms in self.vectors.items():
            names = [f"{term}.{element}" for term in terms for element in self.elements[term]]
            columns[name] = {"dtype": "float32", "shape": (len(names),), "names": names}
        columns[ACTION] = {"dtype": "float32", "shape": (len(self.action),), "names": list(self.action)}
        for camera in self.cameras:
            columns[IMAGES + camera] = {
                "dtype": "video" if video else "image",
                "shape": (*sizes[camera], 3),
                "names": ["height", "width", "channels"],
            }
        for name in (STAMP, *(STAMP_OF + name for name in (*self.terms, ACTION, *self.cameras))):
            columns[name] = {"dtype": "int64", "shape": (1,), "names": None}
        if self.has_interventions:
            columns[INTERVENTION] = {"dtype": "bool", "shape": (1,), "names": None}
        return columns


def feature_map(
    card: RobotCard, *, terms: Sequence[str] = (), cameras: Sequence[str] = (), action: Sequence[str] = ()
) -> FeatureMap:
    """Decide what goes where.

    Args:
        card: the robot.
        terms: those to keep; none: all that the robot measures.
        cameras: those to keep.
        action: the elements of an action; none: those of the card's first command interface.

    Returns:
        The map.

    Raises:
        ConfigError: the robot has no such term or camera.
    """
    kept = tuple(terms) or tuple(card.observations)
    for name, known, what in [(t, card.observations, "term") for t in kept] + [
        (c, card.cameras, "camera") for c in cameras
    ]:
        if name not in known:
            raise ConfigError(
                f"there is no {what} {name!r}",
                where=f"robot card {card.name!r}",
                expected="one of " + ", ".join(known),
                mend="correct the name",
            )
    own = tuple(name for name in kept if card.observations[name].topic in _OWN_TOPICS)
    return FeatureMap(
        state=own,
        environment=tuple(name for name in kept if name not in own),
        cameras=tuple(cameras),
        elements={name: card.observations[name].names for name in kept},
        action=tuple(action) or next(iter(card.commands.values())).names,
    )


def feature_map_of(features: Mapping[str, Mapping[str, Any]], *, where: str) -> FeatureMap:
    """Read the map back from the features of a dataset that was written with one.

    Args:
        features: `features` of LeRobot's `info.json`.
        where: the dataset, for messages.

    Returns:
        The map.

    Raises:
        ConfigError: the names of a vector do not say which term each number belongs to.
    """
    elements: dict[str, list[str]] = {}
    vectors: dict[str, list[str]] = {STATE: [], ENVIRONMENT: []}
    for vector, terms in vectors.items():
        for name in features.get(vector, {}).get("names") or ():
            term, dot, element = str(name).partition(".")
            if not dot:
                raise ConfigError(
                    f"{vector} has an element {name!r}",
                    where=where,
                    expected="term.element, as in joint_position.elbow",
                    mend="say which terms it holds: `reflexarc data import --state ... --environment ...`",
                )
            if term not in terms:
                terms.append(term)
            elements.setdefault(term, []).append(element)
    return FeatureMap(
        state=tuple(vectors[STATE]),
        environment=tuple(vectors[ENVIRONMENT]),
        cameras=tuple(name.removeprefix(IMAGES) for name in features if name.startswith(IMAGES)),
        elements={term: tuple(names) for term, names in elements.items()},
        action=tuple(str(name) for name in features[ACTION]["names"]),
        has_interventions=INTERVENTION in features,
    )
