"""`reflexarc teleop`: give a running robot an operator, or look at the one that it has."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from reflexarc.imports import add_ros_package
from reflexarc.output import Output
from reflexarc.up import stop_by_signal

if TYPE_CHECKING:
    from rich.table import Table

    from reflexarc.teleop_client import TeleopClient

_POLL_S = 0.1
_STOP_S = 8.0
# How long to look for an operator that is there already, seconds.
_LOOK_S = 1.5
# Every key of the status that a person should see, with its words.
_ROWS = {
    "state": "state",
    "message": "",
    "address": "page",
    "device": "device",
    "mapping": "mapping",
    "link_age_ms": "link age, ms",
}
_COLOURS = {"engaged": "bold green", "ready": "cyan", "lost": "yellow", "stopped": "bold red"}


@dataclass(frozen=True)
class TeleopConfig:
    """Who moves what."""

    # A device (keyboard, terminal, gamepad, spacemouse, browser, so101_leader) or the YAML file of a mapping;
    # without one, the operator that the robot has is shown.
    device: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DEVICE]", help_behavior_hint="")
    ] = None
    # Options of the device as JSON; they win over those of the mapping.
    options: str = "{}"
    # The robot's namespace; none: the only robot there is in this ROS domain.
    namespace: str = ""
    # Release the latched emergency stop and end; whoever commands may move the robot again.
    release_stop: bool = False
    # End after so long, seconds; 0: with Ctrl-C.
    seconds: float = 0.0
    # How long to look for the robot, seconds.
    search_s: float = 5.0


def run(config: TeleopConfig, output: Output) -> int:
    """Teleoperate until Ctrl-C, or show who does.

    Args:
        config: who moves what.
        output: where the state goes.

    Returns:
        0; 1 when the operator's node ended by itself, or the stop was not released.

    Raises:
        ConfigError: no robot, a mapping that does not fit it, or nobody to be shown; nothing has moved then.
    """
    add_ros_package()
    from reflexarc_ros.bringup import environment

    os.environ.update(environment())
    from reflexarc.teleop_client import TeleopClient

    with TeleopClient(config.namespace, search_s=config.search_s) as client:
        if config.release_stop:
            return _release(client, output)
        with stop_by_signal(), _operator(config, client) as process:
            failed = _watch(config, client, process, output)
        output.result(
            {"ok": not failed, "robot": client.namespace, "failed": failed, "status": dict(client.status)}
        )
    return 1 if failed else 0


def _release(client: TeleopClient, output: Output) -> int:
    is_released, words = client.release_stop()
    output.result({"ok": is_released, "robot": client.namespace, "message": words})
    if not output.json:
        output.console.print(f"{client.namespace}: {words}", markup=False)
    return 0 if is_released else 1


@contextlib.contextmanager
def _operator(config: TeleopConfig, client: TeleopClient) -> Iterator[subprocess.Popen[bytes] | None]:
    """Start teleop_node beside the system, where it is not part of it; gives its process."""
    from hardware.errors import ConfigError

    # Of the others in a graph, some are found a little later.
    has_operator = client.wait_for_operator(config.search_s if config.device is None else _LOOK_S)
    if config.device is None and not has_operator:
        raise ConfigError(
            f"nobody teleoperates {client.namespace}",
            where="reflexarc teleop",
            expected="a device",
            mend="name one: reflexarc teleop keyboard",
        )
    if config.device is not None and has_operator:
        raise ConfigError(
            f"{client.namespace} has an operator already",
            where=f"reflexarc teleop {config.device}",
            expected="one operator a robot",
            mend="leave the device out to see who it is, or end the other one",
        )
    if config.device is None:
        yield None
        return
    parameters = client.parameters(config.device, config.options)
    process = _start(client.namespace, parameters, keeps_terminal=config.device.startswith("terminal"))
    try:
        client.activate(lambda: process.poll() is None)
        yield process
    finally:
        # On purpose: the gate is told, and takes the end of the link for no accident.
        with contextlib.suppress(KeyboardInterrupt):
            if process.poll() is None:
                client.deactivate()
            _end(process)


def _start(namespace: str, parameters: Mapping[str, Any], *, keeps_terminal: bool) -> subprocess.Popen[bytes]:
    from reflexarc_ros.bringup import PACKAGE, NodeSpec, parameter_words
    from reflexarc_ros.start import PARENT_VARIABLE

    spec = NodeSpec(PACKAGE, "teleop_node", "teleop_node", namespace, parameters)
    return subprocess.Popen(
        [sys.executable, "-m", f"{PACKAGE}.start", spec.executable, "--ros-args", "--log-level", "warn"]
        + ["-r", f"__node:={spec.name}", "-r", f"__ns:={namespace}", *parameter_words(spec)],
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
        # Ctrl-C is for us, who let the node go in order; one that reads the terminal has to be in front.
        process_group=None if keeps_terminal else 0,
        stdout=2,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)


def _watch(
    config: TeleopConfig,
    client: TeleopClient,
    process: subprocess.Popen[bytes] | None,
    output: Output,
) -> str:
    """Show the state until the end; gives why it ended by itself, or nothing."""
    from rich.live import Live

    deadline_s = time.monotonic() + config.seconds if config.seconds else None
    shows = output.console.is_terminal and not output.json
    told = ""
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(Live(console=output.console, refresh_per_second=8)) if shows else None
        try:
            while deadline_s is None or time.monotonic() < deadline_s:
                if process is not None and process.poll() is not None:
                    return f"teleop_node ended with exit code {process.returncode}"
                status = client.status
                line = f"{status.get('state', 'unknown')}: {status.get('message', 'no word yet')}"
                if live is not None:
                    live.update(_table(client.namespace, status))
                elif line != told:
                    told = line
                    output.log(" ".join((line, status.get("address", ""))).strip())
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            pass
    return ""


def _table(namespace: str, status: Mapping[str, str]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title_justify="left", title=namespace)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, words in _ROWS.items():
        value = status.get(key, "")
        style = _COLOURS.get(value, "") if key == "state" else ""
        if value:
            table.add_row(words, f"[{style}]{escape(value)}[/]" if style else escape(value))
    table.add_row("", "[dim]Ctrl-C ends it; the robot holds[/dim]")
    return table
