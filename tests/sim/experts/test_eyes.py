"""Protects an expert's cameras: the world at each one's own rate, and nothing changed by looking."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.robot import CameraSpec
from sim.experts.collect import ActionNoise, collect
from sim.experts.demonstrations import Demonstrations
from sim.experts.eyes import Eyes
from sim.worlds.arm_view import ArmView
from sim.worlds.pick_cube import PickCubeWorld

CAMERAS = {
    "front": CameraSpec(64, 48, 10.0, "front_optical", 40.0),
    "wrist": CameraSpec(64, 48, 15.0, "wrist_optical", 62.0),
}


@pytest.fixture(scope="module")
def seen():
    return collect(2, noise=ActionNoise(0.004), cameras=CAMERAS, image_size=(32, 32))


def test_looking_changes_nothing_about_what_happens(seen):
    blind = collect(2, noise=ActionNoise(0.004))
    np.testing.assert_array_equal(seen.actions, blind.actions)
    np.testing.assert_array_equal(seen.observations["cube_position"], blind.observations["cube_position"])
    assert blind.images == {}


def test_a_camera_shows_what_it_saw_last_at_its_own_rate(seen):
    assert {name: images.shape[1:] for name, images in seen.images.items()} == {
        "front": (32, 32, 3),
        "wrist": (32, 32, 3),
    }
    moving = slice(1, int((seen.episode == 0).sum()) - 12)
    fresh = {
        n: (np.diff(i[moving].astype(int), axis=0) != 0).any(axis=(1, 2, 3)) for n, i in seen.images.items()
    }
    # 25 steps a second: two of five show a new image of a camera with 10 Hz, three of five of one with 15 Hz.
    assert fresh["front"].mean() == pytest.approx(0.4, abs=0.08)
    assert fresh["wrist"].mean() == pytest.approx(0.6, abs=0.08)


def test_images_are_of_their_instant():
    world = PickCubeWorld()
    world.reset(np.random.default_rng(0))
    eyes, view = Eyes(world, {"front": CAMERAS["front"]}), ArmView(PickCubeWorld)
    eyes.begin(np.random.default_rng(0))
    try:
        first = eyes.images["front"]
        np.testing.assert_array_equal(first, view.image(world.state, "front", width=64, height=48))
        world.set_targets(world.targets + 0.4)
        states = {}
        for _ in range(150):
            eyes.advance(2_000_000)
            states[world.time_ns] = world.state
        # 10 Hz: within the last 100 ms the camera looked once, and shows exactly one of those states.
        shown = eyes.images["front"]
        last = [state for at_ns, state in states.items() if at_ns > 200_000_000]
        same = [np.array_equal(view.image(s, "front", width=64, height=48), shown) for s in last]
        assert any(same)
        assert not np.array_equal(shown, first)
    finally:
        eyes.close()
        view.close()


def test_images_survive_the_file(seen, tmp_path):
    seen.save(tmp_path / "demos.npz")
    found = Demonstrations.load(tmp_path / "demos.npz").successful()
    np.testing.assert_array_equal(found.images["wrist"], seen.images["wrist"][seen.success[seen.episode]])


def test_images_larger_than_the_camera_and_cameras_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="camera 'front'.*Expected at least 96 x 64"):
        collect(1, cameras={"front": CAMERAS["front"]}, image_size=(64, 96))
    with pytest.raises(ConfigError, match="unknown camera 'top'"):
        collect(1, cameras={"top": CAMERAS["front"]})
