"""What the owner of a command gate may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.errors import ConfigError

_NOT_NEGATIVE = ("future_tolerance_s", "start_tolerance", "clock_back_tolerance_s", "clock_recover_s",
                 "geofence_margin_m", "tilt_margin_rad")  # fmt: skip


@dataclass(frozen=True)
class GateConfig:
    """What the gate's owner may choose; limits, timeouts and the safe action are on the robot card."""

    # Who may command, the most important one first.
    sources: tuple[str, ...] = ("operator", "policy")
    # How long a source that fell silent keeps out less important ones; None: half the interface's timeout.
    lease_s: float | None = None
    # How many acceptable commands in a row a source must deliver before it gets hold of motors.
    switch_count: int = 3
    # How far ahead of the data clock a stamp may be (clocks of two machines, a late /clock).
    future_tolerance_s: float = 0.05
    # How old the state may be; None: the longer of the interface's timeout and three periods of the state.
    state_timeout_s: float | None = None
    # The terms that a state must have, in the card's order; empty: all of the card.
    state_terms: tuple[str, ...] = ()
    # The term that measures what a joint or Cartesian interface commands; empty: joint_position or
    # tool_position.
    posture_term: str = ""
    # How far outside its range, as a share of the range, an axis may be found at the start.
    start_tolerance: float = 0.02
    # How far the data clock may be set back without alarm (a system clock under NTP).
    clock_back_tolerance_s: float = 0.01
    # How long the data clock may stand still while the steady clock runs.
    clock_stop_s: float = 0.1
    # How long both clocks must have run on before they are trusted again.
    clock_recover_s: float = 0.5
    # How far inside the geofence, and below its greatest altitude, a vehicle must be before it may be
    # commanded again.
    geofence_margin_m: float = 0.2
    # How far below its steepest tilt a vehicle must be before it may be commanded again.
    tilt_margin_rad: float = 0.2
    # How long an engaged operator link may be silent.
    operator_timeout_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what would switch a rule off by accident.

        Raises:
            ConfigError: no or repeated sources, or a value out of its range.
        """
        if not self.sources or len(set(self.sources)) != len(self.sources):
            raise ConfigError(
                f"sources {self.sources!r}",
                where="gate config",
                expected="at least one source, each once",
                mend="list who may command, the most important one first",
            )
        positive = ("lease_s", "state_timeout_s", "clock_stop_s", "operator_timeout_s", "switch_count")
        for name in (*positive, *_NOT_NEGATIVE):
            value = getattr(self, name)
            if value is None or (value > 0 and value < math.inf) or (value == 0 and name in _NOT_NEGATIVE):
                continue
            raise ConfigError(
                f"{name} is {value}",
                where="gate config",
                expected="a finite number, " + ("0 or more" if name in _NOT_NEGATIVE else "above 0"),
                mend=f"correct {name}",
            )
