"""What RAPTOR sees and does, by name: its terms, its motors, its error clipping and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardware.command import CommandKind
from hardware.errors import ConfigError, ConfigErrors
from policies.card import (
    POLICY_CARD_SCHEMA,
    REFERENCE_TERMS,
    PolicyAction,
    PolicyCard,
    PolicyTerm,
    RecurrentState,
)
from policies.raptor.network import ACTION_SIZE

# The motors in the order of the network's output, seen from above.
MOTORS = ("front_right", "back_right", "back_left", "front_left")
# The terms that the vector is made of, as a policy card names them.
TERMS: dict[str, PolicyTerm] = {
    "position": PolicyTerm(("x", "y", "z"), "m", "world"),
    "orientation": PolicyTerm(("w", "x", "y", "z"), "quaternion", "world"),
    "linear_velocity": PolicyTerm(("x", "y", "z"), "m/s", "body"),
    "angular_velocity": PolicyTerm(("x", "y", "z"), "rad/s", "body"),
    **{
        name: PolicyTerm(*REFERENCE_TERMS[name])
        for name in ("reference_position", "reference_velocity", "reference_yaw")
    },
}


@dataclass(frozen=True)
class ErrorClipping:
    """The largest errors that the policy gets to see, per axis of the yaw frame.

    Without it the policy loses large vehicles far from the reference: from 2 m away and tilted by 90
    degrees, eight of eight airframes recover with clipping and four without.
    """

    # Largest position error, metres.
    position_m: float = 0.5
    # Largest velocity error, metres a second.
    velocity_m_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a bound that is not positive.

        Raises:
            ConfigError: a bound is zero, negative or not a number.
        """
        for name in ("position_m", "velocity_m_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where="error clipping",
                    expected="a positive number",
                    mend="give the largest error, or no clipping at all",
                )


# What flies: the values of PX4's module.
FLIGHT_CLIPPING = ErrorClipping()


def raptor_card(
    *,
    name: str,
    description: str,
    files: Mapping[str, str],
    hidden_size: int = 16,
    clipping: ErrorClipping = FLIGHT_CLIPPING,
    max_loop_age_s: float = 0.005,
    onboard_rate_hz: float = 100.0,
) -> PolicyCard:
    """Fill in a policy card for RAPTOR's observation and action.

    The published policy's loop must not be older than 5 ms: from 10 ms of additional delay on, a third of
    the airframes of the training distribution diverge. Held for 20 ms (50 Hz), its last action still flies
    95 %.

    Args:
        name: a short name.
        description: one sentence.
        files: SHA-256 by file name.
        hidden_size: length of the hidden state.
        clipping: the largest errors that the policy is meant to see.
        max_loop_age_s: the oldest data, from capture to motor, with which it still flies, seconds.
        onboard_rate_hz: how often a flight controller evaluates it, Hz, as it says on the card where that is
            more than the training's 100.

    Returns:
        The card.
    """
    faster = {"onboard_rate_hz": onboard_rate_hz} if onboard_rate_hz != 100.0 else {}
    return PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name=name,
        method="raptor",
        robot_kind="quadrotor",
        observation=TERMS,
        action=PolicyAction(kind=CommandKind.MOTOR, names=MOTORS, unit="effort"),
        rate_hz=100.0,
        max_loop_age_s=max_loop_age_s,
        max_open_loop_s=0.02,
        description=description,
        files=files,
        recurrent={
            "hidden": RecurrentState(shape=(hidden_size,), reset=("activation",)),
            "previous_action": RecurrentState(shape=(ACTION_SIZE,), reset=("activation",)),
        },
        parameters={
            "clip_position_m": clipping.position_m,
            "clip_velocity_m_s": clipping.velocity_m_s,
            **faster,
        },
    )


def check_card(card: PolicyCard, hidden_size: int) -> None:
    """Check that a card describes what RAPTOR sees and does.

    Args:
        card: the policy's card.
        hidden_size: length of the network's hidden state.

    Raises:
        ConfigErrors: one finding for every part that differs.
    """
    where = f"policy card {card.name!r}"
    action = (card.action.kind, card.action.names, card.action.unit, card.action.horizon)
    recurrent = {name: spec.shape for name, spec in card.recurrent.items()}
    checks: list[tuple[str, object, object]] = [
        ("method", card.method, "raptor"),
        ("observation", dict(card.observation), TERMS),
        ("action", action, (CommandKind.MOTOR, MOTORS, "effort", 1)),
        ("recurrent", recurrent, {"hidden": (hidden_size,), "previous_action": (ACTION_SIZE,)}),
    ]
    findings = [
        ConfigError(
            f"{name} is {found!r}",
            where=where,
            expected=repr(wanted),
            mend="use the card that policies.raptor.convert writes",
        )
        for name, found, wanted in checks
        if found != wanted
    ]
    if findings:
        raise ConfigErrors(findings, where=where)


def card_clipping(card: PolicyCard) -> ErrorClipping:
    """Read the bounds of the error clipping from a card.

    Args:
        card: the policy's card.

    Returns:
        The bounds.

    Raises:
        ConfigError: they are missing or not positive numbers.
    """
    try:
        return ErrorClipping(
            position_m=float(card.parameters["clip_position_m"]),
            velocity_m_s=float(card.parameters["clip_velocity_m_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the bounds of the error clipping cannot be read ({error})",
            where=f"policy card {card.name!r}: parameters",
            expected="positive numbers clip_position_m and clip_velocity_m_s",
            mend="add them, or run with clip_errors=False",
        ) from error


def card_onboard_rate_hz(card: PolicyCard) -> int:
    """Read how often a flight controller evaluates the policy.

    The hidden state advances at 100 Hz in any case. Evaluating more often shortens the loop. But a policy
    that learnt to act late foresees what its last actions do, and begins to swing when it is asked again
    before they did: such a one has no rate on its card and is evaluated as it was trained.

    Args:
        card: the policy's card.

    Returns:
        The rate, Hz.

    Raises:
        ConfigError: it is no whole share of 1000 Hz, or below the rate of the training.
    """
    rate = card.parameters.get("onboard_rate_hz", card.rate_hz)
    if not isinstance(rate, int | float) or rate not in (100, 125, 200, 250, 500, 1000):
        raise ConfigError(
            f"onboard_rate_hz is {rate!r}",
            where=f"policy card {card.name!r}: parameters",
            expected="100, 125, 200, 250, 500 or 1000",
            mend="choose one, or leave it out for the rate of the training",
        )
    return int(rate)
