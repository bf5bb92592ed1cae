"""The simulated flight controllers that a robot card may bring along, by the name that it gives them."""

from __future__ import annotations

from hardware.parameters import choice
from hardware.robot import RobotCard

# Name on the card -> module that is run.
PEERS = {
    "betaflight": "sim.peers.betaflight",
    "raptor_betaflight": "policies.raptor.betaflight_peer",
    "px4": "sim.peers.px4",
    "raptor_px4": "policies.raptor.px4_peer",
    "crazyflie": "sim.peers.crazyflie",
    "raptor_crazyflie": "policies.raptor.crazyflie_peer",
}


def find_peer(card: RobotCard) -> str:
    """Find out which one belongs to a robot.

    Args:
        card: the robot's card.

    Returns:
        A key of `PEERS`; empty where the robot is real, or the twin.

    Raises:
        ConfigError: the card names one that does not exist.
    """
    return choice(card, "peer", tuple(PEERS))
