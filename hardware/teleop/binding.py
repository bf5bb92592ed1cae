"""A mapping bound to a robot by name: every mismatch is found before anything moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.command import CommandKind, FloatArray
from hardware.errors import ConfigError, ConfigErrors
from hardware.kinematics import SerialChain, tool_chains
from hardware.robot import RobotCard
from hardware.teleop.mapping import ANGULAR, LINEAR, Part, PartMode, TeleopMapping
from hardware.teleop.parts import JointPart, Joints, Tool, Vehicle

_TERM = "joint_position"


@dataclass(frozen=True)
class TeleopBinding:
    """The parts of a robot that one mapping moves."""

    # The elements of the command that targets are given for; none for a vehicle's reference.
    names: tuple[str, ...]
    # Where each of them is in the measured `joint_position`.
    order: NDArray[np.intp]
    # Their smallest and largest values, and how far a target may be ahead of the measured joint, rad.
    lower: FloatArray
    upper: FloatArray
    lead_rad: FloatArray
    # The parts that move joints.
    parts: Mapping[str, JointPart]
    # The controls without which some of them stay, by the same names.
    engage: Mapping[str, str]
    # The part that moves a vehicle's reference; None: there is none.
    vehicle: Vehicle | None


def bind_mapping(mapping: TeleopMapping, card: RobotCard, interface: str) -> TeleopBinding:
    """Bind a mapping to a robot; a part that moves in space is the tool of its name.

    Args:
        mapping: what a device does.
        card: the robot.
        interface: a key of `card.commands`.

    Returns:
        The binding.

    Raises:
        ConfigErrors: one line for everything that does not fit.
    """
    where = f"mapping {mapping.name!r} and robot card {card.name!r}"
    findings: list[ConfigError] = []
    if mapping.robot_kind != card.kind:
        findings.append(
            ConfigError(
                f"the mapping is for robots of kind {mapping.robot_kind!r}",
                where=where,
                expected=repr(card.kind),
                mend="choose a mapping for this robot",
            )
        )
        raise ConfigErrors(findings, where=where)
    modes = {part.mode for part in mapping.parts.values()}
    if PartMode.REFERENCE in modes:
        return _bind_vehicle(mapping, card, where)
    spec = card.commands[interface]
    if spec.kind is not CommandKind.JOINT_POSITION or _TERM not in card.observations:
        raise ConfigError(
            f"the interface {interface!r} is of kind {spec.kind.value}",
            where=where,
            expected=f"{CommandKind.JOINT_POSITION.value}, and an observation {_TERM!r}",
            mend="choose an interface of that kind",
        )
    limits = spec.limit_array("lower"), spec.limit_array("upper"), spec.limit_array("velocity")
    chains = tool_chains(card, spec.names)
    parts: dict[str, JointPart] = {}
    engage: dict[str, str] = {}
    lead = np.full(len(spec.names), min(part.lead_rad for part in mapping.parts.values()))
    owners: dict[str, str] = {}
    for name, part in mapping.parts.items():
        here = f"{where}: part {name!r}"
        chain = _chain(name, part, chains, here, findings)
        carried = set() if chain is None else set(chain.joints)
        in_space = (*LINEAR, *ANGULAR) if part.mode is PartMode.CARTESIAN else ()
        moved = [n for n in (*part.axes, *part.follow) if n not in in_space]
        for element in moved:
            if element not in spec.names or element in carried:
                findings.append(_unknown(element, here, [n for n in spec.names if n not in carried]))
        for element in {*moved, *carried}:
            if owners.setdefault(element, name) != name:
                findings.append(
                    ConfigError(
                        f"{element!r} is moved by the parts {owners[element]!r} and {name!r}",
                        where=where,
                        expected="each joint in one part",
                        mend="leave it out of one of them",
                    )
                )
        if findings:
            continue
        if part.engage:
            engage |= {name: part.engage, f"{name} joints": part.engage}
        if chain is not None:
            parts[name] = Tool(part, chain, limits, card.workspace_of(name))
        if moved:
            parts[f"{name} joints"] = Joints(part, spec.names, limits)
    if findings:
        raise ConfigErrors(findings, where=where)
    measured = card.observations[_TERM].names
    order = np.array([measured.index(n) for n in spec.names])
    return TeleopBinding(spec.names, order, limits[0], limits[1], lead, parts, engage, None)


def _bind_vehicle(mapping: TeleopMapping, card: RobotCard, where: str) -> TeleopBinding:
    """The only part moves the reference of a vehicle whose position is measured."""
    part = next(iter(mapping.parts.values()))
    if len(mapping.parts) != 1 or "position" not in card.observations:
        raise ConfigError(
            f"{len(mapping.parts)} part(s), observations {', '.join(card.observations)}",
            where=where,
            expected="one part with the mode reference, and a measured position",
            mend="correct the mapping or choose another robot",
        )
    findings = [_unknown(name, where, [*LINEAR, "yaw"]) for name in part.axes if name not in (*LINEAR, "yaw")]
    if findings:
        raise ConfigErrors(findings, where=where)
    nothing = np.zeros(0)
    order = np.zeros(0, dtype=np.intp)
    return TeleopBinding((), order, nothing, nothing, nothing, {}, {}, Vehicle(part, card.geofence))


def _chain(
    name: str, part: Part, chains: Mapping[str, SerialChain], where: str, findings: list[ConfigError]
) -> SerialChain | None:
    """The chain to the tool of a part; None where it has none."""
    if part.mode is not PartMode.CARTESIAN:
        return None
    if name not in chains:
        findings.append(
            ConfigError(
                f"the robot has no tool {name!r}",
                where=where,
                expected="one of " + (", ".join(chains) or "none: nothing on its card moves in space"),
                mend="name the part after a tool of the card, or move its joints (mode: joints)",
            )
        )
    return chains.get(name)


def _unknown(element: str, where: str, known: list[str]) -> ConfigError:
    return ConfigError(
        f"{element!r} is nothing that can be moved here",
        where=where,
        expected="some of " + ", ".join(known),
        mend="correct the name",
    )
