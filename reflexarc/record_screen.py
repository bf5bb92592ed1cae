"""The recorder in the terminal: its status, and keys that ask it for something."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

# Key -> what it asks for. Those in capitals of the help ask for words first.
KEYS = {
    "s": "start",
    "x": "stop",
    "y": "success",
    "f": "failure",
    "r": "rerecord",
    "d": "discard",
    "n": "note",
    "i": "instruction",
}
_HELP = "s start  x stop  y success  f failure  r re-record  d discard  n note  i instruction  q quit"
# So many findings are shown.
_FINDINGS = 6
_WORDS = ("failure", "note", "instruction")
_COLOURS = {"recording": "bold white on red", "failed": "bold red", "idle": "bold"}


class KeyReader:
    """Turns keys into requests; a request that takes words is followed by a line of text.

    Args:
        ask: takes a request and its words; called in the thread that feeds the keys.
    """

    def __init__(self, ask: Callable[[str, str], None]) -> None:
        """Wait for a key."""
        self._ask = ask
        # The request whose words are being typed, and the words so far.
        self.pending: str | None = None
        self.text = ""
        self.wants_to_quit = False

    def feed(self, typed: str) -> None:
        """Take what was typed."""
        for key in typed:
            if self.pending is None:
                self._take(key)
            else:
                self._type(key)

    def _take(self, key: str) -> None:
        request = KEYS.get(key.lower())
        if key.lower() == "q":
            self.wants_to_quit = True
        elif request in _WORDS:
            self.pending, self.text = request, ""
        elif request is not None:
            self._ask(request, "")

    def _type(self, key: str) -> None:
        assert self.pending is not None
        if key in "\r\n":
            request, self.pending = self.pending, None
            # A failure needs no reason; a note without words is none.
            if self.text or request == "failure":
                self._ask(request, self.text)
        elif key == "\x1b":
            self.pending = None
        elif key in "\x7f\b":
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key


@contextlib.contextmanager
def read_keys(reader: KeyReader) -> Iterator[bool]:
    """Feed a reader from the terminal while the block runs, where standard input is one.

    Args:
        reader: takes the keys, in a thread of its own.

    Yields:
        Whether keys are read.
    """
    if not sys.stdin.isatty() or os.getpgrp() != os.tcgetpgrp(sys.stdin.fileno()):
        yield False
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    done_read, done_write = os.pipe()

    def watch() -> None:
        while True:
            ready, _, _ = select.select([terminal, done_read], [], [])
            if done_read in ready:
                return
            data = os.read(terminal, 64)
            if not data:
                return
            reader.feed(data.decode("utf-8", "replace"))

    watcher = threading.Thread(target=watch, name="keys", daemon=True)
    tty.setcbreak(terminal)
    watcher.start()
    try:
        yield True
    finally:
        os.write(done_write, b".")
        watcher.join(2.0)
        os.close(done_read)
        os.close(done_write)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def screen(status: Mapping[str, Any], *, answer: str, reader: KeyReader | None, plan: str) -> RenderableType:
    """Draw the status.

    Args:
        status: as the recorder says it; empty: it has not said anything yet.
        answer: the answer to the last request.
        reader: the keys; None: there are none.
        plan: what is to be recorded, in words.

    Returns:
        What rich shows.
    """
    from rich.console import Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    from reflexarc.quality_table import figures, topics_table

    if not status:
        return Panel("waiting for the recorder", title="recorder")
    facts = Table.grid(padding=(0, 3))
    colour = _COLOURS.get(status["state"], "bold")
    episode = "–" if status["episode"] < 0 else str(status["episode"])
    facts.add_row(
        f"[{colour}] {status['state']} [/{colour}]",
        f"episode {episode}",
        f"{status['duration_s']:.1f} s",
        f"{status['messages']} messages",
        f"{status['size_bytes'] * 1e-6:.1f} MB",
        f"{status['finished']} finished",
    )
    room = f"room for {status['time_left_s'] / 60:.0f} min at {status['bytes_per_s'] * 1e-6:.2f} MB/s"
    lines: list[RenderableType] = [facts, f"[dim]{escape(status['folder'])}   {room}   {escape(plan)}[/dim]"]
    if status["dropped"]:
        lines.append(f"[bold red]{status['dropped']} messages dropped: the disk is too slow[/bold red]")
    if status["message"] not in ("recording", "ready"):
        lines.append(escape(status["message"]))
    if status["instruction"]:
        lines.append(f"instruction: [italic]{escape(status['instruction'])}[/italic]")
    lines += figures(status["quality"])
    lines += [f"[yellow]to look at: {escape(finding)}[/yellow]" for finding in status["findings"][:_FINDINGS]]
    if len(status["findings"]) > _FINDINGS:
        lines.append(f"[yellow]and {len(status['findings']) - _FINDINGS} more[/yellow]")
    if not status["findings"] and status["messages"]:
        lines.append("[green]nothing to object to[/green]")
    if answer:
        lines.append(f"[cyan]{escape(answer)}[/cyan]")
    if reader is not None:
        lines.append(
            f"[bold]{reader.pending}:[/bold] {escape(reader.text)}▏ [dim](Enter; Esc: not)[/dim]"
            if reader.pending
            else f"[dim]{_HELP}[/dim]"
        )
    # Last: a low terminal shows the beginning.
    lines.append(topics_table(status["quality"]))
    return Panel(Group(*lines), title="recorder", title_align="left")
