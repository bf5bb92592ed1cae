"""Random airframes as RAPTOR was trained on: from 20 g to 5 kg, lazy to violent.

Source: specs of RAPTOR, section 2.1 (the authors' `sample_dynamics_parameters.cpp`, paper supplement
"Sampling Quadrotors"). Where paper and code differ, the rules below say which is the default.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from sim.quadrotor.airframes import GRAVITY_M_S2, load_airframe
from sim.quadrotor.fleet_airframes import AirframeBatch

Range = tuple[float, float]

# Numbers drawn for one airframe, whatever the rules: airframe i never depends on how many there are.
_DRAWS = 10


@dataclass(frozen=True)
class SamplingRules:
    """From what airframes are drawn; every pair is (least, largest) of a uniform distribution."""

    # Thrust at full effort as a multiple of the weight.
    thrust_to_weight: Range = (1.5, 5.0)
    # Mass in kilograms, uniform in its cube root, that is in size.
    mass_kg: Range = (0.02, 5.0)
    # Arm length against that of the Crazyflie scaled to the mass: 1 + u, or 1 / (1 - u) below zero, with u
    # from a normal distribution of this mean and deviation.
    size_mean: float = -0.1
    size_std: float = 0.1
    # Torque to inertia: how quickly the vehicle can roll, 1/s^2.
    torque_to_inertia: Range = (40.0, 1200.0)
    # Reaction torque of a rotor per thrust, metres.
    torque_constant_m: Range = (0.005, 0.05)
    # Time constant of rotors that speed up, seconds.
    rising_s: Range = (0.03, 0.10)
    # Time constant of rotors that slow down, seconds.
    falling_s: Range = (0.03, 0.30)
    # The constant force's deviation is a share, uniform up to `force_share` times the excess of thrust over
    # weight: of thrust-to-weight times mass in newtons by the code (which forgot gravity), of the weight by
    # the paper.
    force_share: float = 0.1
    force_rule: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        """Refuse ranges that hold no airframe.

        Raises:
            ConfigError: a range is upside down or not positive, or no draw could fly.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not 0.0 < value[0] <= value[1] < np.inf:
                raise ConfigError(
                    f"{field.name} {value} is no range",
                    where="SamplingRules",
                    expected="(least, largest), both positive",
                    mend=f"correct {field.name}",
                )
        if self.thrust_to_weight[0] <= 1.0:
            raise ConfigError(
                f"thrust_to_weight {self.thrust_to_weight} holds vehicles that cannot fly",
                where="SamplingRules",
                expected="more than 1",
                mend="raise the least thrust_to_weight",
            )


def sample_airframes(count: int, *, seed: int, rules: SamplingRules | None = None) -> AirframeBatch:
    """Draw airframes.

    Args:
        count: how many.
        seed: the same seed draws the same airframes; airframe i does not depend on `count`.
        rules: from what; RAPTOR's training distribution when absent.

    Returns:
        The airframes, with their constant force's deviation.
    """
    rules = rules or SamplingRules()
    draw = np.random.Generator(np.random.PCG64(seed)).random((count, _DRAWS)).T
    nominal = load_airframe("crazyflie")

    thrust_to_weight = _between(rules.thrust_to_weight, draw[0])
    smallest, largest = np.cbrt(rules.mass_kg)
    mass = (smallest + (largest - smallest) * draw[1]) ** 3
    # One normal number out of two uniform ones (Box and Muller), so that every airframe takes as many.
    normal = np.sqrt(-2.0 * np.log1p(-draw[2])) * np.cos(2.0 * np.pi * draw[3])
    deviation = rules.size_mean + rules.size_std * normal
    factor = np.where(deviation < 0.0, 1.0 / (1.0 - np.minimum(deviation, 0.0)), 1.0 + deviation)
    size = np.cbrt(mass / nominal.mass_kg) * factor
    rotor_x, rotor_y = nominal.rotor_x_m * size, nominal.rotor_y_m * size

    shape = np.array(nominal.thrust_n)[:, None] / nominal.max_thrust_n
    full_n = thrust_to_weight * mass * GRAVITY_M_S2
    roll = rotor_x * np.sqrt(2.0) * (full_n / 4.0) / _between(rules.torque_to_inertia, draw[4])
    inertia = np.array(nominal.inertia_kg_m2)[:, None] / nominal.inertia_kg_m2[0] * roll
    unit_n = mass * GRAVITY_M_S2 if rules.force_rule == "paper" else thrust_to_weight * mass
    return AirframeBatch(
        mass=mass.astype(np.float32),
        inertia=inertia.astype(np.float32),
        thrust=(shape * full_n).astype(np.float32),
        rotor_x=rotor_x.astype(np.float32),
        rotor_y=rotor_y.astype(np.float32),
        torque_constant=_between(rules.torque_constant_m, draw[5]).astype(np.float32),
        rising=_between(rules.rising_s, draw[6]).astype(np.float32),
        falling=_between(rules.falling_s, draw[7]).astype(np.float32),
        force_std_n=(draw[8] * rules.force_share * (thrust_to_weight - 1.0) * unit_n).astype(np.float32),
    )


def _between(limits: Range, draw: FloatArray) -> FloatArray:
    return limits[0] + (limits[1] - limits[0]) * draw
