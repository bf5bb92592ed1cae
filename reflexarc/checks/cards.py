"""Robot cards, policy folders, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardware import schema
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard
from policies.card import PolicyCard, bind, load_policy_card
from policies.registry import METHODS
from reflexarc.checks.finding import Finding, fail, ok, warn


def load_robots(folder: Path) -> tuple[list[RobotCard], list[Finding]]:
    """Load every robot card of a folder.

    Args:
        folder: holds `*.yaml`.

    Returns:
        The cards without fault, and one finding a card or a fault.
    """
    cards: list[RobotCard] = []
    findings: list[Finding] = []
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        findings.append(
            fail("robot cards", f"There is no card in {folder}.", "give a folder that holds robot cards")
        )
    for path in paths:
        subject = f"robot {path.stem}"
        try:
            card = schema.load(RobotCard, path)
        except ConfigError as error:
            findings += _explain(subject, error)
        else:
            cards.append(card)
            kinds = ", ".join(spec.kind.value for spec in card.commands.values())
            findings.append(ok(subject, f"{card.kind}, driver {card.driver}, commands {kinds}."))
    return cards, findings


def load_policies(root: Path) -> tuple[list[PolicyCard], list[Finding]]:
    """Load the card of every policy folder and compare the weights with it.

    Args:
        root: holds `METHOD/NAME/card.yaml`.

    Returns:
        The cards without fault, and one finding a folder or a fault.
    """
    cards: list[PolicyCard] = []
    findings: list[Finding] = []
    for path in sorted(root.glob("*/*/card.yaml")):
        folder = path.parent
        subject = f"policy {folder.parent.name}/{folder.name}"
        try:
            card = load_policy_card(folder)
        except ConfigError as error:
            findings += _explain(subject, error)
            continue
        if card.method not in METHODS:
            findings.append(
                fail(
                    subject,
                    f"Nobody here can run its method {card.method!r}; known are {', '.join(METHODS)}.",
                    "install the plug-in that brings the method, or correct the card",
                )
            )
            continue
        cards.append(card)
        findings.append(ok(subject, f"{card.name}: {len(card.files)} file(s) with the card's SHA-256."))
    if not findings:
        findings.append(
            fail(
                "policies",
                f"There is no policy folder below {root}.",
                "give the folder that holds METHOD/NAME",
            )
        )
    return cards, findings


def check_bindings(policies: Sequence[PolicyCard], robots: Sequence[RobotCard]) -> list[Finding]:
    """Fit every policy to every robot of its kind.

    A policy made for one arm need not fit another, so a mismatch is a failure only when the policy
    fits no robot at all. Data that is too old for a policy that fits otherwise is always worth a word.

    Args:
        policies: the policies' cards.
        robots: the robots' cards.

    Returns:
        One finding a policy and robot of one kind, or more where they do not fit.
    """
    findings: list[Finding] = []
    for policy in policies:
        robots_of_kind = [robot for robot in robots if robot.kind == policy.robot_kind]
        fits: list[str] = []
        misfits: list[tuple[RobotCard, ConfigError]] = []
        for robot in robots_of_kind:
            try:
                binding = bind(policy, robot)
            except ConfigError as error:
                misfits.append((robot, error))
            else:
                fits.append(robot.name)
                margin_s = policy.max_loop_age_s - robot.latency.loop_p99_s
                findings.append(
                    ok(
                        f"{policy.name} on {robot.name}",
                        f"Fits, through {binding.interface_name!r}; {margin_s * 1e3:.1f} ms are left for"
                        " computing and waiting.",
                    )
                )
                findings += _airframe(policy, robot)
        if not robots_of_kind:
            findings.append(
                warn(
                    policy.name,
                    f"There is no {policy.robot_kind} among the robot cards: the policy cannot run.",
                    f"add a card of a {policy.robot_kind}",
                )
            )
        for robot, misfit in misfits:
            findings += _misfit(policy, robot, misfit, fits_elsewhere=bool(fits))
    return findings


def _airframe(policy: PolicyCard, robot: RobotCard) -> list[Finding]:
    """Whether RAPTOR has seen airframes like the robot's, where the robot's card names one."""
    name = robot.parameters.get("airframe")
    if policy.method != "raptor" or name is None:
        return []
    from policies.raptor import distribution
    from sim.quadrotor.airframes import load_airframe

    subject = f"{policy.name} on {robot.name}"
    try:
        sentence = distribution.warning(load_airframe(str(name)))
    except ConfigError as error:
        return _explain(subject, error)
    if sentence is None:
        return []
    mend = f"fly it in the twin first: reflexarc eval quadrotor --airframe {name}"
    return [warn(subject, sentence[0].upper() + sentence[1:] + ".", mend)]


def _misfit(
    policy: PolicyCard, robot: RobotCard, error: ConfigError, *, fits_elsewhere: bool
) -> list[Finding]:
    subject = f"{policy.name} on {robot.name}"
    if not fits_elsewhere:
        return _explain(subject, error)
    single = error.findings if isinstance(error, ConfigErrors) else (error,)
    is_latency_alone = len(single) == 1 and robot.latency.loop_p99_s > policy.max_loop_age_s
    if is_latency_alone:
        return [warn(subject, f"{_sentence(single[0])}", single[0].mend)]
    return [
        ok(subject, "Does not fit, and is not meant to where it was made for another robot: " + f.what + ".")
        for f in single
    ]


def _explain(subject: str, error: ConfigError) -> list[Finding]:
    single = error.findings if isinstance(error, ConfigErrors) else (error,)
    return [fail(subject, f"{f.where}: {_sentence(f)}", f.mend) for f in single]


def _sentence(error: ConfigError) -> str:
    return f"{error.what}; expected {error.expected}."
