"""A PX4-like vehicle on the wire: six degrees of freedom, its own controllers, modes and failsafes.

It is no PX4: there is no EKF and no driver in it. It behaves as PX4 does where a client can tell:
modes and their refusals, arming checks in words, set-point rules, failsafes, parameters, time
synchronisation. Run it with `python -m sim.peers.px4`.
"""

from sim.peers.px4.parameters import ParameterStore
from sim.peers.px4.vehicle import PeerVehicle, Setpoint
from sim.peers.px4.wire import MavlinkPeer

__all__ = ["MavlinkPeer", "ParameterStore", "PeerVehicle", "Setpoint"]
