"""Which policy flies the demo, how the report introduces it and what it must reach. One constant switches."""

from __future__ import annotations

from dataclasses import dataclass

# How far a figure may be from what the same policy does in another simulator.
TOLERANCE = 0.15


@dataclass(frozen=True)
class Pilot:
    """A policy that can fly the demo."""

    # The policy folder, METHOD/NAME.
    policy: str
    # Its part of the sentence «... sees position, attitude and velocities».
    introduction: str
    # What the figures are set beside, for people.
    reference_note: str
    # RMS of hovering and RMSE of the figure eights of 10 s and 5.5 s to set the flight beside, metres.
    hover_m: float
    slow_m: float
    fast_m: float
    # Whether the figure eights must come out as there, or only not worse.
    is_reproduction: bool


# The authors' simulator (l2f) with the airframe of the demo; docs/results has the measurement.
_HOVER_M, _SLOW_M, _FAST_M = 0.022, 0.063, 0.169
_REAL = "On real x500s the authors measured 11 and 21 cm."

PUBLISHED = Pilot(
    policy="raptor/published",
    introduction="A published neural network with 2084 parameters, RAPTOR,",
    reference_note="Reference: the same network and airframe in the simulator of RAPTOR's authors. Figure"
    f" eights are judged at full speed, without their ramps. {_REAL}",
    hover_m=_HOVER_M,
    slow_m=_SLOW_M,
    fast_m=_FAST_M,
    is_reproduction=True,
)
REFLEXARC = Pilot(
    policy="raptor/reflexarc",
    introduction="A neural network with 2084 parameters, shaped like RAPTOR, taught by fourteen teachers and"
    " tuned through our simulator to bear delays and noise,",
    reference_note="Reference: RAPTOR's published network with this airframe in the simulator of its authors."
    f" Figure eights are judged at full speed, without their ramps. {_REAL}",
    hover_m=_HOVER_M,
    slow_m=_SLOW_M,
    fast_m=_FAST_M,
    is_reproduction=False,
)

# Who flies.
PILOT = REFLEXARC
