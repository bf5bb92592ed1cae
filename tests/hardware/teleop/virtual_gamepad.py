"""A virtual gamepad inside SDL: what it is told goes through SDL's own game controller code."""

import ctypes
from pathlib import Path

from hardware.teleop.gamepad import AXES, BUTTONS

_KIND_GAMEPAD = 1


class VirtualGamepad:
    """Belongs to the process and to the thread that uses pygame."""

    def __init__(self):
        maps = Path("/proc/self/maps").read_text().splitlines()
        library = next(line.split()[-1] for line in maps if "libSDL2-2" in line)
        self._sdl = ctypes.CDLL(library)
        self._sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        self._index = self._sdl.SDL_JoystickAttachVirtual(_KIND_GAMEPAD, len(AXES), len(BUTTONS), 0)
        assert self._index >= 0, "SDL has no virtual joystick"
        self._pad = ctypes.c_void_p(self._sdl.SDL_JoystickOpen(self._index))
        for trigger in AXES[4:]:
            self.axis(trigger, -1.0)

    def axis(self, name, value):
        """Sticks from -1 to 1; the triggers of a virtual gamepad rest at -1."""
        number = ctypes.c_int16(round(value * 32767))
        assert self._sdl.SDL_JoystickSetVirtualAxis(self._pad, AXES.index(name), number) == 0

    def button(self, name, is_down):
        assert self._sdl.SDL_JoystickSetVirtualButton(self._pad, BUTTONS.index(name), int(is_down)) == 0

    def unplug(self):
        """May be pulled once more when it is out already."""
        if self._index is not None:
            assert self._sdl.SDL_JoystickDetachVirtual(self._index) == 0
        self._index = None
