"""What a vehicle flies to be measured: hover, then a figure eight, from where it took off to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.errors import ConfigError
from reflexarc.demos.plan import RAMP_S, FlightPlan, Phase, Segment

# The figure eights that the films and plots know, by the time for one loop.
SEGMENTS = {10.0: Segment.FIGURE_EIGHT_10S, 5.5: Segment.FIGURE_EIGHT_5_5S}
# How long a vehicle may take to settle before hovering is measured, at most.
SETTLE_S = 5.0


@dataclass(frozen=True)
class Course:
    """What is flown."""

    # How long to hover, seconds.
    hover_s: float = 20.0
    # Time for one loop of the figure eight, seconds: 10 or 5.5.
    period_s: float = 10.0
    # How many loops at full speed.
    loops: int = 2
    # Height of flight, metres.
    height_m: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be flown or measured.

        Raises:
            ConfigError: a figure eight that is not known, or nothing to measure.
        """
        if self.period_s not in SEGMENTS or self.loops < 1 or not 2.0 <= self.hover_s < math.inf:
            raise ConfigError(
                f"hover {self.hover_s:g} s, {self.loops} loop(s) of {self.period_s:g} s",
                where="flight",
                expected="2 s of hovering or more, and a loop or more of 10 or 5.5 s",
                mend="correct the numbers",
            )

    @property
    def segment(self) -> Segment:
        """Which figure eight it is."""
        return SEGMENTS[self.period_s]

    @property
    def plan(self) -> FlightPlan:
        """The flight in phases, seconds since the reference began; the last one holds on."""
        eight_s = self.loops * self.period_s + RAMP_S
        end_s = self.hover_s + eight_s
        return FlightPlan(
            height_m=self.height_m,
            program=(f"hover {self.hover_s:g}", f"figure_eight {self.period_s:g} {eight_s:g}"),
            phases=(
                Phase(Segment.HOVER, 0.0, self.hover_s),
                Phase(self.segment, self.hover_s, end_s),
                Phase(Segment.PAUSE, end_s, math.inf),
            ),
            hover_window_s=self.hover_s - min(SETTLE_S, 0.5 * self.hover_s),
            gust_s=None,
        )
