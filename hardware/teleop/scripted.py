"""A device that follows a script: what it says at each time is given. For experts and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hardware.teleop.reading import Reading, Status

# Takes the steady clock (nanoseconds) and the last status; gives a reading.
Script = Callable[[int, Status | None], Reading]


class ScriptedDevice:
    """Answers every reading from a script, which sees what the stack showed last.

    Args:
        script: the script.
    """

    def __init__(self, script: Script) -> None:
        """Nothing has been shown yet."""
        self._script = script
        self._status: Status | None = None

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """It is always there."""

    def read(self, now_ns: int) -> Reading:
        """What the script says for this moment."""
        reading = self._script(now_ns, self._status)
        return replace(reading, heard_ns=now_ns) if reading.connected else reading

    def show(self, status: Status) -> None:
        """Keep the status for the script."""
        self._status = status

    def close(self) -> None:
        """There is nothing to let go of."""
