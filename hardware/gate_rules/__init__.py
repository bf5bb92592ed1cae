"""The command gate's rules, one table per command kind.

A rule is a name and a way to build its check for one robot. Where a check works is its stage; what it
gives back is described there. The rules of a kind are data: `RULES[kind]` is what `CommandGate` uses, and
what the mutation test walks through.
"""

from hardware.gate_rules.base import Binding, MotionSettings, Rule, Situation, Stage
from hardware.gate_rules.config import GateConfig
from hardware.gate_rules.table import RULES

__all__ = ["RULES", "Binding", "GateConfig", "MotionSettings", "Rule", "Situation", "Stage"]
