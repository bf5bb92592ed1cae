"""Keys typed in a terminal, over SSH too. A terminal tells of no key that goes up: it repeats held ones."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from dataclasses import dataclass
from typing import Any

from hardware.errors import Refusal
from hardware.teleop.reading import Reading, Status, lost

_NAMES = {"\x1b": "escape", " ": "space", "\r": "return", "\n": "return", "\x7f": "backspace", "\t": "tab"}
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}


@dataclass(frozen=True)
class TerminalOptions:
    """Which terminal."""

    # Its device file; /dev/tty is the one that the process was started in.
    tty: str = "/dev/tty"
    # How long a key counts as held after it was heard, seconds: longer than the pause between repeats.
    hold_s: float = 0.15


class TerminalKeyboard:
    """Reads keys from a terminal. A held key first moves for a moment, pauses, then moves on.

    Args:
        options: which terminal.
    """

    def __init__(self, options: TerminalOptions) -> None:
        """Nothing is open yet."""
        self._options = options
        self._file: int | None = None
        self._before: list[Any] | None = None
        self._heard_ns: dict[str, int] = {}

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Take the terminal: keys come at once and are not shown."""
        try:
            self._file = os.open(self._options.tty, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            self._before = termios.tcgetattr(self._file)
            # Without flushing: a key typed ahead is a key.
            tty.setcbreak(self._file, termios.TCSANOW)
        except (OSError, termios.error) as error:
            self.close()
            raise Refusal(f"{self._options.tty} is no terminal ({error})") from error

    def read(self, now_ns: int) -> Reading:
        """Take the keys that were typed."""
        if self._file is None:
            return lost("there is no terminal")
        try:
            data = os.read(self._file, 1024)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self.close()
            return lost("the terminal has gone")
        pressed = frozenset(keys((data or b"").decode("utf-8", "replace")))
        hold_ns = round(self._options.hold_s * 1e9)
        self._heard_ns |= dict.fromkeys(pressed, now_ns)
        self._heard_ns = {name: heard for name, heard in self._heard_ns.items() if now_ns - heard < hold_ns}
        controls = dict.fromkeys(self._heard_ns, 1.0)
        return Reading(connected=True, heard_ns=now_ns, controls=controls, pressed=pressed)

    def show(self, status: Status) -> None:
        """Who owns the terminal's screen shows the status."""

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._file is not None:
            if self._before is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._file, termios.TCSANOW, self._before)
            os.close(self._file)
        self._file = self._before = None
        self._heard_ns.clear()


def keys(text: str) -> list[str]:
    """Take apart what a terminal sent.

    Args:
        text: characters and escape sequences.

    Returns:
        The names of the keys, as SDL calls them too.
    """
    found = []
    while text:
        if text[:2] in ("\x1b[", "\x1bO"):
            # A sequence ends with its first letter or tilde.
            end = next((i for i in range(2, len(text)) if text[i].isalpha() or text[i] == "~"), len(text) - 1)
            name = _ARROWS.get(text[end]) if end == 2 else None
            found += [name] if name else []
            text = text[end + 1 :]
        else:
            found.append(_NAMES.get(text[0], text[0].lower()))
            text = text[1:]
    return found
