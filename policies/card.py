"""Policy cards and their binding to robots: by name, checked whole, before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardware import schema
from hardware.command import CommandKind
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import UNITS, CommandSpec, RobotCard

POLICY_CARD_SCHEMA = "reflexarc/policy-card/1"
# The weights in a policy folder.
WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"

# What a reference node provides beside the robot's own terms.
REFERENCE_TERMS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "reference_position": (("x", "y", "z"), "m", "world"),
    "reference_velocity": (("x", "y", "z"), "m/s", "world"),
    "reference_yaw": (("yaw",), "rad", "world"),
}


# Before the name of a robot's term, on a policy card: not what it is now, but what it is to become.
GOAL_PREFIX = "goal/"


def measured(name: str) -> str:
    """The robot's term that a policy's term is about: itself, or the one that a goal is a value of."""
    return name.removeprefix(GOAL_PREFIX)


@dataclass(frozen=True)
class PolicyTerm:
    """One named array that a policy wants to see."""

    # The elements, in the order the policy wants them.
    names: tuple[str, ...]
    # Their unit.
    unit: str
    # The frame in which the policy wants them; empty where none applies.
    frame: str = ""

    def __post_init__(self) -> None:
        """Refuse a unit that nobody can check.

        Raises:
            ConfigError: the unit is unknown.
        """
        if self.unit not in UNITS:
            raise ConfigError(
                f"unknown unit {self.unit!r}",
                where="unit",
                expected="one of " + ", ".join(UNITS),
                mend="convert to SI and name the unit",
            )


@dataclass(frozen=True)
class PolicyAction:
    """What a policy produces."""

    # What the numbers mean.
    kind: CommandKind
    # The elements, in the order the policy gives them.
    names: tuple[str, ...]
    # Their unit.
    unit: str
    # Steps in a chunk.
    horizon: int = 1
    # Time between two steps, seconds.
    step_s: float = 0.01
    # Steps of a chunk that are carried out before the next one is asked for.
    execute: int = 1


@dataclass(frozen=True)
class RecurrentState:
    """One named array that a policy carries from step to step."""

    # Its shape.
    shape: tuple[int, ...]
    # When it is set back to `initial`: "activation", "episode".
    reset: tuple[str, ...]
    # The value after a reset.
    initial: float = 0.0


@dataclass(frozen=True)
class PolicyCard:
    """What a policy expects and produces. Loaded from `card.yaml` in a policy folder."""

    # The version of this format.
    schema: str
    # A short name.
    name: str
    # The method that made it: raptor, bc, ...
    method: str
    # The kind of robot it was made for: arm, humanoid, quadrotor.
    robot_kind: str
    # The observation terms by name; `reference_*` terms come from the reference node, and `goal/NAME` is what
    # the robot's term NAME is asked to become.
    observation: Mapping[str, PolicyTerm]
    # What it produces.
    action: PolicyAction
    # How often it wants to act.
    rate_hz: float
    # The oldest data, from capture to motor, with which it still works, in seconds.
    max_loop_age_s: float
    # How long its last chunk may be used without a fresh observation, in seconds.
    max_open_loop_s: float
    # Observations that it wants to see, `action.step_s` apart, the newest included.
    history: int = 1
    # One sentence for people.
    description: str = ""
    # SHA-256 of every weights file in the folder, by file name.
    files: Mapping[str, str] = field(default_factory=dict)
    # Recurrent state by name.
    recurrent: Mapping[str, RecurrentState] = field(default_factory=dict)
    # Settings of the method (scaling, clipping, hidden sizes).
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what single fields cannot.

        Raises:
            ConfigError: another schema, or no observations.
        """
        if self.schema != POLICY_CARD_SCHEMA:
            raise ConfigError(
                f"schema {self.schema!r}",
                where="schema",
                expected=repr(POLICY_CARD_SCHEMA),
                mend="use a policy card of this version",
            )
        if self.history < 1:
            raise ConfigError(
                f"history is {self.history}",
                where="history",
                expected="at least 1: the newest observation",
                mend="correct the number of observations",
            )


@dataclass(frozen=True)
class Binding:
    """A policy card and a robot card that fit, with what was found while fitting them."""

    # The two cards.
    policy: PolicyCard
    robot: RobotCard
    # The robot's command interface that the policy drives, and its name on the card.
    interface_name: str
    interface: CommandSpec
    # For every robot term that the policy wants: the robot's element index for each of its elements.
    term_order: Mapping[str, tuple[int, ...]]
    # For every element of the robot's command: its index in the policy's action.
    action_order: tuple[int, ...]
    # The terms that come from the reference node.
    reference_terms: tuple[str, ...]
    # The terms that say what is asked for.
    goal_terms: tuple[str, ...] = ()


def bind(policy: PolicyCard, robot: RobotCard) -> Binding:
    """Fit a policy to a robot.

    Args:
        policy: what the policy expects and produces.
        robot: what the robot has.

    Returns:
        The binding.

    Raises:
        ConfigErrors: every mismatch, latency included, each with how to mend it.
    """
    where = f"policy {policy.name!r} on robot {robot.name!r}"
    findings: list[ConfigError] = []

    def wrong(what: str, expected: str, mend: str) -> None:
        findings.append(ConfigError(what, where=where, expected=expected, mend=mend))

    if policy.robot_kind != robot.kind:
        wrong(
            f"the policy was made for robots of kind {policy.robot_kind!r}",
            f"a policy for robots of kind {robot.kind!r}",
            "choose another policy or another robot",
        )
    term_order: dict[str, tuple[int, ...]] = {}
    references = tuple(name for name in policy.observation if name in REFERENCE_TERMS)
    goals = tuple(name for name in policy.observation if name.startswith(GOAL_PREFIX))
    for name, term in policy.observation.items():
        if name in REFERENCE_TERMS:
            names, unit, frame = REFERENCE_TERMS[name]
        elif measured(name) in robot.observations:
            spec = robot.observations[measured(name)]
            names, unit, frame = spec.names, spec.unit, spec.frame
        else:
            wrong(
                f"the robot does not measure {measured(name)!r}",
                "one of " + ", ".join((*robot.observations, *REFERENCE_TERMS)),
                "add the sensor to the robot card or train a policy without it",
            )
            continue
        if (term.unit, term.frame) != (unit, frame):
            wrong(
                f"the policy wants {name!r} in {_in(term.unit, term.frame)}",
                _in(unit, frame),
                "correct the unit or frame on the card that is wrong",
            )
        unknown = [n for n in term.names if n not in names]
        if unknown:
            wrong(
                f"{name!r} has no element {', '.join(map(repr, unknown))}",
                "one of " + ", ".join(names),
                "correct the names on the policy card",
            )
        elif name in REFERENCE_TERMS and term.names != names:
            wrong(
                f"{name!r} is wanted as {', '.join(term.names)}",
                "exactly " + ", ".join(names),
                "list the elements in this order on the policy card",
            )
        elif name not in (*REFERENCE_TERMS, *goals):
            term_order[name] = tuple(names.index(n) for n in term.names)
    action = policy.action
    found = next(((n, s) for n, s in robot.commands.items() if s.kind is action.kind), None)
    action_order: tuple[int, ...] = ()
    if found is None:
        wrong(
            f"the policy commands {action.kind.value}",
            "one of " + ", ".join(s.kind.value for s in robot.commands.values()),
            "choose a policy of that kind",
        )
    else:
        spec_names = found[1].names
        if action.unit != found[1].unit:
            wrong(
                f"the policy commands in {action.unit}", found[1].unit, "correct the unit on the policy card"
            )
        missing = [n for n in spec_names if n not in action.names]
        unknown = [n for n in action.names if n not in spec_names]
        if missing or unknown:
            wrong(
                "the policy's action "
                + " and ".join(
                    text
                    for text, some in (
                        (f"lacks {', '.join(map(repr, missing))}", missing),
                        (f"has unknown {', '.join(map(repr, unknown))}", unknown),
                    )
                    if some
                ),
                "exactly " + ", ".join(spec_names),
                "correct the names on the policy card",
            )
        else:
            action_order = tuple(action.names.index(n) for n in spec_names)
    # Where it is used: what reads cards of single methods builds on this module.
    from policies.cameras import camera_faults

    for fault in camera_faults(policy, robot):
        wrong(*fault)
    age_s = robot.latency.loop_p99_s
    if age_s > policy.max_loop_age_s:
        wrong(
            f"the robot's data is {age_s * 1e3:.1f} ms old at the motor (p99, latency card)",
            f"at most max_loop_age_s = {policy.max_loop_age_s * 1e3:.1f} ms",
            "shorten the loop and measure it again, or choose a policy trained with delay",
        )
    if findings or found is None:
        raise ConfigErrors(findings, where=where)
    return Binding(policy, robot, *found, term_order, action_order, references, goals)


def load_policy_card(folder: Path | str) -> PolicyCard:
    """Load the card of a policy folder and check the weights against it.

    Args:
        folder: holds `card.yaml` and the files that it names.

    Returns:
        The card.

    Raises:
        ConfigError: a file is missing or its SHA-256 differs from the card's.
    """
    folder = Path(folder)
    card = schema.load(PolicyCard, folder / "card.yaml")
    for name, expected in card.files.items():
        path = folder / name
        if not path.exists():
            raise ConfigError(
                f"the weights file {name!r} is missing",
                where=str(folder),
                expected=f"SHA-256 {expected}",
                mend="fetch the policy folder whole",
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ConfigError(
                f"the weights file {name!r} has SHA-256 {found}",
                where=str(folder),
                expected=expected,
                mend="fetch the file again, or export the policy anew so that card and weights agree",
            )
    return card


def _in(unit: str, frame: str) -> str:
    return f"{unit} in frame {frame!r}" if frame else unit
