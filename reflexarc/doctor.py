"""`reflexarc doctor`: run the checks, show what they found and how to mend it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from reflexarc.output import Output

if TYPE_CHECKING:
    from reflexarc.checks.finding import Finding

_ROOT = Path(__file__).parents[1]

CHECKS = (
    "machine",
    "clocks",
    "realtime",
    "shared-memory",
    "python",
    "wheels",
    "rclpy",
    "dds",
    "debian",
    "rendering",
    "display",
    "cards",
    "bindings",
    "ports",
    "processes",
)


@dataclass(frozen=True)
class DoctorConfig:
    """What to look at."""

    # Names of checks; none: all of them.
    only: tuple[str, ...] = ()
    # Print the commands that mend the findings, one a line, to copy into a shell.
    fix_hints: bool = False
    # The folder of the robot cards.
    robots: Annotated[Path, tyro.conf.arg(help_behavior_hint="(default: the cards of this installation)")] = (
        _ROOT / "hardware" / "cards"
    )
    # The folder that holds policy folders, as METHOD/NAME.
    policies: Annotated[
        Path, tyro.conf.arg(help_behavior_hint="(default: the policies of this installation)")
    ] = _ROOT / "policies"


def run(config: DoctorConfig, output: Output) -> int:
    """Run the checks.

    Args:
        config: what to look at.
        output: where the findings go.

    Returns:
        0 when no check failed, else 1.

    Raises:
        ConfigError: there is no check of a name that was asked for.
    """
    from reflexarc.checks.finding import Level
    from reflexarc.machine import describe_machine

    names = _chosen(config.only)
    findings: list[tuple[str, Finding]] = []
    with output.progress("checking") as advance:
        for done, name in enumerate(names):
            advance(done, len(names))
            findings += [(name, finding) for finding in run_check(name, config)]
    counts = {level.value: sum(f.level is level for _, f in findings) for level in Level}
    is_ok = not counts[Level.FAIL]
    machine = describe_machine()
    output.result(
        {
            "ok": is_ok,
            "counts": counts,
            "machine": machine,
            "findings": [_document(name, finding) for name, finding in findings],
        }
    )
    if not output.json:
        _show(findings, output, machine.line, fix_hints=config.fix_hints)
    return 0 if is_ok else 1


def run_check(name: str, config: DoctorConfig) -> list[Finding]:
    """Run one check.

    Args:
        name: one of `CHECKS`.
        config: what to look at.

    Returns:
        What it found; a check that breaks is a finding too.
    """
    from reflexarc.checks.finding import fail

    try:
        return list(_make_check(name, config)())
    except Exception as error:
        return [
            fail(
                name,
                f"The check itself broke: {type(error).__name__}: {error}",
                f"report this with the output of `reflexarc doctor --json --only {name}`",
            )
        ]


def _make_check(name: str, config: DoctorConfig) -> Callable[[], Sequence[Finding]]:
    """Join a check with what it looks at on this machine."""
    from reflexarc.checks import clocks, debian, graphics, ports, processes, ros, shared_memory, wheels
    from reflexarc.checks.machine import check_machine
    from reflexarc.machine import describe_machine

    checks: dict[str, Callable[[], Sequence[Finding]]] = {
        "machine": lambda: check_machine(describe_machine()),
        "clocks": lambda: clocks.check_clocks(clocks.measure_clocks()),
        "realtime": lambda: clocks.check_realtime(clocks.try_fifo),
        "shared-memory": lambda: shared_memory.check_shared_memory(shared_memory.read_shared_memory()),
        "python": lambda: wheels.check_python(sys.version_info[:2], sys.executable),
        "wheels": lambda: wheels.check_wheels(wheels.read_installed(), wheels.read_lock()),
        "rclpy": ros.check_rclpy,
        "dds": ros.check_loopback,
        "debian": lambda: debian.check_packages(debian.read_packages()),
        "rendering": graphics.check_rendering,
        "display": lambda: graphics.check_display(os.environ, graphics.x_answers),
        "cards": lambda: list(_check_cards(config)),
        "bindings": lambda: list(_check_bindings(config)),
        "ports": lambda: _check_ports(ports.read_listeners()),
        "processes": lambda: processes.check_processes(processes.read_processes()),
    }
    return checks[name]


def _check_cards(config: DoctorConfig) -> Iterator[Finding]:
    from reflexarc.checks.cards import load_policies, load_robots

    yield from load_robots(config.robots)[1]
    yield from load_policies(config.policies)[1]


def _check_bindings(config: DoctorConfig) -> Iterator[Finding]:
    from reflexarc.checks.cards import check_bindings, load_policies, load_robots

    yield from check_bindings(load_policies(config.policies)[0], load_robots(config.robots)[0])


def _check_ports(listeners: Sequence[Any]) -> list[Finding]:
    from reflexarc.checks.ports import check_domain, check_ports, first_ephemeral_port

    domain, findings = check_domain(os.environ, first_ephemeral_port())
    return [*findings, *check_ports(listeners, domain)]


def _chosen(only: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        from hardware.errors import ConfigError

        raise ConfigError(
            f"there is no check {unknown[0]!r}",
            where="reflexarc doctor --only",
            expected="some of " + ", ".join(CHECKS),
            mend="correct the name",
        )
    return tuple(name for name in CHECKS if name in only) if only else CHECKS


def _document(name: str, finding: Finding) -> dict[str, Any]:
    return {
        "check": name,
        "subject": finding.subject,
        "level": finding.level.value,
        "sentence": finding.sentence,
        "mend": finding.mend,
        "commands": list(finding.commands),
    }


def _show(findings: Sequence[tuple[str, Finding]], output: Output, machine: str, *, fix_hints: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from reflexarc.checks.finding import Level

    styles = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for _, finding in findings:
        style = styles[finding.level]
        text = escape(finding.sentence)
        if finding.mend:
            text += f"\n[dim]to mend:[/dim] {escape(finding.mend)}"
        table.add_row(f"[{style}]{finding.level.value}[/{style}]", escape(finding.subject), text)
    output.console.print(table)
    counts = [sum(f.level is level for _, f in findings) for level in (Level.FAIL, Level.WARN, Level.OK)]
    output.console.print(f"\n[dim]{escape(machine)}[/dim]")
    verdict = "[bold red]not ready[/bold red]" if counts[0] else "[bold green]ready[/bold green]"
    output.console.print(f"{verdict}: {counts[0]} failed, {counts[1]} warned, {counts[2]} fine")
    hints = [command for _, finding in findings for command in finding.commands]
    if fix_hints and hints:
        output.console.print("\n[bold]commands that mend:[/bold]")
        for command in dict.fromkeys(hints):
            output.console.print(f"  {command}", markup=False, soft_wrap=True)
    elif hints and not fix_hints:
        output.console.print("[dim]reflexarc doctor --fix-hints prints the commands that mend.[/dim]")
