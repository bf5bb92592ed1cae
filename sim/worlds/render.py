"""Offscreen rendering that is usable on a machine without a GPU.

Software OpenGL is bound by triangles and by shadow passes, not by pixels. Shadows, reflections,
multisampling and the sky are therefore off in frames that a policy sees, and on in frames that
people look at.
"""

from __future__ import annotations

import atexit
import ctypes
import enum
import functools
import importlib
import os
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

# The libraries that a backend cannot do without, in the order in which backends are tried.
_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
_DISABLED = ("disable", "disabled", "off", "false", "0")
_MEND = (
    "install the Debian packages libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
    " (or libosmesa6 with MUJOCO_GL=osmesa)"
)
_open: weakref.WeakSet[OffscreenRenderer]


class Quality(enum.StrEnum):
    """What a frame is for."""

    # Many frames a second, for policies: no shadows, reflections, sky or multisampling.
    FAST = "fast"
    # Thousands of frames, for films: shadows, as coarse as a film allows, and no more.
    VIDEO = "video"
    # Few, pleasant frames, for people: shadows, reflections, sky and four samples a pixel.
    FINE = "fine"


_FLAGS = {
    Quality.FAST: {"SHADOW": 0, "REFLECTION": 0, "SKYBOX": 1, "FOG": 0, "HAZE": 0},
    Quality.VIDEO: {"SHADOW": 1, "REFLECTION": 0, "SKYBOX": 1, "FOG": 0, "HAZE": 0},
    Quality.FINE: {"SHADOW": 1, "REFLECTION": 1, "SKYBOX": 1, "FOG": 0, "HAZE": 0},
}
_SAMPLES = {Quality.FAST: 0, Quality.VIDEO: 0, Quality.FINE: 4}
# Edge of the shadow map in pixels, at most; what a model asks for, where nothing is said.
_SHADOW_SIZE = {Quality.VIDEO: 1024}


class OffscreenRenderer:
    """Renders one model into arrays, with the flags that software OpenGL needs.

    Also a context manager. One object belongs to one thread.

    Args:
        model: the compiled model, with its visual meshes.
        width: image width in pixels.
        height: image height in pixels.
        quality: what the frames are for.

    Raises:
        ConfigError: no OpenGL library can be loaded, or MUJOCO_GL names none.
    """

    def __init__(
        self, model: mujoco.MjModel, width: int, height: int, *, quality: Quality = Quality.FAST
    ) -> None:
        """Create the OpenGL context and the scene."""
        self._gl: Any = None
        self._context: Any = None
        self._model, self._width, self._height = model, width, height
        self._gl = _create_gl_context(width, height)
        # Exit handlers run last in, first out: ours must come after the OpenGL library's own, which
        # the first context registers.
        _close_at_exit()
        _open.add(self)
        self._gl.make_current()
        self._context = _create_render_context(model, width, height, quality)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=max(1000, 4 * model.ngeom))
        for name, value in _FLAGS[quality].items():
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{name}")] = value
        self._option = mujoco.MjvOption()
        self._rectangle = mujoco.MjrRect(0, 0, width, height)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a frame: height, width, three colours."""
        return (self._height, self._width, 3)

    def frame(
        self,
        data: mujoco.MjData,
        camera: str | mujoco.MjvCamera,
        *,
        decorate: Callable[[mujoco.MjvScene], None] | None = None,
    ) -> NDArray[np.uint8]:
        """Render the present state.

        Args:
            data: a state of the model whose positions have been propagated (`mj_forward`, or
                `mj_kinematics` and `mj_camlight`).
            camera: the name of a camera of the model, or a free camera.
            decorate: adds geoms to the scene, say a trail, before it is drawn.

        Returns:
            Shape (height, width, 3), red, green, blue, top row first; a new array.

        Raises:
            ConfigError: the model has no camera of that name.
            RuntimeError: the renderer has been closed.
        """
        if self._context is None:
            raise RuntimeError("the renderer is closed: create another one")
        if isinstance(camera, str):
            camera = self._fixed_camera(camera)
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        if decorate is not None:
            decorate(self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        pixels = np.empty(self.shape, dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Give the OpenGL context back; more than once is fine."""
        context, self._context = self._context, None
        gl, self._gl = self._gl, None
        if context is not None:
            gl.make_current()
            context.free()
        if gl is not None:
            gl.free()
        _open.discard(self)

    def __enter__(self) -> Self:
        """Return the renderer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _fixed_camera(self, name: str) -> mujoco.MjvCamera:
        index = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, name)
        if index < 0:
            names = [self._model.camera(i).name for i in range(self._model.ncam)]
            raise ConfigError(
                f"unknown camera {name!r}",
                where="rendering",
                expected="one of " + (", ".join(names) or "none: the model has no camera"),
                mend="name a camera of the model, or pass an MjvCamera",
            )
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = index
        return camera


_open = weakref.WeakSet()


@functools.cache
def _close_at_exit() -> None:
    def close_all() -> None:
        for renderer in list(_open):
            renderer.close()

    atexit.register(close_all)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def choose_backend(environment: Mapping[str, str], loads: Callable[[str], bool] = _loads) -> str:
    """Choose the OpenGL library for offscreen rendering.

    Args:
        environment: the process environment; MUJOCO_GL in it decides, when set.
        loads: says whether a shared library can be loaded.

    Returns:
        egl, osmesa or glfw.

    Raises:
        ConfigError: rendering is disabled, the name is unknown, or no library can be loaded.
    """
    asked = environment.get("MUJOCO_GL", "").strip().lower()
    if asked in _DISABLED or asked not in ("", "glfw", "glx", *_LIBRARIES):
        raise ConfigError(
            f"MUJOCO_GL is {asked!r}",
            where="offscreen rendering",
            expected="egl, osmesa, glfw, or nothing",
            mend="unset MUJOCO_GL or set it to egl",
        )
    if asked in ("glfw", "glx"):
        return "glfw"
    candidates = [asked] if asked else list(_LIBRARIES)
    for name in candidates:
        if loads(_LIBRARIES[name]):
            return name
    missing = ", ".join(_LIBRARIES[name] for name in candidates)
    raise ConfigError(
        f"no OpenGL library can be loaded ({missing})",
        where="offscreen rendering",
        expected="EGL or OSMesa",
        mend=_MEND,
    )


def _create_gl_context(width: int, height: int) -> Any:  # noqa: ANN401
    backend = choose_backend(os.environ)
    # Any failure of the vendor's library ends here: it raises a dozen different kinds.
    try:
        return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except Exception as error:
        raise ConfigError(
            f"the {backend} library gives no context ({error})",
            where="offscreen rendering",
            expected="a working EGL or OSMesa",
            mend=_MEND,
        ) from error


def _create_render_context(
    model: mujoco.MjModel, width: int, height: int, quality: Quality
) -> mujoco.MjrContext:
    # The size, the samples and the shadow map of the offscreen buffer are read from the model once, right
    # here; the model's own values are put back, because others may render it in another size.
    size, asked = model.vis.global_, model.vis.quality
    before = (size.offwidth, size.offheight, asked.offsamples, asked.shadowsize)
    try:
        size.offwidth, size.offheight, asked.offsamples = width, height, _SAMPLES[quality]
        asked.shadowsize = min(asked.shadowsize, _SHADOW_SIZE.get(quality, asked.shadowsize))
        return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
    finally:
        size.offwidth, size.offheight, asked.offsamples, asked.shadowsize = before
