"""`reflexarc bench seams`: how smoothly chunks join while a policy thinks: switched, blended, in-painted."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from hardware.robot import Observation, RobotCard
    from policies.card import PolicyCard
    from policies.policy import ActContext, Policy
    from sim.evaluation.lockstep import Step

SWITCH, BLEND, INPAINT, BOTH = "switched", "blended", "in-painted", "in-painted and blended"


@dataclass(frozen=True)
class SeamsBench:
    """What to compare."""

    # The policy: METHOD/NAME or a policy folder. Only a diffusion policy can be in-painted.
    policy: str = "diffusion/pick_cube"
    # The name or path of the robot card.
    robot: str = "so101_twin"
    # How long an answer takes, in seconds of simulated time; all of them are measured.
    delays_s: tuple[float, ...] = (0.04, 0.08, 0.12)
    # Attempts, one a seed, of every way at every delay.
    episodes: int = 20
    # Seed of the first attempt; the next has one more.
    first_seed: int = 0
    # Length of the cross-fade where chunks are blended, seconds; the window of a border is as long.
    blend_s: float = 0.12
    # When an attempt without success ends, seconds of simulated time.
    duration_s: float = 8.0
    # Also draw the figures into this file, PNG.
    plot: Path | None = None
    # Also write the report, JSON, to this file.
    out: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what measures nothing.

        Raises:
            ConfigError: no attempts, no delays, or a time that is not positive.
        """
        if self.episodes < 1 or not self.delays_s or not min((*self.delays_s, self.blend_s)) > 0.0:
            raise ConfigError(
                f"episodes {self.episodes}, delays_s {self.delays_s}, blend_s {self.blend_s}",
                where="bench seams",
                expected="an attempt at least, a delay at least, and positive times",
                mend="correct them",
            )


@dataclass
class Seams:
    """What is collected of one way at one delay."""

    # Disagreement of the old and the new plan where they meet, rad, one a seam.
    disagreement_rad: list[float] = field(default_factory=list)
    # As in `sim.evaluation.seams.Borders`, one a seam; and inside of chunks, one a period.
    step_rad_s: list[float] = field(default_factory=list)
    jerk_rad_s3: list[float] = field(default_factory=list)
    inside_jerk_rad_s3: list[float] = field(default_factory=list)
    # Attempts that succeeded, of how many, and the times of those, seconds.
    successes: int = 0
    episodes: int = 0
    times_s: list[float] = field(default_factory=list)
    # Instants, and commands that the gate changed.
    instants: int = 0
    interventions: int = 0
    # Commands of the first attempt, shape (N, D), their period in seconds, and its seams: for the picture.
    example: Any = None
    period_s: float = 0.0
    example_seams: Any = None


def measure(config: SeamsBench, progress: Progress) -> BenchReport:
    """Let the same policy pick cubes from the same starts, with chunks joined in every way.

    Args:
        config: what to compare.
        progress: is told every attempt.

    Returns:
        The report; its ratios are measures of the other ways over those of switching.

    Raises:
        ConfigError: no such policy or robot.
        ConfigErrors: they do not fit each other.
    """
    from hardware.cards import load_robot_card
    from policies.registry import load_policy
    from reflexarc.eval import find_policy

    machine = describe_machine()
    card = load_robot_card(config.robot)
    policy = load_policy(find_policy(config.policy))
    ways = _ways(config, can_inpaint=policy.card.method == "diffusion")
    total = len(ways) * len(config.delays_s) * config.episodes
    found: dict[tuple[float, str], Seams] = {}
    for delay_s in config.delays_s:
        for name, schedule in ways.items():
            seams = found[delay_s, name] = Seams()
            for seed in range(config.first_seed, config.first_seed + config.episodes):
                _attempt(seams, policy, card, schedule, delay_s, seed, config)
                progress(sum(s.episodes for s in found.values()), total)
    if config.plot is not None:
        _draw(found, config)
    rows = [_row(delay_s, name, seams) for (delay_s, name), seams in found.items()]
    return BenchReport(
        name="seams",
        title=f"Seams of {policy.card.name} while it thinks, in lockstep",
        columns=(
            Column("name", "chunks are, delay"),
            Column("disagreement_mrad", "plans disagree, mrad", 1),
            Column("step_rad_s", "velocity step, rad/s"),
            Column("jerk_rad_s3", "jerk, rad/s³", 0),
            Column("inside_jerk_rad_s3", "inside, rad/s³", 0),
            Column("successes", "picked"),
            Column("duration_s", "in s"),
            Column("gated", "gated, %", 1),
        ),
        rows=tuple(rows),
        ratios=_ratios(rows),
        machine=machine,
        settings={
            "policy": config.policy,
            "robot": card.name,
            "delays_s": list(config.delays_s),
            "episodes": config.episodes,
            "first_seed": config.first_seed,
            "blend_s": config.blend_s,
        },
        notes=(
            "Means over all seams: the largest velocity step, and the RMS of the jerk, in the window of a"
            " border, largest joint; the policy's side, before the gate. The same seeds, starts and delays"
            " in every row.",
            "All are trimmed by time: a chunk's steps are carried out when they were meant to be.",
        ),
    )


def _ways(config: SeamsBench, *, can_inpaint: bool) -> Mapping[str, Any]:
    from policies.controller import ScheduleConfig

    make = functools.partial(ScheduleConfig, interpolation=Interpolation.LINEAR)
    ways = {SWITCH: make(inpaint=False), BLEND: make(blend_s=config.blend_s, inpaint=False)}
    if not can_inpaint:
        return ways
    return {**ways, INPAINT: make(inpaint=True), BOTH: make(blend_s=config.blend_s, inpaint=True)}


class _Remembering:
    """A policy whose chunks are kept by the capture of their observation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.card: PolicyCard = policy.card
        self.chunks: dict[int, ActionChunk] = {}

    @property
    def state(self) -> Mapping[str, Any]:
        return self._policy.state

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._policy.load_state(state)

    def reset(self, seed: int | None = None) -> None:
        self._policy.reset(seed)
        self.chunks.clear()

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        chunk = self.chunks[observation.stamp_ns] = self._policy.act(observation, context=context)
        return chunk


def _attempt(
    seams: Seams,
    policy: Policy,
    card: RobotCard,
    schedule: Any,  # noqa: ANN401
    delay_s: float,
    seed: int,
    config: SeamsBench,
) -> None:
    from policies.controller import Controller
    from policies.runtime.inference import Delayed
    from sim.evaluation.lockstep import make_gate, run_lockstep
    from sim.evaluation.seams import measure_borders
    from sim.twin.arm import ArmTwin
    from sim.twin.latency import NONE

    kept = _Remembering(policy)
    controller = Controller(
        kept,
        card,
        schedule=schedule,
        inference=functools.partial(Delayed, delay_s=delay_s),
        steady_clock=time.monotonic_ns,
    )
    answered: list[ActionChunk] = []

    def note(step: Step) -> None:
        if step.chunk is not None:
            answered.append(step.chunk)

    with ArmTwin(card, seed=0, latency=NONE) as twin:
        run = run_lockstep(
            twin,
            controller,
            make_gate(card),
            until=lambda step: twin.success or step.now_ns >= round(config.duration_s * 1e9),
            on_step=note,
            seed=seed,
        )
        succeeded, took_s = bool(twin.success), twin.now_ns * 1e-9
    observed = np.array([chunk.observed_ns for chunk in answered], np.int64)
    indices = np.flatnonzero(np.diff(observed)) + 1
    commands = np.array([chunk.values[0] for chunk in answered])
    period_s = answered[0].step_ns * 1e-9
    borders = measure_borders(commands, indices, period_s=period_s, window_s=config.blend_s)
    seams.disagreement_rad += _disagreements(kept.chunks, answered, indices.tolist())
    seams.step_rad_s += borders.step_rad_s.tolist()
    seams.jerk_rad_s3 += borders.jerk_rad_s3.tolist()
    seams.inside_jerk_rad_s3 += borders.inside_jerk_rad_s3.tolist()
    seams.successes += succeeded
    seams.episodes += 1
    seams.times_s += [took_s] if succeeded else []
    seams.instants += run.steps
    seams.interventions += run.interventions
    if seams.example is None:
        seams.example, seams.example_seams, seams.period_s = commands, indices, period_s


def _disagreements(
    chunks: Mapping[int, ActionChunk], answered: Sequence[ActionChunk], seams: Sequence[int]
) -> list[float]:
    """How far the plans before and after each seam lie apart there, largest joint, rad."""
    found = []
    # The first chunk begins at its arrival, not at its observation.
    first_ns = answered[0].observed_ns
    moved_ns = answered[0].start_ns - (first_ns or 0)
    for seam in seams:
        at_ns, values = answered[seam].start_ns, []
        for observed_ns in (answered[seam - 1].observed_ns, answered[seam].observed_ns):
            assert observed_ns is not None
            schedule = Schedule(interpolation=Interpolation.LINEAR)
            schedule.push(chunks[observed_ns], now_ns=observed_ns)
            values.append(schedule.sample(at_ns - (moved_ns if observed_ns == first_ns else 0)))
        if values[0] is not None and values[1] is not None:
            found.append(float(np.abs(values[1] - values[0]).max()))
    return found


def _row(delay_s: float, name: str, seams: Seams) -> dict[str, Any]:
    return {
        "name": f"{name}, {delay_s * 1e3:.0f} ms",
        "way": name,
        "delay_s": delay_s,
        "seams": len(seams.jerk_rad_s3),
        "disagreement_mrad": _mean(seams.disagreement_rad) * 1e3,
        "step_rad_s": _mean(seams.step_rad_s),
        "step_p95_rad_s": float(np.percentile(seams.step_rad_s, 95)),
        "jerk_rad_s3": _mean(seams.jerk_rad_s3),
        "jerk_p95_rad_s3": float(np.percentile(seams.jerk_rad_s3, 95)),
        "inside_jerk_rad_s3": float(np.sqrt(_mean(np.square(seams.inside_jerk_rad_s3).tolist()))),
        "successes": seams.successes,
        "episodes": seams.episodes,
        "duration_s": _mean(seams.times_s),
        "gated": 100.0 * seams.interventions / max(1, seams.instants),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    ratios = {}
    switched = {row["delay_s"]: row for row in rows if row["way"] == SWITCH}
    for row in rows:
        if row["way"] != SWITCH:
            base = switched[row["delay_s"]]
            for key, words in (("step_rad_s", "the velocity step"), ("jerk_rad_s3", "the jerk")):
                ratios[f"{words} of switched chunks, {row['name']}"] = row[key] / base[key]
    return ratios


def _draw(found: Mapping[tuple[float, str], Seams], config: SeamsBench) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert config.plot is not None
    ways = list(dict.fromkeys(name for _, name in found))
    colours = dict(zip(ways, ("tab:red", "tab:orange", "tab:blue", "tab:green"), strict=False))
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    x = np.arange(len(config.delays_s))
    for axis, (attribute, title) in zip(
        (axes[0, 0], axes[0, 1], axes[1, 0]),
        (
            ("disagreement_rad", "plans disagree where they meet, rad"),
            ("step_rad_s", "velocity step at the border, rad/s"),
            ("jerk_rad_s3", "jerk at the border, RMS, rad/s³"),
        ),
        strict=True,
    ):
        for place, name in enumerate(ways):
            values = [getattr(found[delay_s, name], attribute) for delay_s in config.delays_s]
            means, p95 = [_mean(v) for v in values], [float(np.percentile(v, 95)) for v in values]
            at = x + (place - (len(ways) - 1) / 2) * 0.21
            axis.bar(at, means, 0.19, color=colours[name], label=name)
            axis.plot(at, p95, "_", color="black", markersize=12)
        axis.set_xticks(x, [f"{delay_s * 1e3:.0f} ms" for delay_s in config.delays_s])
        axis.set_title(title + " (line: 95 %)", fontsize=10)
    bars, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(bars, names, loc="outside upper center", ncols=len(names))
    axis, delay_s = axes[1, 1], config.delays_s[-1]
    # The joint with the largest range shows most.
    joint = int(np.max([np.ptp(found[delay_s, name].example, axis=0) for name in ways], axis=0).argmax())
    for name in ways:
        seams = found[delay_s, name]
        axis.plot(
            seams.period_s * np.arange(len(seams.example)),
            seams.example[:, joint],
            color=colours[name],
            lw=1.2,
        )
        axis.plot(
            seams.period_s * seams.example_seams,
            seams.example[seams.example_seams, joint],
            "o",
            color=colours[name],
            ms=3,
        )
    axis.set_title(
        f"first attempt, {delay_s * 1e3:.0f} ms, set-point of one joint, rad (dots: seams)", fontsize=10
    )
    axis.set_xlabel("s")
    config.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.plot, dpi=90, metadata={"Software": "reflexarc bench seams"})
    pyplot.close(figure)
