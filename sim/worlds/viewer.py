"""A live window on a twin, for machines with a screen."""

from __future__ import annotations

import time
from typing import Protocol

import mujoco

from hardware.errors import ConfigError

_PERIOD_S = 1.0 / 50.0


class Viewable(Protocol):
    """What can be looked at: a twin with its MuJoCo model and data."""

    @property
    def model(self) -> mujoco.MjModel:
        """The world."""

    @property
    def data(self) -> mujoco.MjData:
        """Its present state."""


class LiveViewer:
    """MuJoCo's own viewer on a copy of a twin's state; the twin is never touched by it.

    Args:
        twin: what to look at.

    Raises:
        ConfigError: no window can be opened.
    """

    def __init__(self, twin: Viewable) -> None:
        """Open the window."""
        import mujoco.viewer

        self._twin = twin
        self._data = mujoco.MjData(twin.model)
        self._next_s = 0.0
        try:
            self._window = mujoco.viewer.launch_passive(
                twin.model, self._data, show_left_ui=False, show_right_ui=False
            )
        except Exception as error:
            raise ConfigError(
                f"the viewer cannot open a window ({error})",
                where="live viewer",
                expected="a display with OpenGL",
                mend="run headless, or log in with a screen",
            ) from error

    def sync(self) -> bool:
        """Show the present state, at most 50 times a second.

        Returns:
            False once the user has closed the window.
        """
        if not self._window.is_running():
            return False
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _PERIOD_S
            with self._window.lock():
                self._data.qpos[:] = self._twin.data.qpos
                self._data.time = self._twin.data.time
                mujoco.mj_forward(self._twin.model, self._data)
            self._window.sync()
        return True

    def close(self) -> None:
        """Close the window."""
        self._window.close()
