"""Rules about motion: each one tightens what the motion limiter keeps to."""

from __future__ import annotations

import math
from dataclasses import replace

from hardware.errors import ConfigError
from hardware.gate_rules.base import Binding, Tightener
from hardware.gate_rules.shape import box_bounds
from hardware.kinematics import tool_chains
from hardware.limiter import Workspace
from hardware.robot import ToolSpec


def range_limit(b: Binding) -> Tightener:
    """Every axis stays in its range."""
    lower, upper = (tuple(b.spec.limit_array(name).tolist()) for name in ("lower", "upper"))
    return lambda m: replace(m, lower=lower, upper=upper)


def velocity(b: Binding) -> Tightener:
    """Every axis keeps to its velocity."""
    return lambda m: replace(m, velocity=tuple(b.spec.limit_array("velocity").tolist()))


def acceleration(b: Binding) -> Tightener:
    """Every axis keeps to its acceleration."""
    return lambda m: replace(m, acceleration=tuple(b.spec.limit_array("acceleration").tolist()))


def jerk(b: Binding) -> Tightener:
    """Every axis keeps to its jerk."""
    return lambda m: replace(m, jerk=tuple(b.spec.limit_array("jerk").tolist()))


def authority(b: Binding) -> Tightener:
    """Authority grows from the posture at engagement to the command."""
    return lambda m: replace(m, authority_ramp_s=b.spec.authority_ramp_s)


def cartesian_workspace(b: Binding) -> Tightener:
    """The axes x, y and z stay in the workspace."""
    box = b.card.workspace
    if box is None:
        return lambda m: m
    bounds = box_bounds(b, box.lower_m, box.upper_m, what="workspace")
    lower, upper = [-math.inf] * len(b.spec.names), [math.inf] * len(b.spec.names)
    for i, low, high in bounds:
        lower[i], upper[i] = low, high
    return lambda m: replace(m, inner_lower=tuple(lower), inner_upper=tuple(upper))


def joint_workspace(b: Binding) -> Tightener:
    """Every tool stays in its workspace, through the kinematics."""
    names = b.spec.names
    chains = tool_chains(b.card, names)
    if b.card.workspace is not None and not chains:
        raise ConfigError(
            "the card has a workspace and nothing tells where the tool is",
            where=f"robot card {b.card.name!r}: workspace",
            expected="a tool with its kinematic chain on the card",
            mend="add the tool to the card, or remove the workspace",
        )
    boxes = {tool: b.card.workspace_of(tool) for tool in chains}
    workspaces = tuple(
        Workspace(
            box.lower_m,
            box.upper_m,
            tool_positions=chains[tool].tool_positions,
            lever_m=_levers(b.card.tools[tool], names),
        )
        for tool, box in boxes.items()
        if box is not None
    )
    return lambda m: replace(m, workspaces=workspaces)


def _levers(tool: ToolSpec, names: tuple[str, ...]) -> list[float]:
    """Bound the tool's way per radian of each joint by the length of the chain beyond it."""
    chain = [frame.name for frame in tool.chain]
    lengths = [math.hypot(*frame.origin_m) for frame in tool.chain]
    return [sum(lengths[chain.index(name) + 1 :]) if name in chain else 0.0 for name in names]
