"""`reflexarc record`: start a system that records, or join one, and sit at its keys."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from reflexarc.imports import add_ros_package
from reflexarc.output import Output
from reflexarc.up import Log, stop_by_signal

if TYPE_CHECKING:
    from reflexarc.record_client import RecorderClient

_POLL_S = 0.05
_RESERVE_BYTES = 256_000_000
# Judged episodes: how long after the solution they end, how long after the end of their time the recorder
# ends them by itself, and how often the twin is asked.
_TAIL_S, _GRACE_S, _ASK_S = 0.5, 5.0, 0.1
# How long a system may take to come up, and to begin a new episode.
_COME_UP_S, _TURN_OVER_S = 120.0, 60.0
# What only the system that is brought up can be told.
_OF_SYSTEMS = ("operator", "thresholds", "calibration", "exclude")


@dataclass(frozen=True)
class RecordConfig:
    """What to record."""

    # A system to bring up; without one, a recorder that runs already is joined.
    name: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SYSTEM]", help_behavior_hint="")
    ] = None
    # The system's arguments, as for `reflexarc up`.
    arguments: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME:=VALUE ...]", help_behavior_hint=""),
    ] = ()
    # Folder for the episodes; they are numbered after those that are there.
    out: Path = Path("recordings")
    # How many episodes to record one after the other, each from a fresh start of the robot; 0: by hand.
    episodes: int = 0
    # Longest episode, seconds; 0: no limit.
    seconds: float = 0.0
    # Whether the twin judges: an episode ends with success half a second after its task is solved, or with
    # failure when the time is over. With --episodes.
    judged: bool = False
    # What is to be done, as a short name, and in words.
    task: str = ""
    instruction: str = ""
    # Who moves the robot; none: the device or the policy.
    operator: str = ""
    # From where on an episode is marked, as JSON, e.g. '{"max_idle_share": 0.5}'; what is not named keeps its
    # default.
    thresholds: str = "{}"
    # Files that go into the episodes as they are: calibration and the like.
    calibration: tuple[Path, ...] = ()
    # Topics that are not recorded, absolute or relative to the robot's namespace.
    exclude: tuple[str, ...] = ()
    # Whether to serve the status page for browsers, on this machine alone.
    page: bool = True
    # Joining: the robot's namespace; none: the only recorder there is.
    namespace: str = ""
    # Joining: how long to look for it, seconds.
    search_s: float = 5.0


@dataclass
class Recorded:
    """What was recorded."""

    # The folder, as the recorder names it.
    folder: Path
    # Number, messages, length in seconds, outcome and findings of each episode.
    episodes: list[dict[str, Any]] = field(default_factory=list)
    # Why the recording ended early; none: it did not.
    failed: str | None = None


def run(config: RecordConfig, output: Output) -> int:
    """Record until all episodes are there, or until somebody ends it.

    Args:
        config: what to record.
        output: where the status goes.

    Returns:
        0; 1 when the system or the recorder failed.

    Raises:
        ConfigError: as `reflexarc up`, a disk without room, or nothing to join; nothing has moved then.
    """
    _check(config)
    add_ros_package()
    bringup = importlib.import_module("reflexarc_ros.bringup")
    os.environ.update(bringup.environment())
    made = Recorded(config.out)
    with stop_by_signal(), contextlib.suppress(KeyboardInterrupt):
        with _system(config, bringup, output) as (is_alive, namespace):
            from reflexarc.record_client import RecorderClient

            search_s = config.search_s if config.name is None else _COME_UP_S
            with RecorderClient(namespace, search_s=search_s, is_alive=is_alive) as client:
                _record(config, client, is_alive, made, output)
    _tell(made, output)
    return 0 if made.failed is None else 1


def _check(config: RecordConfig) -> None:
    from hardware.errors import ConfigError

    if config.episodes < 0 or config.seconds < 0:
        raise ConfigError(
            f"--episodes {config.episodes} --seconds {config.seconds:g}",
            where="reflexarc record",
            expected="numbers of zero or more",
            mend="correct the number",
        )
    if config.episodes and not config.name:
        raise ConfigError(
            "--episodes without a system",
            where="reflexarc record",
            expected="a system whose robot can begin anew",
            mend="name the system, or leave --episodes out",
        )
    given = [name for name in _OF_SYSTEMS if getattr(config, name) != getattr(RecordConfig, name)]
    if given and not config.name:
        raise ConfigError(
            f"--{given[0]} without a system",
            where="reflexarc record",
            expected="a system to bring up: a recorder that runs already has its own",
            mend="name the system, or leave it out",
        )
    if config.judged and not config.episodes:
        raise ConfigError(
            "--judged without --episodes",
            where="reflexarc record",
            expected="episodes that follow each other by themselves",
            mend="add --episodes and --seconds, or judge with the keys y and f",
        )
    if config.episodes and not config.seconds:
        raise ConfigError(
            f"--episodes {config.episodes} without --seconds",
            where="reflexarc record",
            expected="how long an episode may take at most",
            mend="add --seconds",
        )


@contextlib.contextmanager
def _system(
    config: RecordConfig,
    bringup: Any,  # noqa: ANN401
    output: Output,
) -> Iterator[tuple[Callable[[], bool], str]]:
    """Bring the system up, where one is named; gives whether it lives, and where the recorder is."""
    if config.name is None:
        yield (lambda: True), config.namespace
        return
    from hardware.cards import load_robot_card
    from recording.folder import forecast

    arguments = {
        **bringup.parse_arguments(config.name, config.arguments),
        "record": str(config.out),
        "record_begin": "activation" if config.episodes else "request",
        "record_seconds": f"{config.seconds + (_GRACE_S if config.judged else 0.0):g}",
        "record_page": "0" if config.page else "-1",
        "task": config.task,
        "instruction": config.instruction,
        "operator": config.operator,
        "record_thresholds": config.thresholds,
        "record_calibration": ",".join(map(str, config.calibration)),
        "record_exclude": ",".join(config.exclude),
    }
    specs = bringup.nodes(config.name, arguments)
    recorder = next(spec for spec in specs if spec.name == "recorder_node")
    plan_s = config.episodes * config.seconds or None
    room = forecast(
        config.out,
        load_robot_card(recorder.parameters["card"]),
        reserve_bytes=_RESERVE_BYTES,
        duration_s=plan_s,
        with_cameras=arguments.get("cameras") != "false",
    )
    room.check(config.out)
    importlib.import_module("rclpy")
    runner = importlib.import_module("reflexarc_ros.runner")
    log = Log([spec.name for spec in specs], output, colour=False)
    lines: list[str] = []

    def on_line(node: str, line: str) -> None:
        text = log.format(node, line)
        lines.append(text)
        if "[ERROR]" in line or "[FATAL]" in line or "status page:" in line:
            output.log(text)

    with runner.SystemRunner(config.name, arguments, on_line=on_line) as system:
        try:
            yield (lambda: bool(system.is_running)), recorder.namespace
        finally:
            if system.failed is not None:
                output.log("\n".join(lines[-20:]))


def _record(
    config: RecordConfig,
    client: RecorderClient,
    is_alive: Callable[[], bool],
    made: Recorded,
    output: Output,
) -> None:
    """Watch the recorder, pass keys on, and begin the next episode, until the end."""
    from rich.console import Console
    from rich.live import Live

    from reflexarc.record_screen import KeyReader, read_keys, screen

    answers = [""]

    def ask(request: str, text: str) -> None:
        _, answers[0] = client.ask(request, text)

    keys = KeyReader(ask)
    plan = f"{config.episodes} episodes" if config.episodes else ""
    watch = _Watch(config, client, made)
    shows = sys.stderr.isatty() and not output.json
    console = Console(stderr=True)
    with read_keys(keys) as has_keys, contextlib.ExitStack() as stack:
        live = stack.enter_context(Live(console=console, refresh_per_second=8)) if shows else None
        while not keys.wants_to_quit and not watch.is_done:
            if not is_alive():
                made.failed = "the system ended"
                return
            line = watch.look()
            if line and live is None:
                output.log(line)
            if live is not None:
                reader = keys if has_keys else None
                live.update(screen(client.status, answer=answers[0], reader=reader, plan=plan))
            time.sleep(_POLL_S)
        if client.status.get("state") == "recording":
            client.ask("stop")
            watch.wait_until_idle()


class _Watch:
    """Notices episodes that end, and begins the next one where there is a plan."""

    def __init__(self, config: RecordConfig, client: RecorderClient, made: Recorded) -> None:
        self._config, self._client, self._made = config, client, made
        self._finished = 0
        self._waits_since_s: float | None = None
        # Since when the open episode runs, since when its task is solved, and when the twin was last asked
        # (steady clock, seconds).
        self._runs_since_s: float | None = None
        self._solved_since_s: float | None = None
        self._asked_s = 0.0
        # Whether all episodes are there, or no more will come.
        self.is_done = False

    def look(self) -> str:
        """Look at the status once; gives a line about an episode that has just ended, else nothing."""
        status = self._client.status
        if not status:
            return ""
        if status["state"] == "failed":
            self._made.failed = status["message"]
            self.is_done = True
            return str(status["message"])
        line = ""
        if status["finished"] > self._finished and status["state"] == "idle":
            self._finished = status["finished"]
            line = self._keep(status)
        self._plan(status)
        return line

    def wait_until_idle(self) -> None:
        """Wait for the last episode."""
        deadline_s = time.monotonic() + _TURN_OVER_S
        while time.monotonic() < deadline_s:
            self.look()
            if self._client.status.get("state") != "recording":
                return
            time.sleep(_POLL_S)

    def _keep(self, status: Mapping[str, Any]) -> str:
        self._made.folder = Path(status["folder"])
        episode = {
            "number": status["episode"],
            "messages": status["messages"],
            "duration_s": status["duration_s"],
            "size_bytes": status["size_bytes"],
            "outcome": status["outcome"],
            "ended": status["message"],
            "findings": list(status["findings"]),
        }
        self._made.episodes.append(episode)
        marked = f"; to look at: {'; '.join(episode['findings'])}" if episode["findings"] else ""
        return (
            f"episode {episode['number']}: {episode['duration_s']:.1f} s, {episode['messages']} messages,"
            f" {episode['size_bytes'] * 1e-6:.1f} MB{marked}"
        )

    def _plan(self, status: Mapping[str, Any]) -> None:
        if not self._config.episodes:
            return
        if self._finished >= self._config.episodes:
            self.is_done = True
        elif status["state"] == "recording":
            self._waits_since_s = None
            if self._config.judged:
                self._judge()
        elif self._waits_since_s is None:
            self._waits_since_s = time.monotonic()
            self._runs_since_s = self._solved_since_s = None
            if self._finished:
                self._client.call("supervisor_node/new_episode")
        elif time.monotonic() - self._waits_since_s > _TURN_OVER_S:
            self._made.failed = f"no new episode within {_TURN_OVER_S:g} s"
            self.is_done = True

    def _judge(self) -> None:
        """Ask the twin whether its task is solved, and end the episode when that, or the time, says so."""
        now_s = time.monotonic()
        if self._runs_since_s is None:
            self._runs_since_s = now_s
        if self._solved_since_s is None and now_s - self._asked_s >= _ASK_S:
            self._asked_s = now_s
            if self._client.call("robot_node/task")[0]:
                self._solved_since_s = now_s
        if self._solved_since_s is not None and now_s - self._solved_since_s >= _TAIL_S:
            self._client.ask("success")
        elif self._solved_since_s is None and now_s - self._runs_since_s >= self._config.seconds:
            self._client.call("recorder_node/failure")


def _tell(made: Recorded, output: Output) -> None:
    output.result(
        {
            "ok": made.failed is None,
            "folder": made.folder,
            "episodes": made.episodes,
            "failed": made.failed,
        }
    )
    if not output.json:
        marked = sum(bool(episode["findings"]) for episode in made.episodes)
        output.console.print(
            f"{len(made.episodes)} episodes in {made.folder}, {marked} to look at", markup=False
        )
        if made.failed is not None:
            output.console.print(made.failed, style="red", markup=False)
