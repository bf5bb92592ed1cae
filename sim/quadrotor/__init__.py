"""Quadrotors: named airframes and their batched reference dynamics."""

from sim.quadrotor.airframes import MOTORS, Airframe, airframe_names, load_airframe
from sim.quadrotor.dynamics import DynamicsParameters, QuadrotorState, make_state, parameters_of, step

__all__ = [
    "MOTORS",
    "Airframe",
    "DynamicsParameters",
    "QuadrotorState",
    "airframe_names",
    "load_airframe",
    "make_state",
    "parameters_of",
    "step",
]
