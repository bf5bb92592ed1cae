"""The rules of every command kind."""

from __future__ import annotations

from collections.abc import Mapping

from hardware.command import CommandKind
from hardware.gate_rules import admission, motion, shape, situation
from hardware.gate_rules.base import Rule, Stage

_COMMON = (
    Rule("estop", Stage.SITUATION, situation.estop),
    Rule("publishers", Stage.SITUATION, situation.publishers),
    Rule("clock", Stage.SITUATION, situation.clock),
    Rule("state_missing", Stage.SITUATION, situation.state_missing),
    Rule("state_finite", Stage.SITUATION, situation.state_finite),
    Rule("state_stale", Stage.SITUATION, situation.state_stale),
    Rule("state_frozen", Stage.SITUATION, situation.state_frozen),
    Rule("staleness", Stage.LIVENESS, situation.staleness),
    Rule("names", Stage.ADMISSION, admission.names),
    Rule("finite", Stage.ADMISSION, admission.finite),
    Rule("age", Stage.ADMISSION, admission.age),
    Rule("future", Stage.ADMISSION, admission.future),
    Rule("source", Stage.ADMISSION, admission.source),
)
# What is judged by the measured state of a vehicle, whatever it is told.
_FLIGHT = (
    Rule("geofence", Stage.SITUATION, situation.geofence_of_vehicle),
    Rule("altitude", Stage.SITUATION, situation.altitude),
    Rule("tilt", Stage.SITUATION, situation.tilt),
)
_MOTION = (
    Rule("range", Stage.MOTION, motion.range_limit),
    Rule("velocity", Stage.MOTION, motion.velocity),
    Rule("acceleration", Stage.MOTION, motion.acceleration),
    Rule("jerk", Stage.MOTION, motion.jerk),
    Rule("authority", Stage.MOTION, motion.authority),
)

RULES: Mapping[CommandKind, tuple[Rule, ...]] = {
    CommandKind.JOINT_POSITION: (*_COMMON, *_MOTION, Rule("workspace", Stage.MOTION, motion.joint_workspace)),
    CommandKind.CARTESIAN_POSITION: (
        *_COMMON,
        *_MOTION,
        Rule("workspace", Stage.MOTION, motion.cartesian_workspace),
    ),
    CommandKind.RATES_THRUST: (
        *_COMMON,
        *_FLIGHT,
        Rule("range", Stage.SHAPE, shape.range_limit),
        Rule("slew", Stage.SHAPE, shape.slew),
    ),
    CommandKind.REFERENCE: (
        *_COMMON,
        *_FLIGHT,
        Rule("range", Stage.SHAPE, shape.range_limit),
        Rule("reference_geofence", Stage.SHAPE, shape.geofence_of_reference),
        Rule("slew", Stage.SHAPE, shape.slew),
    ),
    CommandKind.MOTOR: (
        *_COMMON,
        *_FLIGHT,
        Rule("range", Stage.SHAPE, shape.range_limit),
        Rule("switch", Stage.ADMISSION, admission.switch),
    ),
}
