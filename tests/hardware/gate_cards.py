"""Small robot cards, one interface of every command kind, on which the gate is tested."""

from __future__ import annotations

import math

import numpy as np

from hardware.command import Command, CommandKind, SafeAction
from hardware.robot import (
    ROBOT_CARD_SCHEMA,
    Box,
    CommandSpec,
    Delay,
    FlightLimits,
    JointFrame,
    LatencyCard,
    Limit,
    Observation,
    RobotCard,
    TermSpec,
    ToolSpec,
)

LATENCY = LatencyCard(observation=Delay(), command=Delay())
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
JOINTS = ("turn", "lift", "bend")
MOTORS = ("front_right", "back_right", "back_left", "front_left")
RATES = ("roll_rate", "pitch_rate", "yaw_rate", "thrust")
REFERENCE = ("x", "y", "z", "yaw")
# The tool of the test arm: a turntable, two links in a vertical plane (metres).
BASE_HEIGHT_M, UPPER_ARM_M, FOREARM_M = 0.1, 0.3, 0.25


def tool_of(q):
    """Where the test arm's tool is: written down here, not by the code under test."""
    turn, lift, bend = q
    reach = UPPER_ARM_M * math.cos(lift) + FOREARM_M * math.cos(lift + bend)
    height = BASE_HEIGHT_M - UPPER_ARM_M * math.sin(lift) - FOREARM_M * math.sin(lift + bend)
    return [reach * math.cos(turn), reach * math.sin(turn), height]


def joint_spec(**changes):
    settings = {
        "kind": CommandKind.JOINT_POSITION,
        "unit": "rad",
        "rate_hz": 50.0,
        "max_age_s": 0.1,
        "timeout_s": 0.2,
        "robot_timeout_s": 0.5,
        "safe_action": SafeAction.HOLD,
        "limits": {
            "turn": Limit(-2.0, 2.0, velocity=3.0, acceleration=12.0, jerk=200.0),
            "lift": Limit(-1.5, 0.5, velocity=2.0, acceleration=15.0, jerk=400.0),
            "bend": Limit(0.0, 2.5, velocity=4.0, acceleration=30.0, jerk=300.0),
        },
        "authority_ramp_s": 0.0,
    }
    return CommandSpec(**settings | changes)


def arm_card(**changes):
    """A three-joint arm whose workspace cuts into what its ranges allow."""
    settings = {
        "schema": ROBOT_CARD_SCHEMA,
        "name": "test_arm",
        "kind": "arm",
        "driver": "twin",
        "observations": {
            "joint_position": TermSpec(JOINTS, "rad"),
            "tool_position": TermSpec(("x", "y", "z"), "m", frame="base_link"),
        },
        "commands": {
            "joints": joint_spec(),
            "tool": CommandSpec(
                kind=CommandKind.CARTESIAN_POSITION,
                unit="m",
                rate_hz=50.0,
                max_age_s=0.1,
                timeout_s=0.2,
                robot_timeout_s=0.5,
                safe_action=SafeAction.HOLD,
                # Wider than the workspace in x and y, narrower in z: each must be kept to by itself.
                limits={
                    name: Limit(low, high, velocity=0.5, acceleration=3.0, jerk=50.0)
                    for name, low, high in (("x", -0.6, 0.6), ("y", -0.6, 0.6), ("z", 0.06, 0.3))
                },
            ),
        },
        "latency": LATENCY,
        "tools": {
            "arm": ToolSpec(
                (
                    JointFrame("turn", (0.0, 0.0, BASE_HEIGHT_M), UPRIGHT),
                    JointFrame("lift", (0.0, 0.0, 0.0), UPRIGHT, axis=(0.0, 1.0, 0.0)),
                    JointFrame("bend", (UPPER_ARM_M, 0.0, 0.0), UPRIGHT, axis=(0.0, 1.0, 0.0)),
                    JointFrame("", (FOREARM_M, 0.0, 0.0), UPRIGHT),
                )
            )
        },
        "workspace": Box((0.05, -0.3, 0.02), (0.5, 0.3, 0.45)),
        "frozen_after_s": 0.3,
    }
    return RobotCard(**settings | changes)


def drone_card(**changes):
    """A quadrotor with all three kinds of interface."""
    common = {
        "rate_hz": 100.0,
        "max_age_s": 0.05,
        "timeout_s": 0.1,
        "robot_timeout_s": 0.2,
        "safe_action": SafeAction.LAND,
    }
    rate = Limit(-6.0, 6.0, slew=60.0)
    settings = {
        "schema": ROBOT_CARD_SCHEMA,
        "name": "test_drone",
        "kind": "quadrotor",
        "driver": "twin",
        "observations": {
            "position": TermSpec(("x", "y", "z"), "m", frame="world"),
            "orientation": TermSpec(("w", "x", "y", "z"), "quaternion", frame="world"),
            "linear_velocity": TermSpec(("x", "y", "z"), "m/s", frame="body"),
            "angular_velocity": TermSpec(("x", "y", "z"), "rad/s", frame="body"),
        },
        "commands": {
            "motors": CommandSpec(
                kind=CommandKind.MOTOR,
                unit="effort",
                limits={name: Limit(0.0, 1.0) for name in MOTORS},
                **common,
            ),
            "rates": CommandSpec(
                kind=CommandKind.RATES_THRUST,
                unit="1",
                limits={name: rate for name in RATES[:3]} | {"thrust": Limit(0.0, 1.0, slew=10.0)},
                **common,
            ),
            "reference": CommandSpec(
                kind=CommandKind.REFERENCE,
                unit="m",
                # Wider than the geofence in x and y, narrower in z.
                limits={
                    "x": Limit(-8.0, 8.0, slew=30.0),
                    "y": Limit(-8.0, 8.0, slew=30.0),
                    "z": Limit(0.0, 4.0, slew=30.0),
                    "yaw": Limit(-math.pi, math.pi, slew=20.0),
                },
                **common,
            ),
        },
        "latency": LATENCY,
        "geofence": Box((-5.0, -5.0, -0.5), (5.0, 5.0, 5.0)),
        # Below the top of the fence, so that each must be kept to by itself.
        "flight": FlightLimits(max_tilt_rad=0.8, max_altitude_m=4.5),
        "frozen_after_s": 0.05,
    }
    return RobotCard(**settings | changes)


# Every command kind, with the robot and the interface that stand for it.
INTERFACES = {
    CommandKind.JOINT_POSITION: (arm_card, "joints"),
    CommandKind.CARTESIAN_POSITION: (arm_card, "tool"),
    CommandKind.RATES_THRUST: (drone_card, "rates"),
    CommandKind.REFERENCE: (drone_card, "reference"),
    CommandKind.MOTOR: (drone_card, "motors"),
}
# A posture well inside the arm's ranges and workspace.
HOME = (0.1, -0.7, 1.2)


def command(spec, values, stamp_ns, *, source="policy", steady_ns=None, names=None, kind=None):
    """A command for an interface."""
    return Command(
        spec.kind if kind is None else kind,
        spec.names if names is None else names,
        np.array(values, dtype=np.float64),
        stamp_ns,
        stamp_ns if steady_ns is None else steady_ns,
        source,
    )


def arm_state(stamp_ns, q=HOME, *, steady_ns=None, tool=None):
    """What the test arm measures in a posture."""
    values = {
        "joint_position": np.array(q, dtype=np.float64),
        "tool_position": np.array(tool_of(q) if tool is None else tool, dtype=np.float64),
    }
    return Observation(values, stamp_ns, stamp_ns if steady_ns is None else steady_ns)


def drone_state(stamp_ns, position=(0.0, 0.0, 1.0), *, steady_ns=None, **terms):
    """What the test drone measures; the stamp makes every state a little different, as a sensor does."""
    wiggle = 1e-12 * (stamp_ns % 1_000_003)
    row = np.array([*position, 1.0, 0.0, 0.0, 0.0, wiggle, 0.0, 0.0, 0.0, 0.0, 0.0])
    values = {
        "position": row[:3],
        "orientation": row[3:7],
        "linear_velocity": row[7:10],
        "angular_velocity": row[10:],
    }
    values |= {name: np.array(value, dtype=np.float64) for name, value in terms.items()}
    return Observation(values, stamp_ns, stamp_ns if steady_ns is None else steady_ns)
