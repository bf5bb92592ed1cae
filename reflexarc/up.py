"""`reflexarc up`: run a system's description with the wheels alone, with prefixed logs and a one-key stop."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

import tyro

from reflexarc.imports import add_ros_package
from reflexarc.output import Output, shows_colour

# Bright enough on black and on white; red and yellow are left for errors and warnings.
_COLOURS = (36, 35, 32, 34, 96, 95, 92, 94)
_LEVELS = {"[ERROR]": 31, "[FATAL]": 31, "[WARN]": 33}


@dataclass(frozen=True)
class UpConfig:
    """What to bring up."""

    # A system; without one, the systems and their arguments are listed.
    name: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SYSTEM]", help_behavior_hint="")
    ] = None
    # Its arguments, as for `ros2 launch`.
    arguments: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME:=VALUE ...]", help_behavior_hint=""),
    ] = ()


def run(config: UpConfig, output: Output) -> int:
    """Bring a system up until it is stopped, or list the systems.

    Args:
        config: what to bring up.
        output: where logs go.

    Returns:
        0 after a stop that was asked for, 1 when the system ended by itself.

    Raises:
        ConfigError: an unknown system or argument, a card with faults, a policy that does not fit, an
            rclpy that cannot load, an RMW_IMPLEMENTATION that is not there, busy ports; no process has
            started then.
    """
    from reflexarc.checks import ports, ros

    add_ros_package()
    bringup = importlib.import_module("reflexarc_ros.bringup")
    if config.name is None:
        _list_systems(bringup.SYSTEMS, output)
        return 0
    arguments = bringup.parse_arguments(config.name, config.arguments)
    names = [spec.name for spec in bringup.nodes(config.name, arguments)]
    # Nodes load rclpy and take ports in processes of their own; looked at here, before any of them starts,
    # what is wrong gives one clear error.
    ros.require_rmw(os.environ)
    importlib.import_module("rclpy")
    ports.require_ports(os.environ, ports.read_listeners())
    runner = importlib.import_module("reflexarc_ros.runner")
    log = Log(names, output, colour=shows_colour(sys.stdout))
    with stop_by_signal(), stop_by_key() as has_key:
        log("reflexarc", f"{config.name}: {', '.join(names)}; {'q or ' if has_key else ''}Ctrl-C stops")
        code = int(runner.run_system(config.name, arguments, on_line=log))
    if output.json:
        print(json.dumps({"exit_code": code}), flush=True)
    return code


class Log:
    """Prints the lines of several nodes, each with the name of its node before it.

    Args:
        names: the nodes; the longest name decides the width.
        output: says whether lines are JSON.
        colour: whether the terminal shows colours.
    """

    def __init__(self, names: Sequence[str], output: Output, *, colour: bool) -> None:
        """Give every node its colour."""
        self._json = output.json
        self._colour = colour
        self._width = max((len(name) for name in (*names, "reflexarc")), default=0)
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._lock = threading.Lock()

    def __call__(self, node: str, line: str) -> None:
        """Print one line; several threads may call."""
        with self._lock:
            print(self.format(node, line), flush=True)

    def format(self, node: str, line: str) -> str:
        """Compose one line.

        Args:
            node: who says it.
            line: what is said, without a line break.

        Returns:
            The line as it is printed.
        """
        if self._json:
            return json.dumps({"node": node, "line": line}, ensure_ascii=False)
        prefix = f"{node:>{self._width}} |"
        if not self._colour:
            return f"{prefix} {line}"
        level = next((code for mark, code in _LEVELS.items() if mark in line), None)
        text = line if level is None else f"\033[{level}m{line}\033[0m"
        return f"\033[{self._colours.get(node, 1)}m{prefix}\033[0m {text}"


@contextlib.contextmanager
def stop_by_signal() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop the system in the orderly way of Ctrl-C, while the block runs."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_by_key(key: str = "q") -> Iterator[bool]:
    """Turn a key into Ctrl-C while the block runs, where standard input is a terminal.

    Args:
        key: the key.

    Yields:
        Whether keys are watched.
    """
    if not sys.stdin.isatty():
        yield False
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    # A process in the background must not touch the terminal: it would be stopped.
    if os.getpgrp() != os.tcgetpgrp(terminal):
        yield False
        return
    before = termios.tcgetattr(terminal)
    done_read, done_write = os.pipe()

    waiting = select.poll()
    waiting.register(terminal, select.POLLIN)
    waiting.register(done_read, select.POLLIN)

    def watch() -> None:
        while True:
            ready = dict(waiting.poll())
            if done_read in ready or ready.get(terminal, 0) & (select.POLLHUP | select.POLLERR):
                return
            if key in os.read(terminal, 64).decode("utf-8", "replace").lower():
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, name="key-watcher", daemon=True)
    tty.setcbreak(terminal)
    # Ctrl-C also drops keys that wait to be read: a read must then give nothing, not wait for the next key.
    mode = termios.tcgetattr(terminal)
    mode[6][termios.VMIN] = 0
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
    watcher.start()
    try:
        yield True
    finally:
        os.write(done_write, b".")
        watcher.join()
        os.close(done_read)
        os.close(done_write)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _list_systems(systems: Mapping[str, Any], output: Output) -> None:
    output.result(
        {
            "systems": [
                {"name": name, "description": system.description, "arguments": system.arguments}
                for name, system in systems.items()
            ]
        }
    )
    if output.json:
        return
    from rich.markup import escape
    from rich.table import Table

    for name, system in systems.items():
        output.console.print(f"[bold]{escape(name)}[/bold]  {escape(system.description)}")
        table = Table(box=None, pad_edge=True, show_header=False, padding=(0, 1, 0, 2))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column()
        for argument in system.arguments:
            text = escape(argument.description)
            if argument.choices:
                text += f" [dim]One of {escape(', '.join(argument.choices))}.[/dim]"
            if argument.default:
                text += f" [dim]Default: {escape(argument.default)}.[/dim]"
            table.add_row(f"{argument.name}:=", text)
        output.console.print(table)
        output.console.print()
    output.console.print("Start one: [bold]reflexarc up NAME ARGUMENT:=VALUE ...[/bold]")
