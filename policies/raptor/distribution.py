"""Which airframes RAPTOR was trained on, and what is outside of that for a given one.

Source: RAPTOR, supplementary "Sampling Quadrotors", and `sample_dynamics_parameters.cpp` of its training
code (spec, section 2.1). Outside of these ranges nobody has measured anything: a policy may still fly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.quadrotor.airframes import Airframe


@dataclass(frozen=True)
class TrainedRange:
    """One quantity of the training distribution."""

    # What it is, for people.
    title: str
    # Its unit; empty: none.
    unit: str
    # The smallest and the largest value that was sampled.
    lower: float
    upper: float


# By name of a quantity in `quantities`.
TRAINED: dict[str, TrainedRange] = {
    "thrust_to_weight": TrainedRange("thrust-to-weight ratio", "", 1.5, 5.0),
    "mass_kg": TrainedRange("mass", "kg", 0.02, 5.0),
    "torque_to_inertia": TrainedRange("torque-to-inertia root", "1/s^2", 40.0, 1200.0),
    "rising_s": TrainedRange("rising time constant of the motors", "s", 0.03, 0.10),
    "falling_s": TrainedRange("falling time constant of the motors", "s", 0.03, 0.30),
    "torque_constant_m": TrainedRange("torque constant of the rotors", "m", 0.005, 0.05),
}


@dataclass(frozen=True)
class Outlier:
    """One quantity of an airframe that is outside of the training distribution."""

    # A key of `TRAINED`.
    name: str
    # The airframe's value.
    value: float

    @property
    def sentence(self) -> str:
        """What is outside of what, with the numbers."""
        trained = TRAINED[self.name]
        unit = f" {trained.unit}" if trained.unit else ""
        return f"{trained.title} {self.value:.3g}{unit}, trained {trained.lower:g} to {trained.upper:g}{unit}"


def quantities(airframe: Airframe) -> dict[str, float]:
    """Measure an airframe in the quantities of the training distribution.

    Args:
        airframe: the vehicle.

    Returns:
        Values by the names of `TRAINED`; the torque-to-inertia root is |x| sqrt(2) (T/4) / J_xx with the
        rotors' distance x along the body's x axis and the full thrust T, as the training code has it.
    """
    torque_nm = airframe.rotor_x_m * math.sqrt(2.0) * airframe.max_thrust_n / 4.0
    return {
        "thrust_to_weight": airframe.thrust_to_weight,
        "mass_kg": airframe.mass_kg,
        "torque_to_inertia": torque_nm / airframe.inertia_kg_m2[0],
        "rising_s": airframe.rising_s,
        "falling_s": airframe.falling_s,
        "torque_constant_m": airframe.torque_constant_m,
    }


def outliers(airframe: Airframe) -> tuple[Outlier, ...]:
    """Find what is outside of the training distribution.

    Args:
        airframe: the vehicle.

    Returns:
        The quantities outside, in the order of `TRAINED`; empty for an airframe like those of the training.
    """
    found = quantities(airframe)
    return tuple(
        Outlier(name, found[name])
        for name, trained in TRAINED.items()
        # A bound that a file gives with few digits is no outlier.
        if not trained.lower * (1 - 1e-9) <= found[name] <= trained.upper * (1 + 1e-9)
    )


def warning(airframe: Airframe) -> str | None:
    """Say what is outside of the training distribution, in one sentence.

    Args:
        airframe: the vehicle.

    Returns:
        The sentence, or None where everything is inside.
    """
    found = outliers(airframe)
    if not found:
        return None
    parts = "; ".join(outlier.sentence for outlier in found)
    return f"the airframe {airframe.name!r} is outside of RAPTOR's training distribution: {parts}"
