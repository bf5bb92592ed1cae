"""A gamepad, through SDL, which knows the buttons of hundreds of them by the same names."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

from hardware.errors import Refusal
from hardware.teleop.reading import Reading, Status, lost

# SDL's numbers (SDL_gamecontroller.h) by the names that mappings use; the axes run from -1 (left, up) to 1,
# triggers from 0 to 1.
AXES = ("left_x", "left_y", "right_x", "right_y", "left_trigger", "right_trigger")
BUTTONS = (
    "a",
    "b",
    "x",
    "y",
    "back",
    "guide",
    "start",
    "left_stick",
    "right_stick",
    "left_shoulder",
    "right_shoulder",
    "dpad_up",
    "dpad_down",
    "dpad_left",
    "dpad_right",
)
_FULL = 32767.0


@dataclass(frozen=True)
class GamepadOptions:
    """Which gamepad."""

    # Part of its name, as the system shows it; empty: the first one.
    name: str = ""


class Gamepad:
    """A gamepad. It may be plugged in and out at any time.

    Args:
        options: which one.

    Raises:
        ModuleNotFoundError: pygame is not installed.
    """

    def __init__(self, options: GamepadOptions) -> None:
        """Load pygame."""
        self._options = options
        self._pygame, self._controllers = load_pygame()
        self._pad: Any = None
        self._pressed: set[str] = set()

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Find a gamepad."""
        pygame, controllers = self._pygame, self._controllers
        pygame.display.init()
        pygame.joystick.init()
        controllers.init()
        pygame.event.pump()
        found = [i for i in range(pygame.joystick.get_count()) if controllers.is_controller(i)]
        wanted = self._options.name.lower()
        names = {i: str(controllers.name_forindex(i)) for i in found}
        chosen = next((i for i in found if wanted in names[i].lower()), None)
        if chosen is None:
            others = f" (there are {', '.join(names.values())})" if names else ""
            raise Refusal(f"there is no gamepad{f' named {wanted!r}' if wanted else ''}{others}: plug it in")
        self._pad = controllers.Controller(chosen)
        self._pressed.clear()

    def read(self, now_ns: int) -> Reading:
        """Read sticks and buttons."""
        pygame = self._pygame
        if self._pad is None:
            return lost("there is no gamepad")
        for event in pygame.event.get(pygame.CONTROLLERBUTTONDOWN):
            if 0 <= event.button < len(BUTTONS):
                self._pressed.add(BUTTONS[event.button])
        # Unread: pygame stumbles over the removal of a joystick that it did not open under that name.
        pygame.event.clear(pump=False)
        if not self._pad.attached():
            self.close()
            return lost("the gamepad was unplugged")
        controls = {name: max(self._pad.get_axis(i) / _FULL, -1.0) for i, name in enumerate(AXES)}
        controls |= {name: float(self._pad.get_button(i)) for i, name in enumerate(BUTTONS)}
        pressed, self._pressed = frozenset(self._pressed), set()
        return Reading(connected=True, heard_ns=now_ns, controls=controls, pressed=pressed)

    def show(self, status: Status) -> None:
        """A gamepad shows nothing."""

    def close(self) -> None:
        """Let go of the gamepad."""
        if self._pad is not None:
            self._pad.quit()
            self._pad = None


def load_pygame(*, window: bool = False) -> tuple[Any, Any]:
    """Import pygame quietly.

    Args:
        window: whether a window is wanted; without one SDL needs no display.

    Returns:
        pygame and its module for game controllers.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # Sticks count although no window of ours has the focus.
    os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
    # What a window manager calls our windows.
    os.environ.setdefault("SDL_VIDEO_X11_WMCLASS", "reflexarc")
    # Ctrl-C is for the process that we live in.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    if not window:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pygame
        from pygame._sdl2 import controller
    return pygame, controller
