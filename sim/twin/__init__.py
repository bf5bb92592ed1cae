"""The digital twin: robots under their own protocol, rates and latency, in simulated time."""

from sim.twin.base import Twin
from sim.twin.latency import NONE, LatencyModel
from sim.twin.trace import Trace

__all__ = ["NONE", "LatencyModel", "Trace", "Twin"]
