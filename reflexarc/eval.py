"""`reflexarc eval`: let a policy act in the twin, in lockstep and through the gate, and count."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from reflexarc.commands import Command, Example
from reflexarc.output import Output, to_json

if TYPE_CHECKING:
    from hardware.robot import LatencyCard, RobotCard
    from policies.controller import Controller
    from sim.evaluation.arm import ArmEpisode, ArmReport
    from sim.evaluation.lockstep import Step
    from sim.evaluation.quadrotor import QuadrotorReport

_POLICIES = Path(__file__).parents[1] / "policies"


@dataclass(frozen=True)
class ArmEval:
    """What to evaluate."""

    # A policy that comes with Reflexarc (METHOD/NAME), a policy folder or a controller file.
    policy: Annotated[str, tyro.conf.Positional] = "bc/pick_cube"
    # The name or path of the robot card.
    robot: str = "so101_twin"
    # Attempts, one a seed.
    episodes: int = 100
    # Seed of the first attempt; the next has one more.
    first_seed: int = 0
    # Latency that the twin adds: none, or as on the robot card.
    latency: Literal["none", "card"] = "none"
    # When an attempt without success ends, seconds of simulated time; none: as the task does.
    duration_s: float | None = None
    # Exit with 1 when a smaller share of the attempts succeeds.
    require: float | None = None
    # Also write the result, JSON, to this file.
    out: Path | None = None


@dataclass(frozen=True)
class QuadrotorEval:
    """What to evaluate."""

    # A policy that comes with Reflexarc (METHOD/NAME), a policy folder or a controller file.
    policy: Annotated[str, tyro.conf.Positional] = "raptor/published"
    # The name or path of the robot card.
    robot: str = "quadrotor_twin"
    # The airframe of the twin; none: the one on the card.
    airframe: str | None = None
    # Figure eights to fly: the time for one loop of each, seconds.
    periods_s: tuple[float, ...] = (10.0, 5.5)
    # Starts from displaced, tilted and turning states, one a seed.
    episodes: int = 20
    # Seed of the first start; the next has one more.
    first_seed: int = 0
    # Latency that the twin adds: none, or as on the robot card.
    latency: Literal["none", "card"] = "none"
    # Exit with 1 when the hover error (RMS of the last 5 s) is larger, metres.
    require_hover_m: float | None = None
    # Exit with 1 when a smaller share of the starts is recovered from.
    require: float | None = None
    # Also write the result, JSON, to this file.
    out: Path | None = None


COMMANDS: Mapping[str, Command] = {
    "arm": Command(
        summary="How often an arm's policy or expert does its task, with a confidence interval.",
        config="reflexarc.eval:ArmEval",
        run="reflexarc.eval:evaluate_arm_policy",
        examples=(
            Example("reflexarc eval arm", "the policy that comes with Reflexarc, 100 seeds"),
            Example(
                "reflexarc eval arm /tmp/mine --episodes 20 --latency card",
                "another policy folder, with the latency of the robot card",
            ),
            Example(
                "reflexarc eval arm expert/peg_insert --robot panda_twin",
                "an expert, on the task of another robot card",
            ),
            Example(
                "reflexarc eval arm --require 0.95 --json --out arm.json",
                "for a script: exit code 1 below 95 %",
            ),
        ),
        details="Lockstep in one process, through the command gate: the same seeds give the same result.",
    ),
    "task": Command(
        summary="How often a policy or expert succeeds in a task: ours, gym-pusht, gym-aloha.",
        config="reflexarc.evals.task:TaskEval",
        run="reflexarc.evals.task:evaluate_in_task",
        examples=(
            Example(
                "reflexarc eval task expert/push_t reflexarc/PushT-v0 --episodes 20", "the planning expert"
            ),
            Example(
                "reflexarc eval task /tmp/mine reflexarc/GymPushT-v0 --image-size 96 96",
                "a policy folder with a camera, on gym-pusht",
            ),
        ),
        details=(
            "Step by step, without gate and latency, and by seeds. Tasks that have a twin are judged more\n"
            "severely by `reflexarc eval arm`, in the whole stack."
        ),
    ),
    "quadrotor": Command(
        summary="How well a quadrotor's policy hovers, follows figure eights and recovers.",
        config="reflexarc.eval:QuadrotorEval",
        run="reflexarc.eval:evaluate_quadrotor_policy",
        examples=(
            Example("reflexarc eval quadrotor", "the published RAPTOR policy on the card's airframe"),
            Example(
                "reflexarc eval quadrotor --airframe crazyflie --periods-s 5.5 --episodes 0",
                "another airframe, one figure eight, no recoveries",
            ),
            Example(
                "reflexarc eval quadrotor --require-hover-m 0.05 --json",
                "for a script: exit code 1 when it hovers worse than 5 cm",
            ),
        ),
        details="Lockstep in one process, through the command gate: the same seeds give the same result.",
    ),
    "raptor": Command(
        summary="RAPTOR in a thousand airframes: hover, figure eights, delays, noise, recoveries.",
        config="reflexarc.evals.raptor:RaptorEval",
        run="reflexarc.evals.raptor:evaluate_raptor",
        examples=(
            Example("reflexarc eval raptor", "the published policy and ours, everything; a few minutes"),
            Example(
                "reflexarc eval raptor --policy /tmp/mine --only comparison --airframes 256",
                "another policy beside the published one, quickly",
            ),
            Example(
                "reflexarc eval raptor --only hover figure-eight sensitivity --require-specs --json",
                "for a script: exit code 1 when the published policy differs from RAPTOR's own simulator",
            ),
        ),
        details=(
            "Batched and without the gate, as RAPTOR's own figures were measured; the same seed gives the\n"
            "same airframes and chances. Policies are compared with error clipping, as in flight."
        ),
    ),
    "betaflight": Command(
        summary="Fly the real Betaflight firmware over ROS 2: by rates, and by RAPTOR inside it.",
        config="reflexarc.flights.evaluate:VehicleEval",
        run="reflexarc.flights.evaluate:evaluate_betaflight",
        examples=(
            Example(
                "reflexarc eval betaflight", "arm, take off, hover 20 s, figure eight, land, disarm, twice"
            ),
            Example(
                "reflexarc eval betaflight --report flights --policy raptor/published",
                "with films and plots, and another policy inside the firmware",
            ),
            Example(
                "reflexarc eval betaflight --ways companion --hover-s 5 --loops 1 --json",
                "a short flight, for a script",
            ),
        ),
        details="In real time, against the simulated world's true states. Needs the side environment of the"
        " firmware: make env NAME=betaflight.",
    ),
    "px4": Command(
        summary="Fly a PX4-like vehicle over ROS 2 and MAVLink: by its own controllers, and RAPTOR onboard.",
        config="reflexarc.flights.evaluate:VehicleEval",
        run="reflexarc.flights.evaluate:evaluate_px4",
        examples=(
            Example("reflexarc eval px4", "arm, take off, hover 20 s, figure eight, land, disarm, twice"),
            Example("reflexarc eval px4 --ways offboard --hover-s 5 --loops 1 --json", "a short flight"),
        ),
        details="In real time, against the simulated world's true states.",
    ),
}


def evaluate_arm_policy(config: ArmEval, output: Output) -> int:
    """Evaluate an arm's policy.

    Args:
        config: what to evaluate.
        output: where progress and result go.

    Returns:
        0; 1 when less succeeds than required.

    Raises:
        ConfigError: no such policy or robot, faults of one, or no attempts.
        ConfigErrors: they do not fit each other.
    """
    from sim.evaluation.arm import evaluate_arm

    card, path = _robot(config.robot), find_policy(config.policy)
    check_range("episodes", config.episodes, at_least=1)
    with output.progress("evaluating") as progress:
        done: list[ArmEpisode] = []

        def note(episode: ArmEpisode) -> None:
            done.append(episode)
            progress(len(done), config.episodes)

        report = evaluate_arm(
            _make_controller(path),
            card,
            seeds=range(config.first_seed, config.first_seed + config.episodes),
            latency=_latency(config.latency, card),
            duration_s=config.duration_s,
            on_episode=note,
        )
    is_ok = config.require is None or report.successes >= config.require * report.episodes
    document = {
        "ok": is_ok,
        "policy": str(config.policy),
        "robot": card.name,
        "latency": config.latency,
        "first_seed": config.first_seed,
        "episodes": report.episodes,
        "successes": report.successes,
        "wilson": report.interval,
        "duration_s": report.duration_s,
        "intervention_rate": report.intervention_rate,
        "rows": [asdict(row) for row in report.rows],
    }
    finish(document, config.out, output, lambda: _show_arm(report, output))
    return 0 if is_ok else 1


def evaluate_quadrotor_policy(config: QuadrotorEval, output: Output) -> int:
    """Evaluate a quadrotor's policy.

    Args:
        config: what to evaluate.
        output: where progress and result go.

    Returns:
        0; 1 when it hovers worse or recovers less often than required.

    Raises:
        ConfigError: no such policy, robot or airframe, or faults of one.
        ConfigErrors: they do not fit each other.
    """
    from sim.evaluation.quadrotor import evaluate_quadrotor

    card, path = _robot(config.robot), find_policy(config.policy)
    check_range("episodes", config.episodes, at_least=0)
    with output.progress("flying") as progress:
        runs: dict[str, None] = {}

        def note(run: str, step: Step) -> None:
            if run not in runs:
                progress(len(runs), 1 + len(config.periods_s) + config.episodes)
                runs[run] = None

        report = evaluate_quadrotor(
            _make_controller(path),
            card,
            airframe=config.airframe,
            periods_s=config.periods_s,
            seeds=range(config.first_seed, config.first_seed + config.episodes),
            latency=_latency(config.latency, card),
            on_step=note,
        )
    is_ok = (config.require_hover_m is None or report.hover_error_m <= config.require_hover_m) and (
        config.require is None or report.successes >= config.require * report.episodes
    )
    document = {
        "ok": is_ok,
        "policy": str(config.policy),
        "robot": card.name,
        "airframe": report.airframe,
        "airframe_warning": _airframe_warning(path, report.airframe),
        "latency": config.latency,
        "first_seed": config.first_seed,
        "hover_error_m": report.hover_error_m,
        "figure_eights": [asdict(result) for result in report.figure_eights],
        "episodes": report.episodes,
        "successes": report.successes,
        "wilson": report.interval,
        "interventions": report.interventions,
        "rows": [asdict(row) for row in report.rows],
    }
    if document["airframe_warning"]:
        output.log(f"warning: {document['airframe_warning']}")
    finish(document, config.out, output, lambda: _show_quadrotor(report, output))
    return 0 if is_ok else 1


def _airframe_warning(policy: Path, airframe: str) -> str | None:
    """What of the airframe is outside of the policy's training distribution, where that is known."""
    from policies.controller import base_card
    from policies.raptor.distribution import warning
    from sim.quadrotor.airframes import load_airframe

    is_raptor = base_card(policy).method == "raptor"
    return warning(load_airframe(airframe)) if is_raptor else None


def _robot(name: str) -> RobotCard:
    from hardware.cards import load_robot_card

    return load_robot_card(name)


def find_policy(name: str | Path, *, where: str = "reflexarc eval") -> Path:
    """Find a policy by what a user calls it.

    Args:
        name: METHOD/NAME of one that comes with Reflexarc, a policy folder or a controller file.
        where: the command that was given it.

    Returns:
        The folder or the file.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name)
    for candidate in (path, _POLICIES / path):
        if candidate.exists():
            return candidate
    from hardware.errors import ConfigError

    known = sorted(str(card.parent.relative_to(_POLICIES)) for card in _POLICIES.glob("*/*/card.yaml"))
    near = difflib.get_close_matches(str(name), known, n=1)
    raise ConfigError(
        f"there is no policy {str(name)!r}",
        where=where,
        expected="a policy folder, a controller file, or one of " + (", ".join(known) or "none"),
        mend=f"did you mean {near[0]!r}?"
        if near
        else "correct the name, or train one with `reflexarc train`",
    )


def _make_controller(path: Path) -> Callable[[RobotCard], Controller]:
    from policies.controller import load_controller

    return lambda card: load_controller(path, card, steady_clock=time.monotonic_ns)


def _latency(name: str, card: RobotCard) -> LatencyCard:
    from sim.twin.latency import NONE

    return card.latency if name == "card" else NONE


def check_range(name: str, value: int, *, at_least: int) -> None:
    """Refuse a number that is too small.

    Args:
        name: of the setting.
        value: what was given.
        at_least: the smallest number that can be meant.

    Raises:
        ConfigError: the value is smaller.
    """
    if value < at_least:
        from hardware.errors import ConfigError

        raise ConfigError(
            f"{name} is {value}", where="reflexarc eval", expected=f"{at_least} or more", mend="raise it"
        )


def finish(document: Mapping[str, Any], out: Path | None, output: Output, show: Callable[[], None]) -> None:
    """Keep, print or show a result.

    Args:
        document: what was measured; the machine is added.
        out: the file to write, JSON; None: none.
        output: where it is printed.
        show: prints it for people.
    """
    from reflexarc.machine import describe_machine

    document = {**document, "machine": describe_machine()}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(to_json(document) + "\n", encoding="utf-8")
    output.result(document)
    if not output.json:
        show()


def _show_arm(report: ArmReport, output: Output) -> None:
    console = output.console
    interval = report.interval
    failed = [str(row.seed) for row in report.rows if not row.success]
    console.print(
        f"[bold]{report.successes} of {report.episodes}[/bold] succeeded"
        f" (95 % Wilson interval {interval.lower:.1%} to {interval.upper:.1%})"
        + (f", in {report.duration_s:.2f} s on average" if report.successes else "")
    )
    console.print(f"the gate changed {report.intervention_rate:.2%} of the commands")
    if failed:
        console.print(f"seeds that failed: {', '.join(failed)}")


def _show_quadrotor(report: QuadrotorReport, output: Output) -> None:
    from rich.table import Table

    table = Table(title=f"{report.airframe}, in lockstep", title_justify="left", title_style="bold")
    for heading in ("manoeuvre", "RMSE, m", "horizontal, m", "in l2f, m", "ratio"):
        table.add_column(heading, justify="left" if heading == "manoeuvre" else "right")
    table.add_row("hover, last 5 s", f"{report.hover_error_m:.4f}", "", "", "")
    for result in report.figure_eights:
        known = result.reference_rmse_m
        table.add_row(
            f"figure eight, {result.period_s:g} s",
            f"{result.rmse_m:.3f}",
            f"{result.rmse_horizontal_m:.3f}",
            "-" if known is None else f"{known:.3f}",
            "-" if known is None else f"{result.rmse_m / known:.2f}",
        )
    output.console.print(table)
    interval = report.interval
    if interval is not None:
        output.console.print(
            f"[bold]{report.successes} of {report.episodes}[/bold] starts recovered from"
            f" (95 % Wilson interval {interval.lower:.1%} to {interval.upper:.1%})"
        )
    output.console.print(f"the gate changed {report.interventions} command(s)")
