"""Latency of the wire, drawn from a robot's measured latency card."""

from __future__ import annotations

import numpy as np

from hardware.errors import ConfigError
from hardware.robot import Delay, LatencyCard

# A wire without any delay, jitter or loss.
NONE = LatencyCard(observation=Delay(), command=Delay(), measured="none: an ideal wire")

_OBSERVATION_STREAM, _COMMAND_STREAM = 0, 1


class LatencyModel:
    """Draws how late each message is, or that it is lost.

    A delay is normal with the card's mean and jitter, truncated at zero (a draw below zero is
    drawn anew). Observations and commands have their own random streams: how many of the one kind
    are sent never changes the delays of the other.

    Args:
        card: the measured delays.
        seed: makes the draws repeatable, zero or positive.

    Raises:
        ConfigError: the seed is negative.
    """

    def __init__(self, card: LatencyCard, *, seed: int) -> None:
        """Seed both streams."""
        if seed < 0:
            raise ConfigError(
                f"seed {seed} is negative",
                where="latency model",
                expected="zero or a positive whole number",
                mend="choose another seed",
            )
        self.card = card
        self._observation = _Stream(card.observation, (seed, _OBSERVATION_STREAM))
        self._command = _Stream(card.command, (seed, _COMMAND_STREAM))

    def observation_delay_ns(self) -> int | None:
        """Draw the delay of the next observation, in nanoseconds; None when it is lost."""
        return self._observation.draw_ns()

    def command_delay_ns(self) -> int | None:
        """Draw the delay of the next command, in nanoseconds; None when it is lost."""
        return self._command.draw_ns()


class _Stream:
    def __init__(self, delay: Delay, seed: tuple[int, int]) -> None:
        self._delay = delay
        self._random = np.random.default_rng(seed)

    def draw_ns(self) -> int | None:
        delay = self._delay
        if delay.drop_rate > 0.0 and self._random.random() < delay.drop_rate:
            return None
        if delay.jitter_s == 0.0:
            return round(delay.mean_s * 1e9)
        while True:
            drawn_s = delay.mean_s + delay.jitter_s * self._random.standard_normal()
            if drawn_s >= 0.0:
                return round(drawn_s * 1e9)
