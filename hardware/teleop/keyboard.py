"""A keyboard, through a window that has to have the focus: keys count only while the operator looks there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardware.errors import Refusal
from hardware.teleop.gamepad import load_pygame
from hardware.teleop.reading import LinkState, Reading, Status, lost

_BACKGROUND, _TEXT, _DIM = (24, 26, 31), (232, 234, 240), (150, 156, 170)
_COLOURS = {
    LinkState.LOST: (214, 142, 44),
    LinkState.READY: (90, 140, 230),
    LinkState.ENGAGED: (60, 180, 110),
    LinkState.STOPPED: (226, 74, 74),
}
_LINE = 24
# The window is drawn so often; keys are read at every step.
_FRAME_NS = 50_000_000


@dataclass(frozen=True)
class WindowOptions:
    """How the window looks."""

    # Its title.
    title: str = "Reflexarc teleoperation"
    # Its width and height, pixels.
    width: int = 620
    height: int = 460


class KeyboardWindow:
    """A window that takes keys and shows what they do. Without the focus it is as good as not there.

    Args:
        options: how it looks.

    Raises:
        ModuleNotFoundError: pygame is not installed.
    """

    def __init__(self, options: WindowOptions) -> None:
        """Load pygame."""
        self._options = options
        self._pygame, _ = load_pygame(window=True)
        self._screen: Any = None
        self._held: set[str] = set()
        self._pressed: set[str] = set()
        self._has_focus = self._was_closed = False
        # The steady clock at the last reading, and when the window was drawn last.
        self._now_ns = self._drawn_ns = 0

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Open the window."""
        pygame = self._pygame
        if self._was_closed:
            raise Refusal("the window was closed: start teleoperation anew")
        try:
            pygame.display.init()
            pygame.font.init()
            self._screen = pygame.display.set_mode((self._options.width, self._options.height))
        except pygame.error as error:
            raise Refusal(f"there is no display for the keyboard's window ({error})") from error
        pygame.display.set_caption(self._options.title)
        self._fonts = pygame.font.Font(None, 34), pygame.font.Font(None, 24)
        self._held.clear()
        self._has_focus = bool(pygame.key.get_focused())

    def read(self, now_ns: int) -> Reading:
        """Take the keys that went down and up."""
        pygame = self._pygame
        self._now_ns = now_ns
        if self._screen is None:
            return lost("the window is closed")
        for event in pygame.event.get():
            if event.type == pygame.KEYDOWN:
                # Whoever gets keys has the focus.
                self._has_focus = True
                name = pygame.key.name(event.key)
                self._held.add(name)
                self._pressed.add(name)
            elif event.type == pygame.KEYUP:
                self._held.discard(pygame.key.name(event.key))
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._has_focus = False
                self._held.clear()
            elif event.type == pygame.WINDOWFOCUSGAINED:
                self._has_focus = True
            elif event.type == pygame.QUIT:
                self._was_closed = True
                self.close()
                return lost("the window was closed")
        if not pygame.display.get_active():
            # Nobody sees it. What the window system says late of a window that is gone does not count.
            self._has_focus = False
            self._held.clear()
        pressed, self._pressed = frozenset(self._pressed), set()
        if not self._has_focus:
            return lost("the window has lost the focus: click on it")
        controls = dict.fromkeys(self._held, 1.0)
        return Reading(connected=True, heard_ns=now_ns, controls=controls, pressed=pressed)

    def show(self, status: Status) -> None:
        """Draw the state and what the keys do."""
        if self._screen is None or self._now_ns - self._drawn_ns < _FRAME_NS:
            return
        self._drawn_ns = self._now_ns
        large, small = self._fonts
        screen, margin = self._screen, 18
        screen.fill(_BACKGROUND)
        screen.blit(large.render(status.state.value.upper(), True, _COLOURS[status.state]), (margin, 16))
        screen.blit(small.render(status.robot, True, _DIM), (margin + 190, 22))
        screen.blit(small.render(status.message[:56], True, _TEXT), (margin, 52))
        lines = list(status.legend.items())
        rows = (self._options.height - 150) // _LINE
        for i, (control, words) in enumerate(lines):
            left, top = margin + (i // rows) * 290, 90 + (i % rows) * _LINE
            is_down = control in self._held
            screen.blit(
                small.render(control, True, _COLOURS[LinkState.ENGAGED] if is_down else _TEXT), (left, top)
            )
            screen.blit(small.render(words, True, _DIM), (left + 96, top))
        values = "  ".join(f"{n} {v:.2f}" for n, v in list(status.values.items())[:4])
        screen.blit(small.render(values, True, _DIM), (margin, self._options.height - 34))
        self._pygame.display.flip()

    def close(self) -> None:
        """Close the window."""
        if self._screen is not None:
            self._screen = None
            self._pygame.display.quit()
