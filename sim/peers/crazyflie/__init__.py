"""A Crazyflie-like vehicle on the wire: CRTP over UDP, as cflib connects to a simulated Crazyflie.

It behaves as the firmware does where a client can tell: tables of contents, log blocks, parameters,
supervisor, set-points with their priorities and watchdogs, the high-level commander, poses from outside,
and the out-of-tree controller path of RAPTOR. Run it with `python -m sim.peers.crazyflie`.
"""

from sim.peers.crazyflie.firmware import CrazyflieFirmware
from sim.peers.crazyflie.wire import CrtpPeer

__all__ = ["CrazyflieFirmware", "CrtpPeer"]
