"""Shows the stages one after the other, then draws, films and writes the report."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflexarc_ros.bringup import environment, nodes
from reflexarc_ros.domain import OwnDomain
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from hardware.errors import ConfigError
from reflexarc.demos import arm, quadrotor
from reflexarc.demos.judge import arm_figures, flight_figures, judge_arm, judge_flight
from reflexarc.demos.plan import plan_arm, plan_flight
from reflexarc.demos.progress import Display
from reflexarc.demos.stage import StageError
from reflexarc.demos.summary import Outcome, Run, now_iso, summarise
from reflexarc.report import build
from reflexarc.report.pieces import Media, bounds_text, figure_text
from sim.worlds.render import choose_backend

if TYPE_CHECKING:
    from reflexarc.demo import DemoConfig

_TITLES = {"quadrotor": "Quadrotor", "arm": "Arm"}
_VERDICTS = {
    True: "[bold green]passed[/bold green]",
    False: "[bold red]failed[/bold red]",
    None: "[dim]not flown[/dim]",
}
# Where the start of a process stands in /proc/<pid>/stat, counted behind its name, in ticks since boot.
_START_FIELD = 19


class Show:
    """One run of the demo.

    Args:
        config: what to show.

    Raises:
        ConfigError: something is missing or does not fit; nothing has started then.
    """

    def __init__(self, config: DemoConfig) -> None:
        """Check everything that can be checked before anything moves."""
        self._config = config
        self._console = Console(highlight=False)
        self._flight_plan, self._arm_plan = plan_flight(config.seconds), plan_arm(config.seconds)
        self._view = not config.headless and _has_display()
        choose_backend(os.environ)
        os.environ.update(environment())
        self._out = _make_folder(config.out)
        self._data = _make_folder(config.out / "data")
        checks: dict[str, Callable[[], Any]] = {
            "quadrotor": lambda: nodes(
                "quadrotor", quadrotor.system_arguments(self._flight_plan, self._data, view=self._view)
            ),
            "arm": lambda: nodes("arm", arm.system_arguments(self._data, view=self._view)),
        }
        for name in config.stages:
            checks[name]()

    def run(self) -> int:
        """Show the stages and write the report.

        Returns:
            0 when all stages passed, else 1.
        """
        if not (self._config.headless or self._view):
            self._console.print("[dim]no display: going on without a window[/dim]")
        started, began_s = now_iso(), time.monotonic()
        with OwnDomain() as domain:
            self._console.print(f"[dim]to watch along: export ROS_DOMAIN_ID={domain.id}[/dim]")
            run = Run(self._config.seconds, started, 0.0, ())
            for name in self._config.stages:
                run = self._quadrotor(run, domain.id) if name == "quadrotor" else self._arm(run, domain.id)
        run = dataclasses.replace(run, duration_s=time.monotonic() - began_s)
        report = self._write(run)
        self._conclude(run, report)
        return 0 if run.passed else 1

    # --- the stages --------------------------------------------------------------------------

    def _quadrotor(self, run: Run, domain_id: int) -> Run:
        outcome, began_s = Outcome("quadrotor", _TITLES["quadrotor"]), time.monotonic()
        try:
            with Display(outcome.title, self._console) as display:
                record = quadrotor.fly(
                    self._flight_plan,
                    folder=self._data,
                    domain_id=domain_id,
                    display=display,
                    view=self._view,
                    since_start_s=_seconds_since_start,
                )
            figures = flight_figures(record)
            outcome = dataclasses.replace(outcome, checks=judge_flight(figures))
            run = dataclasses.replace(run, flight=record, flight_figures=figures)
        except StageError as error:
            outcome = self._failed(outcome, error)
        return _with_outcome(run, outcome, began_s)

    def _arm(self, run: Run, domain_id: int) -> Run:
        outcome, began_s = Outcome("arm", _TITLES["arm"]), time.monotonic()
        try:
            with Display(outcome.title, self._console) as display:
                record = arm.pick(
                    self._arm_plan,
                    folder=self._data,
                    domain_id=domain_id,
                    display=display,
                    view=self._view,
                )
            figures = arm_figures(record)
            outcome = dataclasses.replace(outcome, checks=judge_arm(figures))
            run = dataclasses.replace(run, arm=record, arm_figures=figures)
        except StageError as error:
            outcome = self._failed(outcome, error)
        return _with_outcome(run, outcome, began_s)

    def _failed(self, outcome: Outcome, error: StageError) -> Outcome:
        self._console.print(f"  [bold red]stopped early:[/bold red] {error.what}", markup=True)
        for line in error.log:
            self._console.print(f"    {line}", style="dim", markup=False)
        return dataclasses.replace(outcome, error=error.what, log=error.log)

    # --- the report --------------------------------------------------------------------------

    def _write(self, run: Run) -> Path:
        self._console.print("[bold]Report[/bold]")
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as bars:
            plots = build.draw(run, self._out / "plots")
            films = build.film(
                run,
                self._out,
                {name: _bar(bars, f"film of the {title.lower()}") for name, title in _TITLES.items()},
            )
        return build.write(run, summarise(run), Media(plots, films), self._out)

    def _conclude(self, run: Run, report: Path) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
        for title in ("", "measured", "must be", ""):
            table.add_column(title)
        for outcome in run.outcomes:
            for check in outcome.checks:
                measured = figure_text(check.value, check.unit)
                table.add_row(check.title, measured, bounds_text(check), _VERDICTS[check.passed])
        self._console.print(table)
        line = f"{_VERDICTS[run.passed]} in {_seconds_since_start():.0f} s: [bold]{report.resolve()}[/bold]"
        self._console.print(line, soft_wrap=True)


def _with_outcome(run: Run, outcome: Outcome, began_s: float) -> Run:
    outcome = dataclasses.replace(outcome, wall_s=time.monotonic() - began_s)
    return dataclasses.replace(run, outcomes=(*run.outcomes, outcome))


def _bar(bars: Progress, text: str) -> build.Progress:
    task: list[Any] = []

    def show(done: int, total: int) -> None:
        if not task:
            task.append(bars.add_task(text, total=total))
        bars.update(task[0], completed=done)

    return show


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder cannot be made ({error})",
            where=f"--out {path}",
            expected="a path where a folder is or can be made",
            mend="give another folder",
        ) from error
    return path


def _seconds_since_start(proc: Path = Path("/proc/self/stat")) -> float:
    """How long ago the user's command was started, by the kernel's account."""
    fields: Sequence[str] = proc.read_text(encoding="utf-8").rpartition(")")[2].split()
    started_s = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
