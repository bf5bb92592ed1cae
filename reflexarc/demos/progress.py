"""What a person sees while the demo runs: one line that lives, and lines that stay."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_REFRESH_S = 0.2


class Display:
    """Shows a stage; a context manager. Without a terminal it prints each phase on a line of its own.

    Args:
        title: the stage's name.
        console: where to print.
    """

    def __init__(self, title: str, console: Console) -> None:
        """Prepare."""
        self._title, self._console = title, console
        self._phase = ""
        self._began_s = self._shown_s = 0.0
        self._live: Live | None = None
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        """Begin to show."""
        self._began_s = time.monotonic()
        self._console.print(f"[bold]{self._title}[/bold]")
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the living line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, title: str) -> None:
        """Say what is happening now; the same again changes nothing."""
        if title != self._phase:
            self._phase = title
            self._shown_s = 0.0
            self.note(title, style="")

    def note(self, text: str, *, style: str = "dim") -> None:
        """Leave a line."""
        elapsed_s = time.monotonic() - self._began_s
        line = Text(f"  {elapsed_s:6.1f} s  ", style="dim")
        line.append(text, style=style)
        self._console.print(line)

    def update(self, *words: str) -> None:
        """Refresh the living line, a few times a second at most.

        Args:
            *words: what to show behind the phase.
        """
        now_s = time.monotonic()
        if self._live is None or now_s - self._shown_s < _REFRESH_S:
            return
        self._shown_s = now_s
        text = f"{now_s - self._began_s:6.1f} s  " + "   ".join((self._phase, *words))
        self._spinner.update(text=Text(text, style="cyan"))
        self._live.update(self._spinner, refresh=True)
