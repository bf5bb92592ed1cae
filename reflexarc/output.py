"""Where results and progress go: tables for people, one JSON document for machines."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import itertools
import json as json_library
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from hardware.errors import ConfigError

# Characters in a line of a file, and seconds between two lines of progress in it.
_FILE_WIDTH, _TELL_S = 160, 10.0
# Called with (done, total); both count the same thing.
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Output:
    """Prints results on standard output, progress on standard error."""

    # Whether standard output carries JSON alone.
    json: bool = False

    @functools.cached_property
    def console(self) -> Console:
        """Where text for people goes: standard output, or standard error beside JSON."""
        from rich.console import Console

        console = Console(stderr=self.json, highlight=False)
        if not console.is_terminal and not os.environ.get("COLUMNS"):
            # A file or a pipe has no edge at which a table would have to be cut.
            console.width = _FILE_WIDTH
        return console

    def result(self, document: Mapping[str, Any]) -> None:
        """Print the result for machines; nothing without `--json`."""
        if self.json:
            print(to_json(document), flush=True)

    def log(self, line: str) -> None:
        """Print one line of progress on standard error, above the bar where there is one."""
        if self._bars:
            self._bars[-1].console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    @functools.cached_property
    def _bars(self) -> list[Any]:
        return []

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Progress]:
        """Tell on standard error how far the block is: by a bar, or by lines where there is no terminal.

        Args:
            text: what is going on.

        Yields:
            A function to call with the number done and the number in all.
        """
        if not sys.stderr.isatty():
            yield self._lines(text)
            return
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(text, total=None)
            self._bars.append(bars)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total)
            finally:
                self._bars.remove(bars)

    def _lines(self, text: str) -> Progress:
        """Tell in lines, now and then: such a file is looked at to see whether something still goes on."""
        told_s = time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal told_s
            now_s = time.monotonic()
            if now_s - told_s >= _TELL_S:
                told_s = now_s
                self.log(f"{text}: {done} of {total}")

        return tell


def to_json(document: Mapping[str, Any]) -> str:
    """Write a document as JSON; numbers that are not finite become null."""
    return json_library.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def error_findings(error: ConfigError) -> Sequence[ConfigError]:
    """The single findings of an error."""
    from hardware.errors import ConfigErrors

    return error.findings if isinstance(error, ConfigErrors) else (error,)


def error_document(error: ConfigError, exit_code: int) -> dict[str, Any]:
    """Describe bad input to machines."""
    return {
        "ok": False,
        "exit_code": exit_code,
        "errors": [
            {"what": e.what, "where": e.where, "expected": e.expected, "mend": e.mend}
            for e in error_findings(error)
        ],
    }


def error_block(error: ConfigError, *, colour: bool) -> str:
    """Describe bad input to people: one block; findings that differ in the fault alone share the rest.

    Args:
        error: what is wrong.
        colour: whether the terminal shows colours.

    Returns:
        The text, without a final line break.
    """
    bold, red, plain = ("\033[1m", "\033[1;31m", "\033[0m") if colour else ("", "", "")
    lines: list[str] = []
    for (where, expected, mend), alike in itertools.groupby(
        error_findings(error), key=lambda e: (e.where, e.expected, e.mend)
    ):
        lines += [f"{red}error:{plain} {bold}{e.what}{plain}" for e in alike]
        lines += [f"  where     {where}", f"  expected  {expected}", f"  to mend   {mend}"]
    return "\n".join(lines)


def shows_colour(stream: Any) -> bool:  # noqa: ANN401
    """Whether a stream is a terminal whose user has not switched colours off."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value - value != 0.0:
        return None
    return value
