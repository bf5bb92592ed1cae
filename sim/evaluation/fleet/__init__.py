"""A policy in a thousand airframes at once: crash rates, errors and what they depend on."""

from sim.evaluation.fleet.cases import Case, FleetController, FleetPolicy, RecurrentController
from sim.evaluation.fleet.flight import FleetFlight, fly
from sim.evaluation.fleet.quick import QuickMetrics, quick_metrics

__all__ = [
    "Case",
    "FleetController",
    "FleetFlight",
    "FleetPolicy",
    "QuickMetrics",
    "RecurrentController",
    "fly",
    "quick_metrics",
]
