"""Evaluation: lockstep runs, faults, success rates with their intervals."""

from sim.evaluation.lockstep import Controller, LockstepRun, SafeStop, Step, make_gate, run_lockstep
from sim.evaluation.statistics import Interval, bootstrap, bootstrap_median, clopper_pearson, wilson

__all__ = [
    "Controller",
    "Interval",
    "LockstepRun",
    "SafeStop",
    "Step",
    "bootstrap",
    "bootstrap_median",
    "clopper_pearson",
    "make_gate",
    "run_lockstep",
    "wilson",
]
