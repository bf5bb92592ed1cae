"""From topics to observations: terms that were captured together, or each as of its last capture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard
from reflexarc_ros.messages import ObservationTopic, observation_topics

# So many periods of its own may a topic be behind (or ahead of) the one that paces.
_LAG_PERIODS = 3.0


def pacing_topic(card: RobotCard) -> str:
    """The topic whose arrival paces the loops: that of the card's first term."""
    return next(iter(card.observations.values())).topic


class Assembler:
    """Collects the terms that somebody wants from a robot's topics.

    The pacing topic completes an observation. The terms of other topics must be there (nothing is
    ever filled in), of the same instant when `exact`, else as of their last capture, which may be at
    most three of their periods away.

    Args:
        card: the robot's card.
        terms: the names of the wanted terms.
        exact: whether all topics must carry the same stamp.

    Raises:
        ConfigError: a wanted term is not on the card.
    """

    def __init__(self, card: RobotCard, terms: Iterable[str], *, exact: bool) -> None:
        """Find the topics."""
        wanted = set(terms)
        unknown = sorted(wanted - set(card.observations))
        if unknown:
            raise ConfigError(
                f"unknown terms {', '.join(unknown)}",
                where=f"robot card {card.name!r}",
                expected="some of " + ", ".join(card.observations),
                mend="correct the names",
            )
        self.pacing = pacing_topic(card)
        self.topics: tuple[ObservationTopic, ...] = tuple(
            t for t in observation_topics(card) if t.topic == self.pacing or wanted & set(t.slices)
        )
        self._exact = exact
        self._latest: dict[str, tuple[int, Mapping[str, FloatArray]]] = {}
        # How far behind the pacing topic each topic's last capture may be, nanoseconds.
        rates = {t.topic: min(card.observations[n].rate_hz for n in t.slices) for t in self.topics}
        self._lag_ns = {name: round(_LAG_PERIODS * 1e9 / rate) for name, rate in rates.items()}
        # The topic that kept the last observation from being complete; empty: none.
        self.missing = ""

    def clear(self) -> None:
        """Forget what has arrived."""
        self._latest.clear()
        self.missing = ""

    def push(
        self, topic: str, stamp_ns: int, terms: Mapping[str, FloatArray], *, steady_ns: int
    ) -> Observation | None:
        """Take one message.

        Args:
            topic: where it came from.
            stamp_ns: its capture, ROS clock, in nanoseconds.
            terms: its arrays by name.
            steady_ns: when it arrived, steady clock, in nanoseconds.

        Returns:
            An observation when one is complete, stamped with the pacing topic's capture.
        """
        self._latest[topic] = (stamp_ns, terms)
        if topic != self.pacing and not self._exact:
            return None
        paced = self._latest.get(self.pacing)
        if paced is None or len(self._latest) < len(self.topics):
            self.missing = next(t.topic for t in self.topics if t.topic not in self._latest)
            return None
        for name, (captured_ns, _) in self._latest.items():
            if abs(paced[0] - captured_ns) > self._lag_ns[name] and not self._exact:
                self.missing = name
                return None
        self.missing = ""
        if self._exact and any(stamp != paced[0] for stamp, _ in self._latest.values()):
            return None
        values: dict[str, FloatArray] = {}
        for _, part in self._latest.values():
            values.update(part)
        return Observation(values, paced[0], steady_ns)
