"""Protects a humanoid's upper body under one operator over ROS 2: hands, waist, hold when the device is lost.

The robot is the upper body of a Unitree G1 in the twin; events of the gamepad go through SDL.
"""

import numpy as np
import pytest
from teleop_stand import PATIENCE_S, Hand, Stand

from hardware.cards import load_robot_card
from hardware.kinematics import tool_chains
from tests.reflexarc_ros.conftest import wait_for

pytestmark = pytest.mark.ros
CARD = load_robot_card("g1_upper_twin")
NAMES = CARD.commands["joints"].names
STILL_RAD = 0.03


def test_a_gamepad_drives_both_hands_and_the_waist_and_its_loss_holds_all(domain_id):
    with Stand(domain_id, robot="g1_upper_twin") as stand:
        hand = Hand(stand, domain_id, "gamepad_humanoid")
        try:
            hand.activate()
            hand.do("plug")
            assert wait_for(lambda: stand.state == "ready", PATIENCE_S), stand.log
            _drive(stand, hand)
        finally:
            hand.close()


def _drive(stand, hand):
    rest = ["axis left_y 0", "axis right_y 0", "axis left_trigger -1"]
    rest += [f"button {side}_shoulder 0" for side in ("left", "right")]

    def let_go():
        hand.do(*rest)

    def way(start, part):
        return max(abs(stand.joints[n] - start[n]) for n in NAMES if n.startswith(part))

    def tool(side):
        row = np.array([[stand.joints[n] for n in NAMES]])
        return tool_chains(CARD, NAMES)[side].tool_positions(row)[0]

    start = {}
    for side, other in (("left", "right"), ("right", "left")):

        def press(side=side):
            start.update(stand.joints, x=float(tool(side)[0]))
            hand.do("axis left_y -1", "axis right_y -1", f"button {side}_shoulder 1")

        # Forward: the hand, not its joints, is what the stick moves.
        forward = stand.drive_until(lambda side=side: tool(side)[0] - start["x"] > 0.05, press, let_go)
        assert forward, (side, stand.log)
        let_go()
        assert way(start, other) < STILL_RAD
        assert way(start, "waist") < STILL_RAD

    def turn():
        start.update(stand.joints)
        hand.do("axis left_trigger 1", "button left_shoulder 1")

    assert stand.drive_until(lambda: way(start, "waist_yaw") > 0.15, turn, let_go), stand.log
    # Nothing tells the right arm to move: it goes with the body.
    assert way(start, "right") < STILL_RAD
    hand.do("unplug")
    assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
    assert stand.rests(), stand.log
