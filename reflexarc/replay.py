"""`reflexarc replay`: do a policy's run again from its journal, and compare every command bit for bit."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from reflexarc.output import Output

if TYPE_CHECKING:
    from policies.runtime.replay import ReplayReport


@dataclass(frozen=True)
class ReplayConfig:
    """Which run to do again."""

    # The journal that policy_node wrote.
    journal: Annotated[Path, tyro.conf.Positional]
    # The policy that flew, where it lies elsewhere now: METHOD/NAME, a policy folder or a controller file.
    policy: str | None = None


def run(config: ReplayConfig, output: Output) -> int:
    """Do a run again.

    Args:
        config: which one.
        output: where the result goes.

    Returns:
        0 when every command came out bit for bit; 1 otherwise.

    Raises:
        ConfigError: no such journal, or cards, weights or schedule that are not those of the run.
    """
    from policies.runtime.journal_file import JournalReader
    from policies.runtime.replay import load_for, replay
    from reflexarc.eval import find_policy

    journal = JournalReader(config.journal)
    policy = str(find_policy(config.policy)) if config.policy is not None else None
    controller = load_for(journal, policy, steady_clock=time.monotonic_ns)
    try:
        report = replay(journal, controller)
    finally:
        controller.close()
    output.result({"ok": report.is_identical, "journal": str(config.journal), **asdict(report)})
    if not output.json:
        _show(report, output)
    return 0 if report.is_identical else 1


def _show(report: ReplayReport, output: Output) -> None:
    console = output.console
    console.print(
        f"{report.steps} steps, {report.commands} commands, {report.refusals} refusals"
        + ("" if report.is_complete else "; the journal was cut short and is replayed as far as it goes")
    )
    if report.is_identical:
        console.print("[bold]every command is the same, bit for bit[/bold]")
    else:
        console.print(f"[bold]{report.differences} steps differ[/bold]; the first:")
        console.print(report.first_difference, markup=False)
