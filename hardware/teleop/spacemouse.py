"""A SpaceMouse, through pyspacemouse. Contract-tested with HID reports; not run on hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardware.errors import Refusal
from hardware.teleop.reading import Reading, Status, lost

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
# Deflections below this are the cap at rest.
_TOUCH = 0.06
# A deflected cap reports all the time; when it falls silent, the last deflection is none of now.
_SILENT_NS = 250_000_000
# Reports waiting in one step at most: translation, rotation and buttons at 125 Hz, some steps late.
_REPORTS = 64


@dataclass(frozen=True)
class SpaceMouseOptions:
    """Which SpaceMouse."""

    # Its model as pyspacemouse names it (SpaceNavigator, SpaceMouseCompact, ...); empty: the first one.
    model: str = ""


class SpaceMouse:
    """The cap's six axes (x forward, y left, z up, each -1 to 1) and its buttons.

    Controls are the axes, `left_button`, `right_button`, `both_buttons`, and `touched` while a hand is on
    the cap or a button.

    Args:
        options: which one.

    Raises:
        ModuleNotFoundError: pyspacemouse is not installed.
    """

    def __init__(self, options: SpaceMouseOptions) -> None:
        """Load the library."""
        import pyspacemouse

        self._library: Any = pyspacemouse
        self._options = options
        self._mouse: Any = None
        self._reported_ns = 0
        # The time stamp that the library gave its last report.
        self._last_t = -1.0
        self._down: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Find it."""
        try:
            self._mouse = self._library.open(
                device=self._options.model or None, nonblocking=True, axis_convention="ros"
            )
        except Exception as error:
            # The library raises its own kinds, and those of the HID library beneath it.
            raise Refusal(
                f"there is no SpaceMouse ({error}): plug it in, and see that /dev/hidraw* may be read"
            ) from error
        self._reported_ns, self._last_t = 0, -1.0

    def read(self, now_ns: int) -> Reading:
        """Take every report that waits."""
        if self._mouse is None:
            return lost("there is no SpaceMouse")
        try:
            for _ in range(_REPORTS):
                state = self._mouse.read()
                if state.t == self._last_t:
                    break
                self._last_t, self._reported_ns = state.t, now_ns
        except Exception as error:
            self.close()
            return lost(f"the SpaceMouse has gone ({error})")
        axes = {name: float(getattr(state, name)) for name in AXES}
        left, right = (bool(b) for b in (*state.buttons[:1], *state.buttons[-1:]))
        is_deflected = any(abs(value) > _TOUCH for value in axes.values())
        heard_ns = self._reported_ns if is_deflected and now_ns - self._reported_ns > _SILENT_NS else now_ns
        buttons = {
            "left_button": left and not right,
            "right_button": right and not left,
            "both_buttons": left and right,
            "touched": is_deflected or left or right,
        }
        down = frozenset(name for name, value in buttons.items() if value)
        pressed, self._down = down - self._down, down
        controls = axes | {name: float(value) for name, value in buttons.items()}
        return Reading(connected=True, heard_ns=heard_ns, controls=controls, pressed=pressed)

    def show(self, status: Status) -> None:
        """It shows nothing."""

    def close(self) -> None:
        """Let go of it."""
        if self._mouse is not None:
            self._mouse.close()
            self._mouse = None
