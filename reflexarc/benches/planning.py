"""`reflexarc bench planning`: flight times through random waypoints, beside plain minimum snap."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.eval import find_policy
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

# The seed of the waypoints that planners learn from; those that they are judged by begin at 0, far away.
_LEARNING_SEED = 1_000_000
PLAIN, SEARCHED, LED = "plain minimum snap", "searched times", "plain, told ahead"


@dataclass(frozen=True)
class PlanningBench:
    """What to plan and fly."""

    # A named airframe.
    airframe: str = "x500_real"
    # The RAPTOR policy that flies, METHOD/NAME or its folder; the published one when absent.
    policy: Path | None = None
    # How many seeds of waypoints, and how many lists of 5 to 14 waypoints each draws.
    seeds: int = 3
    sets: int = 8
    # Lists of waypoints that the planners learn from.
    learned: int = 48
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: PlanningBench, progress: Progress) -> BenchReport:
    """Plan random lists of waypoints in several ways, and find by flight how quickly each can be flown.

    Args:
        config: what and how much.
        progress: is told when a stage ends.

    Returns:
        The report; its ratios are flight times over those of plain minimum snap.

    Raises:
        ConfigError: a count is not positive, an unknown airframe or a policy that cannot be loaded.
    """
    from policies.planning import Oracle, Planner
    from policies.planning.learning import random_waypoints
    from policies.raptor.fleet import FleetPilot
    from policies.raptor.policy import PUBLISHED
    from sim.quadrotor import load_airframe

    for name, least in (("seeds", 1), ("sets", 1), ("learned", 6)):
        if getattr(config, name) < least:
            raise ConfigError(
                f"{name} is {getattr(config, name)}",
                where="bench planning",
                expected=f"{least} or more",
                mend="raise it",
            )
    machine = describe_machine()
    oracle = Oracle(
        FleetPilot.load(find_policy(config.policy or PUBLISHED, where="bench planning")),
        load_airframe(config.airframe),
    )
    stages = 2 + config.seeds
    known = random_waypoints(config.learned, seed=_LEARNING_SEED)
    lagging = Planner.learn(oracle, known)
    progress(1, stages)
    leading = Planner.learn(oracle, known, lag=lagging.errors)
    progress(2, stages)
    ways = _ways(lagging, leading)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for seed in range(config.seeds):
        problems = random_waypoints(config.sets, seed=seed)
        plain_s = None
        for name, way in ways.items():
            row = _fly(oracle, way, problems)
            plain_s = row["best_s"] if plain_s is None else plain_s
            results[name].append({"seed": seed, "plain_s": plain_s, **row})
        progress(3 + seed, stages)
    rows = [_row(name, [result], str(result["seed"])) for name, found in results.items() for result in found]
    whole = [_row(name, found, "all") for name, found in results.items()]
    return BenchReport(
        name="planning",
        title=f"Flight time through random waypoints, {config.airframe} flown by {oracle.pilot.name}",
        columns=(
            Column("name", "times and telling"),
            Column("seed", "seed"),
            Column("flight_s", "flight s", 1),
            Column("ratio", "× plain", 3),
            Column("update_ms", "update ms", 1),
            Column("unseen_ratio", "unseen × plain", 3),
            Column("unseen_followed", "followed", 2),
        ),
        rows=(*rows, *whole),
        ratios={f"{PLAIN}'s flight time, {row['name']}": row["ratio"] for row in whole[1:]},
        machine=machine,
        settings={
            "airframe": config.airframe,
            "policy": oracle.pilot.name,
            "seeds": config.seeds,
            "sets": config.sets,
            "learned": config.learned,
            "position_limit_m": oracle.limits.position_m,
            "yaw_limit_deg": float(np.degrees(oracle.limits.yaw_rad)),
        },
        notes=(
            f"{config.sets} lists of 5 to 14 waypoints a seed, in 9 m by 9 m by 3 m. Flight s: mean over the "
            "lists of the least time at which the simulated vehicle stays within 0.20 m and 15 degrees, "
            "found by flight for every way alike.",
            "Update ms: median processor time from waypoints to trajectory, without any flight. Unseen: what "
            "that trajectory takes, with headroom learned on other waypoints, over the best of plain minimum "
            "snap; followed: the share of these trajectories that stayed within the limits.",
        ),
    )


@dataclass(frozen=True)
class _Way:
    """A way to plan."""

    # From waypoints to a trajectory with the whole of the limits; and with headroom, unseen.
    shape: Callable[[Any], Any]
    unseen: Callable[[Any], Any]
    # What the policy is told.
    told: Any


def _ways(lagging: Any, leading: Any) -> dict[str, _Way]:  # noqa: ANN401
    from policies.planning import quickest, smoothest

    def plain(problem: Any, headroom: float) -> Any:  # noqa: ANN401
        return lagging.errors.at_limit(smoothest(problem), headroom=headroom)

    return {
        PLAIN: _Way(
            functools.partial(plain, headroom=1.0),
            functools.partial(plain, headroom=lagging.headroom),
            None,
        ),
        SEARCHED: _Way(lambda problem: quickest(problem, lagging.errors), lagging.trajectory, None),
        LED: _Way(
            lambda problem: leading.errors.at_limit(smoothest(problem)), leading.trajectory, leading.told
        ),
    }


def _fly(oracle: Any, way: _Way, problems: Sequence[Any]) -> dict[str, Any]:  # noqa: ANN401
    shapes = [way.shape(problem) for problem in problems]
    factors = oracle.fastest(shapes, told=way.told, slowest=1.6, quickest=0.7, candidates=10, rounds=2)
    update_ms, unseen = [], []
    for problem in problems:
        started = time.process_time()
        unseen.append(way.unseen(problem))
        update_ms.append(1e3 * (time.process_time() - started))
    return {
        "best_s": np.array([shape.duration_s for shape in shapes]) * factors,
        "update_ms": update_ms,
        "unseen_s": np.array([trajectory.duration_s for trajectory in unseen]),
        "followed": oracle.fly(unseen, told=way.told).feasible(oracle.limits),
    }


def _row(name: str, results: Sequence[dict[str, Any]], seed: str) -> dict[str, Any]:
    plain, best, unseen, followed = (
        np.concatenate([result[key] for result in results])
        for key in ("plain_s", "best_s", "unseen_s", "followed")
    )
    flown = np.isfinite(plain) & np.isfinite(best)
    kept = np.isfinite(plain)
    updates = np.concatenate([result["update_ms"] for result in results])
    return {
        "name": name,
        "seed": seed,
        "lists": len(plain),
        "lists_flown": int(flown.sum()),
        "flight_s": float(best[flown].mean()) if flown.any() else None,
        "ratio": float((best[flown] / plain[flown]).mean()) if flown.any() else None,
        "update_ms": float(np.median(updates)),
        "update_ms_max": float(updates.max()),
        "unseen_ratio": float((unseen[kept] / plain[kept]).mean()) if kept.any() else None,
        "unseen_followed": float(followed.mean()),
    }
