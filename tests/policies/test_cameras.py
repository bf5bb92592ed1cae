"""Protects the cameras of a policy: bound by name, size and age before anything runs, and never trusted when
their pictures grow old."""

from dataclasses import replace

import numpy as np
import pytest
from chunked import ROBOT, STEP_NS, Ramp, observation

from hardware.errors import ConfigErrors
from hardware.robot import Observation
from policies.cameras import CameraInput, cameras_of
from policies.card import bind
from policies.controller import Controller
from policies.policy import PolicyError
from policies.runtime.frames import Frame, decode, encode
from policies.runtime.packing import pack_observation, unpack_observation

IMAGE = np.zeros((96, 96, 3), np.uint8)


class Seeing(Ramp):
    """A ramp that wants to look through two cameras."""

    def __init__(self, **changes):
        super().__init__()
        cameras = {name: {"height": 96, "width": 96} for name in ("front", "wrist")}
        settings = {"method": "diffusion", "parameters": {"cameras": cameras}, "max_loop_age_s": 0.2}
        self.card = replace(self.card, **(settings | changes))


def seen(stamp_ns, **ages_ns):
    stamps = {name: stamp_ns - age_ns for name, age_ns in ages_ns.items()}
    return replace(observation(stamp_ns), images=dict.fromkeys(ages_ns, IMAGE), image_stamps_ns=stamps)


@pytest.fixture
def controller():
    made = Controller(Seeing(), ROBOT, steady_clock=lambda: 0)
    made.reset(0)
    return made


def test_a_card_tells_its_cameras_whatever_its_method():
    assert cameras_of(Seeing().card) == {"front": CameraInput(96, 96), "wrist": CameraInput(96, 96)}
    features = {"observation.images.front": {"camera": "front"}, "observation.state": {"terms": ["a"]}}
    card = replace(Ramp().card, method="lerobot", parameters={"features": features})
    assert cameras_of(card) == {"front": CameraInput()}
    assert cameras_of(Ramp().card) == {}


def test_every_camera_that_does_not_fit_is_named_before_anything_runs():
    cameras = {"front": replace(ROBOT.cameras["front"], height=48)}
    robot = replace(ROBOT, cameras=cameras)
    with pytest.raises(ConfigErrors) as caught:
        bind(Seeing(max_loop_age_s=0.05).card, robot)
    text = str(caught.value)
    assert "the images of camera 'front' have 48 x 320 pixels" in text
    assert "at least 96 x 96" in text
    assert "the robot has no camera 'wrist'" in text
    assert "an image of camera 'front' is up to" in text
    assert "max_loop_age_s = 50.0 ms" in text
    bind(Seeing().card, ROBOT)


def test_a_camera_that_froze_stops_the_policy_although_its_chunk_still_covers_the_moment(controller):
    for index in range(3):
        controller.act(seen(index * STEP_NS, front=0, wrist=0), now_ns=index * STEP_NS)
    assert len(controller.base.stamps) == 1
    # The chunk is carried out on: its ten steps last 0.2 s. The front camera shows its picture of before.
    at_ns = 3 * STEP_NS
    with pytest.raises(PolicyError, match=r"camera 'front' is 0.26 s old, max_loop_age_s is 0.2 s"):
        controller.act(seen(at_ns, front=260_000_000, wrist=0), now_ns=at_ns)
    with pytest.raises(PolicyError, match="no image of the camera 'wrist'"):
        controller.act(seen(4 * STEP_NS, front=0), now_ns=4 * STEP_NS)
    # It comes back, and so does the policy.
    controller.act(seen(5 * STEP_NS, front=0, wrist=0), now_ns=5 * STEP_NS)


def test_the_age_of_a_chunk_is_that_of_its_oldest_image(controller):
    chunk = controller.act(seen(STEP_NS * 10, front=70_000_000, wrist=30_000_000), now_ns=STEP_NS * 10)
    assert chunk.observed_ns == STEP_NS * 10 - 70_000_000
    assert controller.report.age_s == pytest.approx(0.07)
    # When the action holds is another matter: it begins now.
    assert chunk.start_ns == STEP_NS * 10


def test_stamps_of_images_travel_with_them():
    given = seen(5_000_000_000, front=70_000_000, wrist=0)
    frame = decode(encode(Frame("act", {}, pack_observation(given))))
    found = unpack_observation(frame, stamp_ns=given.stamp_ns, received_steady_ns=0)
    assert found.image_stamps_ns == {"front": 4_930_000_000, "wrist": 5_000_000_000}
    assert found.oldest_ns == 4_930_000_000
    np.testing.assert_array_equal(found.images["front"], IMAGE)
    assert Observation({}, 3, 0).oldest_ns == 3
