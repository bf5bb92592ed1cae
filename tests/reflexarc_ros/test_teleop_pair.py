"""Protects two arms under one operator over ROS 2: each by its own control, each kept in its own workspace.

The robot is the pair of SO-101 in the twin. Gamepad: events go through SDL. Keyboard: keys are typed into the
window on a virtual screen. Page: Chromium opens it as a phone does. Leaders: servo buses on pseudo terminals.
A device is then lost in the middle of a motion, and both arms have to stand still.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reflexarc_ros import qos
from reflexarc_ros.bringup import nodes
from reflexarc_ros.chunks import ChunkCodec
from std_srvs.srv import SetBool
from teleop_stand import PATIENCE_S, Hand, Stand

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk
from hardware.kinematics import tool_chains
from hardware.teleop.so101_leader import JOINTS
from tests.reflexarc_ros import test_teleop
from tests.reflexarc_ros.conftest import wait_for
from tests.reflexarc_ros.test_teleop import CHROMIUM, PHONE, centre, open_chromium, xdotool

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware" / "teleop"))
from servo_bus import ServoBus  # noqa: E402

pytestmark = pytest.mark.ros
screen = test_teleop.screen
CARD = load_robot_card("so101_pair_twin")
SPEC = CARD.commands["joints"]
SIDES = ("left", "right")
# An arm that is not moved gives way by less.
STILL_RAD = 0.03


class Pair(Stand):
    """The two arms."""

    def __init__(self, domain_id, **arguments):
        super().__init__(domain_id, robot="so101_pair_twin", **arguments)

    def way(self, start, side, *, gripper=False):
        """How far the joints of an arm, or its jaw, are from where they were."""
        names = [n for n in SPEC.names if n.startswith(side) and n.endswith("gripper") == gripper]
        return max(abs(self.joints[n] - start[n]) for n in names)

    def tools(self):
        row = np.array([[self.joints[n] for n in SPEC.names]])
        return {side: chain.tool_positions(row)[0] for side, chain in tool_chains(CARD, SPEC.names).items()}

    def drives_only(self, side, press, let_go, **what):
        """Whether a control moves this arm, and not the other one."""
        start = {}

        def begin():
            # What moved before has to have come to rest: on a busy machine it goes on for a while.
            wait_for(lambda: max(map(abs, self.speeds.values())) < 0.02, PATIENCE_S)
            start.update(self.joints)
            press()

        other = SIDES[1 - SIDES.index(side)]
        moved = self.drive_until(lambda: self.way(start, side, **what) > 0.1, begin, let_go)
        let_go()
        return moved and max(self.way(start, other), self.way(start, other, gripper=True)) < STILL_RAD


def test_a_pair_is_brought_up_with_a_mapping_of_its_own():
    specs = {s.name: s for s in nodes("arm", {"robot": "so101_pair_twin", "teleop": "gamepad"})}
    assert specs["teleop_node"].parameters["mapping"] == "gamepad_pair"
    assert specs["teleop_node"].namespace.strip("/") == "so101_pair"


# --- gamepad -----------------------------------------------------------------------------------


def test_a_gamepad_drives_each_arm_by_its_own_stick_and_its_loss_holds_both(domain_id):
    with Pair(domain_id) as stand:
        hand = Hand(stand, domain_id, "gamepad_pair")
        try:
            hand.activate()
            hand.do("plug")
            assert wait_for(lambda: stand.state == "ready", PATIENCE_S), stand.log
            _drive_by_gamepad(stand, hand)
        finally:
            hand.close()


def _drive_by_gamepad(stand, hand):
    rest = [f"axis {side}_{axis} 0" for side in SIDES for axis in "xy"]
    rest += [f"button {side}_{name} 0" for side in SIDES for name in ("shoulder", "stick")]

    def let_go():
        hand.do(*rest)

    for side in SIDES:
        # Both sticks are pushed: the deadman of an arm is what lets it move.
        push = ("axis left_y -1", "axis right_y -1", f"button {side}_shoulder 1")
        assert stand.drives_only(side, lambda lines=push: hand.do(*lines), let_go), (side, stand.log)
        jaw = (f"button {side}_stick 1", f"button {side}_shoulder 1")
        opened = stand.drives_only(side, lambda lines=jaw: hand.do(*lines), let_go, gripper=True)
        assert opened, (side, stand.log)
    # Both together, and the gamepad pulled in the middle of it.
    before = dict(stand.joints)
    back = ("axis left_y 1", "axis right_y 1", "button left_shoulder 1", "button right_shoulder 1")
    assert stand.drive_until(
        lambda: min(stand.way(before, side) for side in SIDES) > 0.05, lambda: hand.do(*back), let_go
    ), stand.log
    hand.do("unplug")
    assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
    assert stand.rests(), stand.log


# --- the gate ----------------------------------------------------------------------------------


def test_the_gate_keeps_each_tool_in_its_own_workspace_and_lets_the_other_one_go(domain_id):
    """Commands that no operator's inverse kinematics has looked at: an arm is to turn over to the other."""
    codec = ChunkCodec(SPEC.kind, SPEC.names)
    with Pair(domain_id) as stand:
        source = stand.client.node.create_publisher(
            codec.message_type, "command/policy", qos.command(None, SPEC.max_age_s)
        )

        def command(**joints):
            values = np.array([[joints[name] for name in SPEC.names]])
            chunk = ActionChunk(SPEC.kind, SPEC.names, values, stand.stamp_ns, 20_000_000, 0.1, "policy")
            source.publish(codec.encode(chunk))
            time.sleep(0.02)

        home = dict(stand.joints)
        for side, other, inwards in (("left", "right", -1.0), ("right", "left", 1.0)):
            box = CARD.workspace_of(side)
            edge = box.lower_m[1] if side == "left" else box.upper_m[1]
            begin = stand.joints[f"{other}_wrist_roll"]
            # A positive pan turns to the right.
            wish = home | {f"{side}_shoulder_pan": -1.5 * inwards, f"{other}_wrist_roll": begin + 0.5}
            farthest = -1.0
            deadline_s = time.monotonic() + PATIENCE_S
            pressed_s = None
            # Until the tool has been at the side of its workspace for two seconds.
            while time.monotonic() < (deadline_s if pressed_s is None else pressed_s + 2.0):
                command(**wish)
                beyond_m = (stand.tools()[side][1] - edge) * inwards
                farthest = max(farthest, beyond_m)
                if pressed_s is None and beyond_m > -0.02:
                    pressed_s = time.monotonic()
            # The servos run over their set-points a little; without the gate it would be ten centimetres.
            assert -0.02 < farthest < 0.012, (side, stand.log)
            assert abs(stand.joints[f"{other}_wrist_roll"] - begin - 0.5) < 0.05, stand.log
            # Back, out of the other one's way.
            assert wait_for(
                lambda side=side, wish=wish: (
                    command(**wish | {f"{side}_shoulder_pan": 0.0}),
                    abs(stand.joints[f"{side}_shoulder_pan"]) < 0.05,
                )[1],
                PATIENCE_S,
            ), stand.log
            home = wish | {f"{side}_shoulder_pan": 0.0}


# --- keyboard ----------------------------------------------------------------------------------


@test_teleop.needs("Xvfb", "xdotool")
def test_a_keyboard_drives_each_arm_by_its_own_half(domain_id, screen):
    with Pair(domain_id, teleop="keyboard") as stand:
        found = []

        def find():
            found[:] = xdotool("search", "--class", "reflexarc").split()
            return found

        assert wait_for(find, PATIENCE_S), stand.log

        def let_go():
            xdotool("windowmap", "--sync", found[0])
            xdotool("windowfocus", found[0])
            for key in ("r", "p"):
                xdotool("keyup", key)
            if stand.state == "engaged":
                xdotool("key", "space")

        for side, key in (("left", "r"), ("right", "p")):

            def press(key=key):
                xdotool("key", "space")
                wait_for(lambda: stand.state == "engaged", 5.0)
                xdotool("keydown", key)

            assert stand.drives_only(side, press, let_go), (side, stand.log)


# --- page --------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (make test-tools)")
def test_a_page_drives_the_arm_that_its_switch_says_and_its_loss_holds_both(domain_id):
    stand = Pair(domain_id, teleop="browser", teleop_options='{"port": 0}')
    with stand, open_chromium(**PHONE) as (context, _):
        assert wait_for(lambda: stand.status.get("address"), PATIENCE_S), stand.log
        page = context.new_page()
        page.goto(stand.status["address"])
        page.locator("#state", has_text="Ready").wait_for(timeout=PATIENCE_S * 1e3)

        def let_go():
            page.mouse.up()
            page.mouse.move(5, 5)

        def pull():
            x, y = centre(page, "#right")
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x, y - 60, steps=4)

        for side in SIDES:
            page.locator(f'[data-side="{side}"]').click()
            assert stand.drives_only(side, pull, let_go), (side, stand.log)
        page.locator('[data-side="both"]').click()
        before = dict(stand.joints)
        assert stand.drive_until(
            lambda: min(stand.way(before, side) for side in SIDES) > 0.05, pull, let_go
        ), stand.log
        page.close()
        assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
        assert stand.rests(), stand.log


# --- leaders -----------------------------------------------------------------------------------


def test_two_leaders_drive_an_arm_each_and_without_one_both_hold(domain_id, tmp_path):
    servo = {"drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 3096}
    path = tmp_path / "leader.json"
    path.write_text(json.dumps({name: {"id": i + 1, **servo} for i, name in enumerate(JOINTS)}))
    buses = {side: ServoBus() for side in SIDES}
    options = {f"{side}_port": bus.port for side, bus in buses.items()}
    options |= {f"{side}_calibration": str(path) for side in SIDES} | {"timeout_s": 0.1}
    pan = JOINTS.index("shoulder_pan") + 1

    def engage(wanted):
        stand.client.call(SetBool, "teleop_node/engage", SetBool.Request(data=wanted))

    with Pair(domain_id, teleop="so101_leader", teleop_options=json.dumps(options)) as stand:
        for side in SIDES:
            # Each leader is where its follower is, which starts a little beside its home; then one is moved.
            counts = {
                n: 2048 + round(stand.joints[n] * 4096 / (2 * np.pi))
                for n in SPEC.names
                if "gripper" not in n
            }
            for s, bus in buses.items():
                for i, name in enumerate(JOINTS[:5]):
                    bus.place(i + 1, counts[f"{s}_{name}"])
                bus.place(6, 1000 + round((stand.joints[f"{s}_gripper"] + 0.17453) / 1.91986 * 2096))
            place = counts[f"{side}_shoulder_pan"] + (200 if side == "left" else -200)
            assert stand.drives_only(
                side,
                lambda side=side, place=place: (engage(True), buses[side].place(pan, place)),
                lambda: engage(False),
            ), (side, stand.log)
        before = dict(stand.joints)

        def swing():
            engage(True)
            for bus in buses.values():
                bus.place(pan, 2048)

        assert stand.drive_until(
            lambda: min(stand.way(before, side) for side in SIDES) > 0.1, swing, lambda: engage(False)
        ), stand.log
        buses["right"].unplug()
        assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
        assert "right" in stand.status["message"]
        assert stand.rests(), stand.log
    buses["left"].unplug()
