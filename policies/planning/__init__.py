"""Trajectories through waypoints, and how fast a vehicle that a policy flies can follow them."""

from policies.planning.course import Ability, load_course, make_course, plan_course
from policies.planning.error_model import ErrorModel
from policies.planning.leading import LeadingTrajectory
from policies.planning.minimum_snap import MinimumSnap, PolynomialTrajectory
from policies.planning.oracle import Flight, Limits, Oracle
from policies.planning.planner import Planner
from policies.planning.search import quickest
from policies.planning.time_allocation import smoothest

__all__ = [
    "Ability",
    "ErrorModel",
    "Flight",
    "LeadingTrajectory",
    "Limits",
    "MinimumSnap",
    "Oracle",
    "Planner",
    "PolynomialTrajectory",
    "load_course",
    "make_course",
    "plan_course",
    "quickest",
    "smoothest",
]
