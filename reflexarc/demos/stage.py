"""What all stages of the demo share: results with thresholds, the log, and a reason to stop."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# How many of the last lines of a log go into an error.
_TAIL = 12


class StageError(Exception):
    """A stage could not be shown to its end.

    Args:
        what: what did not happen, in a sentence.
        log: the last lines that the nodes printed.
    """

    def __init__(self, what: str, log: tuple[str, ...] = ()) -> None:
        """Keep the reason and the lines."""
        super().__init__(what)
        self.what, self.log = what, log


@dataclass(frozen=True)
class Check:
    """One figure against what it must reach."""

    # What it is, for people.
    title: str
    # The figure; None: it was not flown, and nothing is judged.
    value: float | None
    # Its unit.
    unit: str
    # The bounds, both included; None: no bound.
    at_least: float | None = None
    at_most: float | None = None
    # What the authors' simulator gives for the same, in the same unit; None: nothing to compare with.
    reference: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the figure is within its bounds; None where there is none."""
        if self.value is None:
            return None
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )


class StageLog:
    """Writes what the nodes of a stage print to a file, and remembers the end; a context manager.

    Args:
        path: the file, made anew.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self.path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def line(self, node: str, text: str) -> None:
        """Keep a line; called from many threads."""
        with self._lock:
            self._tail.append(f"[{node}] {text}")
            if not self._file.closed:
                self._file.write(f"[{node}] {text}\n")
                self._file.flush()

    def error(self, what: str) -> StageError:
        """A reason to stop, with the end of the log."""
        with self._lock:
            return StageError(what, tuple(self._tail))
