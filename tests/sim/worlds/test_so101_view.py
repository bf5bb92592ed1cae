"""Protects the images of the arm's world: the cube is where it should be, in both cameras."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.worlds import so101
from sim.worlds.pick_cube import PickCubeWorld
from sim.worlds.render import Quality
from sim.worlds.so101_view import So101View


@pytest.fixture(scope="module")
def view():
    with So101View() as made:
        yield made


def state(cube=(0.22, 0.0, 0.014), joints=so101.HOME):
    return np.array([*joints, *cube, 1.0, 0.0, 0.0, 0.0])


def blue(image):
    """Pixels of the cube's colour."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return (blue > 100) & (blue > 1.6 * red) & (blue > 1.25 * green)


def middle(mask):
    rows, columns = np.nonzero(mask)
    return rows.mean(), columns.mean()


def orange(image):
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return (red > 100) & (red > 1.3 * green) & (red > 2 * blue)


def test_both_cameras_see_arm_and_cube(view):
    for camera in so101.CAMERAS:
        image = view.image(state(), camera, width=128, height=96)
        assert image.shape == (96, 128, 3)
        assert 15 < blue(image).sum() < 2500
        assert orange(image).sum() > 300


def test_every_place_where_the_cube_may_start_is_in_the_front_picture(view):
    for x in (0.17, 0.27):
        for y in (-0.10, 0.10):
            seen = blue(
                view.image(state((x, y, 0.014), (1.5, *so101.HOME[1:])), "front", width=128, height=96)
            )
            assert seen.sum() > 15
            border = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
            assert not border.any()


def test_the_cube_moves_in_the_picture_as_it_moves_on_the_table(view):
    def at(*place):
        return middle(blue(view.image(state((*place, 0.014)), "front", width=160, height=120)))

    # The front camera looks back at the arm from its right: the arm's left is on the picture's right.
    assert at(0.22, 0.08)[1] > at(0.22, -0.02)[1] + 10
    # Nearer to the camera is lower in the picture.
    assert at(0.27, 0.0)[0] > at(0.20, 0.0)[0] + 5


def test_the_picture_shows_the_state_and_nothing_else(view):
    first = view.image(state(), "front", width=64, height=48)
    other = view.image(state(joints=(0.5, *so101.HOME[1:])), "front", width=64, height=48)
    again = view.image(state(), "front", width=64, height=48)
    assert (first != other).any()
    np.testing.assert_array_equal(first, again)


def test_the_state_of_the_physics_can_be_shown(view):
    world = PickCubeWorld()
    world.reset(np.random.default_rng(0))
    assert blue(view.image(world.state, "front", width=128, height=96)).sum() > 15


def test_fine_pictures_have_shadows():
    with So101View(quality=Quality.FINE) as fine, So101View() as fast:
        images = [v.image(state((0.22, 0.0, 0.10)), "front", width=160, height=120) for v in (fine, fast)]
    darker = (images[0].astype(int).sum(axis=-1) < images[1].astype(int).sum(axis=-1) - 90).sum()
    assert darker > 50


def test_a_closed_view_opens_again():
    view = So101View()
    first = view.image(state(), "front", width=32, height=32)
    view.close()
    np.testing.assert_array_equal(view.image(state(), "front", width=32, height=32), first)
    view.close()


def test_an_unknown_camera_is_refused(view):
    with pytest.raises(ConfigError, match="unknown camera 'top'"):
        view.image(state(), "top", width=32, height=32)
