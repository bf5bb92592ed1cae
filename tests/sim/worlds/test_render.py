"""Protects offscreen rendering: the choice of library, the pixels, and the errors a bare machine gives."""

import importlib

import mujoco
import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.worlds.render import OffscreenRenderer, Quality, choose_backend

# A red box above a green one, seen from the front.
SCENE = """
<mujoco>
  <visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
  <worldbody>
    <geom type="box" size=".5 .5 .5" pos="0 0 .5" rgba="1 0 0 1"/>
    <geom type="box" size=".5 .5 .5" pos="0 0 -.5" rgba="0 1 0 1"/>
    <camera name="eye" pos="0 -1.5 0" xyaxes="1 0 0 0 0 1" fovy="40"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("quality", list(Quality))
def test_the_top_row_comes_first_and_colours_are_rgb(scene, quality):
    model, data = scene
    with OffscreenRenderer(model, 64, 48, quality=quality) as renderer:
        image = renderer.frame(data, "eye")
    assert image.shape == renderer.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    red, green, blue = image[12, 32].astype(int)
    assert red > 200
    assert green + blue < 40
    red, green, blue = image[36, 32].astype(int)
    assert green > 200
    assert red + blue < 40


def test_frames_are_independent_arrays_and_follow_the_state(scene):
    model, data = scene
    with OffscreenRenderer(model, 32, 32) as renderer:
        first = renderer.frame(data, "eye")
        kept = first.copy()
        data.cam_xpos[0] = [0, -4.0, 0]
        second = renderer.frame(data, "eye")
    np.testing.assert_array_equal(first, kept)
    assert (second != first).any()


def test_renderers_of_several_sizes_live_side_by_side_and_leave_the_model_alone(scene):
    model, data = scene
    before = (model.vis.global_.offwidth, model.vis.global_.offheight, model.vis.quality.offsamples)
    # Wider than the model's own offscreen buffer of 640 x 480.
    with OffscreenRenderer(model, 800, 16) as wide, OffscreenRenderer(model, 16, 700) as high:
        assert wide.frame(data, "eye").shape == (16, 800, 3)
        assert high.frame(data, "eye").shape == (700, 16, 3)
        assert wide.frame(data, "eye").shape == (16, 800, 3)
    assert (model.vis.global_.offwidth, model.vis.global_.offheight, model.vis.quality.offsamples) == before


def test_a_free_camera_and_a_decorator_are_drawn(scene):
    model, data = scene
    camera = mujoco.MjvCamera()
    camera.lookat[:] = 0.0
    camera.distance, camera.azimuth, camera.elevation = 8.0, 90.0, 0.0

    def blue_ball(drawn):
        geom = drawn.geoms[drawn.ngeom]
        size, position, turn = np.full(3, 0.4), np.array([0.0, -1.5, 0.0]), np.eye(3).ravel()
        mujoco.mjv_initGeom(
            geom, mujoco.mjtGeom.mjGEOM_SPHERE, size, position, turn, np.float32([0, 0, 1, 1])
        )
        drawn.ngeom += 1

    with OffscreenRenderer(model, 64, 64) as renderer:
        plain = renderer.frame(data, camera)[32, 32]
        with_ball = renderer.frame(data, camera, decorate=blue_ball)[32, 32]
    assert plain[2] < 50 < with_ball[2]


def test_an_unknown_camera_is_named_with_the_known_ones(scene):
    model, data = scene
    with OffscreenRenderer(model, 16, 16) as renderer, pytest.raises(ConfigError) as error:
        renderer.frame(data, "left")
    assert "unknown camera 'left'" in str(error.value)
    assert "one of eye" in str(error.value)


def test_a_closed_renderer_says_so(scene):
    model, data = scene
    renderer = OffscreenRenderer(model, 16, 16)
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="closed"):
        renderer.frame(data, "eye")


@pytest.mark.parametrize(
    ("environment", "libraries", "backend"),
    [
        ({}, {"libEGL.so.1", "libOSMesa.so.8"}, "egl"),
        ({}, {"libOSMesa.so.8"}, "osmesa"),
        ({"MUJOCO_GL": "osmesa"}, {"libEGL.so.1", "libOSMesa.so.8"}, "osmesa"),
        ({"MUJOCO_GL": " EGL "}, {"libEGL.so.1"}, "egl"),
        ({"MUJOCO_GL": "glfw"}, set(), "glfw"),
    ],
)
def test_the_library_is_chosen_by_what_is_there_and_what_is_asked_for(environment, libraries, backend):
    assert choose_backend(environment, lambda name: name in libraries) == backend


def test_a_machine_without_opengl_is_told_the_packages():
    with pytest.raises(ConfigError) as error:
        choose_backend({}, lambda _: False)
    for package in ("libegl1", "libegl-mesa0", "libgl1", "libgl1-mesa-dri", "libosmesa6"):
        assert package in str(error.value)
    assert "libEGL.so.1, libOSMesa.so.8" in str(error.value)


@pytest.mark.parametrize("value", ["off", "vulkan"])
def test_a_setting_that_cannot_render_is_refused(value):
    with pytest.raises(ConfigError, match=f"MUJOCO_GL is '{value}'"):
        choose_backend({"MUJOCO_GL": value}, lambda _: True)


def test_a_library_that_fails_ends_in_the_same_error(scene, monkeypatch):
    def fail(name):
        raise ImportError(f"no device for {name}")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ConfigError, match="no device for mujoco") as error:
        OffscreenRenderer(scene[0], 16, 16)
    assert "libegl1" in str(error.value)
