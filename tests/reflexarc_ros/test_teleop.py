"""Protects teleoperation from the wire of each device to the joints of the arm in the twin, and back to rest.

Gamepad: events go through SDL. Keyboard: keys are typed into the window on a virtual screen. Page: Chromium
opens it as a phone does. Each device is then lost in the middle of a motion, and the arm has to stand still.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from reflexarc_ros.bringup import nodes
from std_srvs.srv import SetBool, Trigger
from teleop_stand import PATIENCE_S, Hand, Stand

from hardware import ConfigError
from tests.reflexarc_ros.conftest import wait_for

pytestmark = pytest.mark.ros
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARM = ("shoulder_lift", "elbow_flex", "wrist_flex")


def needs(*tools):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (make test-tools)")


# --- bring-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "arguments", "text"),
    [
        ("arm", {"teleop": "theremin"}, "there is no mapping of 'theremin' to robots of kind 'arm'"),
        ("quadrotor", {"teleop": "spacemouse"}, "Expected one of browser, gamepad, keyboard"),
        ("arm", {"teleop": "keyboard", "pace": "lockstep"}, "teleop:=keyboard in lockstep"),
        ("arm", {"teleop": "terminal"}, "the device 'terminal' needs a terminal of its own"),
    ],
)
def test_what_cannot_be_teleoperated_is_refused_before_anything_starts(system, arguments, text):
    with pytest.raises(ConfigError) as raised:
        nodes(system, arguments)
    assert text in str(raised.value)


def names(system, **arguments):
    return [spec.name for spec in nodes(system, arguments)]


def test_an_operator_takes_the_place_of_a_policy_or_of_a_program():
    assert names("arm") == ["gate_node", "policy_node", "robot_node", "supervisor_node"]
    assert names("arm", teleop="gamepad") == ["gate_node", "teleop_node", "robot_node", "supervisor_node"]
    both = names("arm", teleop="gamepad", policy="bc/pick_cube")
    assert both == ["gate_node", "policy_node", "teleop_node", "robot_node", "supervisor_node"]
    flown = names("quadrotor", teleop="gamepad")
    assert flown == ["gate_node", "policy_node", "teleop_node", "robot_node", "supervisor_node"]


# --- gamepad -----------------------------------------------------------------------------------


def test_a_gamepad_drives_the_arm_and_its_loss_ends_in_hold(domain_id):
    with Stand(domain_id) as stand:
        hand = Hand(stand, domain_id)
        try:
            _drive_by_gamepad(stand, hand)
        finally:
            hand.close()


def _drive_by_gamepad(stand, hand):
    hand.activate()
    assert wait_for(lambda: stand.state == "lost" and "plug it in" in stand.status["message"], PATIENCE_S)
    hand.do("plug")
    assert wait_for(lambda: stand.state == "ready", PATIENCE_S), stand.log
    start = dict(stand.joints)
    press = ("button right_shoulder 1", "axis left_y -1")
    let_go = ("button right_shoulder 0", "axis left_y 0")
    assert stand.drive_until(
        lambda: stand.moved(start, ARM), lambda: hand.do(*press), lambda: hand.do(*let_go)
    ), stand.log
    # The gripper, with the deadman still held.
    width = stand.joints["gripper"]
    assert stand.drive_until(
        lambda: stand.joints["gripper"] > width + 0.2,
        lambda: hand.do("button right_shoulder 1", "axis left_trigger 1"),
        lambda: hand.do(*let_go, "axis left_trigger -1"),
    ), stand.log
    hand.do("button y 1")
    assert wait_for(lambda: stand.events == ["success"], PATIENCE_S)
    # Pulled in the middle of a motion.
    hand.do("button y 0", *let_go, "axis left_trigger -1")
    before = dict(stand.joints)
    back = ("button right_shoulder 1", "axis left_y 1")
    assert stand.drive_until(
        lambda: stand.moved(before, ARM, 0.05), lambda: hand.do(*back), lambda: hand.do(*let_go)
    ), stand.log
    hand.do("unplug")
    assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
    assert stand.rests(), stand.log
    # The process dies with the operator engaged: its silence is an emergency stop.
    hand.do("plug")
    assert wait_for(lambda: stand.state == "ready", PATIENCE_S), stand.log
    before = dict(stand.joints)
    assert stand.drive_until(
        lambda: stand.moved(before, ARM, 0.05), lambda: hand.do(*press), lambda: hand.do(*let_go)
    ), stand.log
    hand.process.kill()
    assert wait_for(lambda: stand.is_stopped, PATIENCE_S), stand.log
    stand.status["state"] = "gone"
    assert stand.rests()
    # A released stop stays released: the dead link went with it.
    stand.release_stop()
    assert wait_for(lambda: not stand.is_stopped, PATIENCE_S)


# --- keyboard ----------------------------------------------------------------------------------


@pytest.fixture
def screen(monkeypatch):
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as numbers:
        monkeypatch.setenv("DISPLAY", ":" + numbers.readline().strip())
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    yield
    server.terminate()
    server.wait()


def xdotool(*words):
    return subprocess.run(["xdotool", *words], capture_output=True, text=True, timeout=30, check=False).stdout


def type_until(key, condition):
    """Press a key as an operator does, once more where nothing came of it: a busy screen drops some."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        xdotool("key", key)
        if wait_for(condition, 10.0):
            return True
    return False


@needs("Xvfb", "xdotool")
def test_a_keyboard_drives_the_arm_and_a_window_without_focus_ends_in_hold(domain_id, screen):
    with Stand(domain_id, teleop="keyboard") as stand:
        found = []

        def find():
            found[:] = xdotool("search", "--class", "reflexarc").split()
            return found

        assert wait_for(find, PATIENCE_S), stand.log
        window = found[0]
        keys = ["r", "f", "v", "space"]

        def let_go():
            xdotool("windowmap", "--sync", window)
            xdotool("windowfocus", window)
            for key in keys:
                xdotool("keyup", key)
            if stand.state == "engaged":
                xdotool("key", "space")

        def press(key):
            def call():
                xdotool("key", "space")
                wait_for(lambda: stand.state == "engaged", 5.0)
                xdotool("keydown", key)

            return call

        start = dict(stand.joints)
        assert stand.drive_until(lambda: stand.moved(start, ARM), press("r"), let_go), stand.log
        width = stand.joints["gripper"]
        assert stand.drive_until(lambda: stand.joints["gripper"] > width + 0.2, press("v"), let_go), stand.log
        assert type_until("n", lambda: set(stand.events) == {"failure"}), stand.log
        before = dict(stand.joints)
        assert stand.drive_until(lambda: stand.moved(before, ARM, 0.05), press("f"), let_go), stand.log
        xdotool("windowunmap", "--sync", window)
        assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
        assert stand.rests(), stand.log
        # The stop is a key as well.
        let_go()
        assert wait_for(lambda: stand.state == "ready", PATIENCE_S), stand.log
        assert type_until("Escape", lambda: stand.is_stopped and stand.state == "stopped"), stand.log


# --- page --------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_chromium(**context):
    from playwright.sync_api import sync_playwright

    def family():
        """Every process of the browser that there is now."""
        return [c for c in psutil.Process().children(recursive=True) if "chrom" in c.name().lower()]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser.new_context(**context), family
        finally:
            browser.close()


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "device_scale_factor": 2}


def stand_with_page(domain_id, **arguments):
    return Stand(domain_id, teleop="browser", teleop_options='{"port": 0}', **arguments)


def centre(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (make test-tools)")
def test_a_page_drives_the_arm_and_its_silence_ends_in_hold(domain_id):
    with stand_with_page(domain_id) as stand, open_chromium(**PHONE) as (context, family):
        assert wait_for(lambda: stand.status.get("address"), PATIENCE_S), stand.log
        page = context.new_page()
        page.goto(stand.status["address"])
        page.locator("#state", has_text="Ready").wait_for(timeout=PATIENCE_S * 1e3)
        assert page.locator("#robot").inner_text() == "so101"

        def let_go():
            page.mouse.up()
            page.mouse.move(5, 5)

        def pull(selector, right, up):
            def call():
                x, y = centre(page, selector)
                page.mouse.move(x, y)
                page.mouse.down()
                page.mouse.move(x + right, y - up, steps=4)

            return call

        start = dict(stand.joints)
        assert stand.drive_until(
            lambda: stand.moved(start, ARM) and page.locator("#state").inner_text() == "Engaged",
            pull("#right", 0, 60),
            let_go,
        ), stand.log
        width = stand.joints["gripper"]
        grip = pull('[data-control="grip_open"]', 0, 0)
        assert stand.drive_until(lambda: stand.joints["gripper"] > width + 0.2, grip, let_go), stand.log
        let_go()
        page.locator('[data-event="success"]').click()
        assert wait_for(lambda: stand.events == ["success"], PATIENCE_S), stand.log
        # Out of reach of the network in the middle of a motion: nothing is said any more, nothing is closed.
        before = dict(stand.joints)
        assert stand.drive_until(lambda: stand.moved(before, ARM, 0.05), pull("#right", 0, -60), let_go)
        frozen = family()
        assert len(frozen) > 2
        for process in frozen:
            process.suspend()
        try:
            assert wait_for(lambda: stand.state != "engaged", PATIENCE_S), stand.log
            assert stand.rests(), stand.log
        finally:
            for process in frozen:
                process.resume()
        # Back again, with the finger still down: authority comes only after it was lifted.
        let_go()
        before = dict(stand.joints)
        assert stand.drive_until(lambda: stand.moved(before, ARM, 0.05), pull("#right", 0, 60), let_go), (
            stand.log
        )
        page.locator("#stop").dispatch_event("pointerdown")
        assert wait_for(lambda: stand.is_stopped, PATIENCE_S), stand.log
        page.locator("#state", has_text="Stopped").wait_for(timeout=PATIENCE_S * 1e3)


FAKE_XR = """
const session = new EventTarget();
session.inputSources = [];
session.updateRenderState = () => {};
session.requestReferenceSpace = async () => ({});
session.requestAnimationFrame = (call) => setTimeout(() => call(0, frame), 16);
let height = 0;
const frame = { getViewerPose: () => ({ transform: {
  position: { x: 0, y: height, z: 0 }, orientation: { x: 0, y: 0, z: 0, w: 1 } } }) };
window.XRWebGLLayer = undefined;
window.lift = () => { height += 0.01; };
window.xrSession = session;
Object.defineProperty(navigator, "xr", { value: {
  isSessionSupported: async (mode) => mode === "immersive-ar", requestSession: async () => session } });
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (make test-tools)")
def test_the_motion_of_a_phone_is_followed_while_a_finger_is_down(domain_id):
    """The tracking itself is a stand-in for the phone's: WebXR has no device here."""
    with stand_with_page(domain_id) as stand, open_chromium(**PHONE) as (context, _):
        assert wait_for(lambda: stand.status.get("address"), PATIENCE_S), stand.log
        page = context.new_page()
        page.add_init_script(FAKE_XR)
        page.goto(stand.status["address"])
        page.locator("#track").click(timeout=PATIENCE_S * 1e3)
        start = dict(stand.joints)

        def press():
            page.evaluate("xrSession.dispatchEvent(new Event('selectstart'))")
            wait_for(lambda: stand.state == "engaged", 5.0)
            for _ in range(30):
                page.evaluate("lift()")
                time.sleep(0.02)

        def let_go():
            page.evaluate("xrSession.dispatchEvent(new Event('selectend'))")

        assert stand.drive_until(lambda: stand.moved(start, ARM), press, let_go), stand.log
        let_go()
        assert wait_for(lambda: stand.state == "ready", PATIENCE_S)
        page.close()
        assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
        assert stand.rests(), stand.log


# --- a policy and an operator ------------------------------------------------------------------


def test_services_speak_for_any_device_and_unknown_ones_are_refused(domain_id):
    with stand_with_page(domain_id) as stand:
        node = "teleop_node"
        answer = stand.client.call(SetBool, f"{node}/engage", SetBool.Request(data=True))
        assert not answer.success
        assert answer.message == "browser_arm engages with 'engage'"
        for event in ("success", "discard"):
            assert stand.client.call(Trigger, f"{node}/{event}", Trigger.Request()).success
        assert wait_for(lambda: sorted(stand.events) == ["discard", "success"], PATIENCE_S)
        assert stand.client.call(Trigger, f"{node}/emergency_stop", Trigger.Request()).success
        assert wait_for(lambda: stand.is_stopped, PATIENCE_S), stand.log
        os.kill(stand.runner.pid(node), signal.SIGKILL)
        assert wait_for(lambda: stand.runner.restarts(node) == 1, PATIENCE_S)
        assert stand.is_stopped, "a node that comes back does not release a stop"


class Stubborn:
    """A device whose library fails where nobody expects it."""

    address = ""

    def open(self):
        raise RuntimeError("the library stumbled")

    def read(self, now_ns):
        raise AssertionError("it is not open")


def test_a_library_that_fails_to_open_its_device_is_a_device_that_is_not_there():
    """The process lives on, and with it the operator's link: a device that is lost means hold, not a stop."""
    from reflexarc_ros.teleop_node import TeleopNode

    node = TeleopNode.__new__(TeleopNode)
    node._is_open, node._try_ns, node._device = False, 0, Stubborn()
    reading = node._read(1)
    assert not reading.connected
    assert reading.problem == "the device failed (RuntimeError: the library stumbled)"
    # Looked for again after a while, not in every step.
    assert node._read(2) is reading
