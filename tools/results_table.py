"""Reads the measured figures out of docs/results, for the tables of the README and of docs/results.

Each file there was written by the command beside it in `reflexarc.results`. A file that is not there gives
no row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reflexarc.results import COMMANDS

Row = tuple[str, str, str, str]

# What a reader of the README can do without.
_DETAILS = (
    "RAPTOR's student",
    "time to success",
    "commands that the gate",
    "deadlines missed",
    "photon to motor in the demo",
)


def rows(folder: Path, *, only_main: bool = False) -> Iterator[Row]:
    """The figures of every file that is there.

    Args:
        folder: holds the files of `COMMANDS`.
        only_main: leave the details out.

    Yields:
        What was measured, the figure, the command and the file, as Markdown.
    """
    for name, command in COMMANDS.items():
        path = folder / name
        if not path.exists():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        reader = _READERS[name.removesuffix(".json").split("_latency")[0]]
        for what, figure in reader(document):
            if only_main and what.startswith(_DETAILS):
                continue
            yield what, figure, f"`{command}`", f"[{name}]({name})"


def machines(folder: Path) -> Iterator[tuple[str, str]]:
    """The machines of the files that depend on one.

    Args:
        folder: holds the files of `COMMANDS`.

    Yields:
        The file and its machine, as Markdown.
    """
    for name in COMMANDS:
        path = folder / name
        machine = json.loads(path.read_text(encoding="utf-8")).get("machine") if path.exists() else None
        if machine is not None:
            yield (
                f"[{name}]({name})",
                f"{machine['processor']}, {machine['cores']:g} cores, load {machine['load_1min']:.1f},"
                f" Linux {machine['kernel'].split('-')[0]}, Python {machine['python']}",
            )


def _arm(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    how = _latency(d)
    yield (
        f"cubes picked in lockstep, {how}",
        f"{d['successes']} of {d['episodes']} ({interval(d['wilson'])})",
    )
    yield f"time to success, mean, {how}", f"{d['duration_s']:.2f} s"
    yield f"commands that the gate changed, {how}", f"{100 * d['intervention_rate']:.1f} %"


def _expert(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    times = [row["duration_s"] for row in d["rows"] if row["success"]]
    yield (
        f"`{d['policy']}`: successes",
        f"{d['successes']} of {d['episodes']} ({interval(d['wilson'])}), in {sum(times) / len(times):.1f} s",
    )


def _quadrotor(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    how = f"{d['airframe']}, {_latency(d)}"
    yield f"hover error (RMS of the last 5 s), {how}", f"{100 * d['hover_error_m']:.1f} cm"
    for eight in d["figure_eights"]:
        published = eight["reference_rmse_m"]
        beside = (
            ""
            if published is None
            else f", {eight['rmse_m'] / published:.2f} × that of the same policy in RAPTOR's own simulator"
        )
        yield f"figure eight of {eight['period_s']:g} s, RMSE, {how}", f"{eight['rmse_m']:.3f} m{beside}"
    if d["wilson"] is not None:
        yield (
            f"tilted and turning starts recovered from, {how}",
            f"{d['successes']} of {d['episodes']} ({interval(d['wilson'])})",
        )


POLICIES = ("published", "reflexarc")
HEADLINE = (
    ("hovers from the paper's starts lost", "hover_crash"),
    ("their error, median", "hover_rmse_m"),
    ("figure eight of 10 s, RMSE, mean", "figure_eight_10s_rmse_m"),
    ("figure eight of 5.5 s, RMSE, mean", "figure_eight_5_5s_rmse_m"),
    ("figure eights of 5.5 s lost", "figure_eight_crash"),
    ("figure eights of 5.5 s with actions 10 ms late lost", "delay_10ms_crash"),
)


def figure_of(policy: Mapping[str, Any], key: str) -> str:
    """A figure of a policy of RAPTOR's with its interval: metres, or a share of the airframes."""
    if policy[key] is None:
        return "-"
    value, ends = policy[key], policy["intervals"][key]
    if key.endswith("_m"):
        return f"{value:.3f} m ({ends['lower']:.3f} to {ends['upper']:.3f} m)"
    return f"{100 * value:.1f} % ({100 * ends['lower']:.1f} to {100 * ends['upper']:.1f} %)"


def _eval_raptor(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in POLICIES:
        if name in d:
            for title, key in HEADLINE:
                yield f"RAPTOR, {name}: {title}", figure_of(d[name], key)
    if d["specs"]:
        agree = sum(row["agrees"] for row in d["specs"])
        yield (
            "RAPTOR, published: figures that are those of its own simulator",
            f"{agree} of {len(d['specs'])}",
        )


def _loop(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        yield (
            f"photon to motor over ROS 2, {row['name']}",
            f"p50 {row['ros_p50_ms']:.2f} ms, p99 {row['ros_p99_ms']:.2f} ms",
        )
        yield f"cost of the three ROS 2 hops, {row['name']}", f"p50 {row['cost_p50_ms']:.2f} ms"


def _faults(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        yield (
            f"{row['name']}, until the safe action",
            f"p50 {row['p50_ms']:.0f} ms, p95 {row['p95_ms']:.0f} ms ({row['samples']} times)",
        )


def _raptor(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, ratio in d["ratios"].items():
        beside, _, back_end = name.rpartition(", ")
        yield f"one RAPTOR step, {back_end}", f"{ratio:.2f} × {beside}"


def _onboard(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        if row["unit"] == "instructions":
            yield (
                f"one RAPTOR call in C, {row['name'].replace('M4F', 'Cortex-M4F (emulated)')}",
                f"{row['maximum']:,} instructions at most, {row['flash_bytes']:,} bytes of flash,"
                f" {row['ram_bytes']:,} of RAM",
            )
        else:
            yield f"one RAPTOR call in C, {row['name']}", f"median {row['median'] / 1e3:.2f} µs"


def _quadrotor_rates(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, ratio in d["ratios"].items():
        beside, _, contender = name.partition(", ")
        yield f"vehicle steps a second on one thread, {contender}", f"{ratio:.2f} × {beside}"


def _planning(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        if row["seed"] == "all" and row["ratio"] != 1.0:
            yield (
                f"flight time through random waypoints, {row['name']}",
                f"{row['ratio']:.2f} × plain minimum snap, planned in {row['update_ms']:.0f} ms",
            )


def _arm_diffusion(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for what, figure in _arm(d):
        yield f"{what}, small diffusion policy", figure


def _arm_images(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for what, figure in _arm(d):
        yield f"{what}, small diffusion policy that sees the cube through two cameras", figure


def _arm_act(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for what, figure in _arm(d):
        yield f"{what}, small ACT policy of LeRobot's", figure


def _diffusion(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    ours = d["rows"][1:]
    for row in ours:
        yield (
            f"one chunk of a diffusion policy, {row['name']}",
            f"{row['chunk_ratio']:.2f} × LeRobot's time, same weights (at most"
            f" {row['disagreement']:.0e} apart)",
        )
    for row in ours:
        if row["steps_ratio"] is not None:
            yield (
                "gradient steps a second of a diffusion policy",
                f"{row['steps_ratio']:.2f} × those of LeRobot's `update_policy`",
            )


def _seams(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        yield (
            f"seam of two chunks, {row['name']}",
            f"plans disagree by {row['disagreement_mrad']:.1f} mrad; jerk {row['jerk_rad_s3']:,.0f} rad/s³,"
            f" inside {row['inside_jerk_rad_s3']:,.0f}; {row['successes']} of {row['episodes']} picked",
        )


def _demonstrations(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        yield (
            f"{row['task']}: demonstrations over ROS 2 that succeeded, all verified and loaded by LeRobot",
            f"{row['succeeded']} of {row['recorded']}, {row['frames']} moments",
        )


def _raptor_teachers(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    steps = f"{d['steps']:,} environment steps"
    yield f"return of {d['trained']} teachers, {steps}", f"median {d['median_return']:.0f}"
    yield f"processor time of a teacher, {steps}", f"{d['core_minutes_each']:.1f} core-minutes"


def _dagger(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        yield f"cubes picked up by behaviour cloning, {row['name']}", together(row)


def together(row: Mapping[str, Any]) -> str:
    """The successes of all roll-outs of a row, with their interval."""
    return f"{row['successes']} of {row['rollouts']} ({interval(row)})"


def _betaflight(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, way in (
        ("companion", "rates from the companion computer"),
        ("onboard", "RAPTOR in the firmware"),
    ):
        flight = d[name]
        yield (
            f"real Betaflight {flight['firmware'].split()[-1]} (SITL), {way}",
            f"hover of {d['course']['hover_s']:g} s: {100 * flight['hover_error_m']:.1f} cm; figure eight of"
            f" {d['course']['period_s']:g} s, RMSE {100 * flight['figure_eight_rmse_m']:.1f} cm;"
            f" {'landed and disarmed' if flight['landed'] else 'not landed'}",
        )


def _raptor_training(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for recipe in d["recipes"]:
        found, minutes = recipe["median"], recipe["core_minutes"]
        yield (
            f"RAPTOR's student, {recipe['name']}",
            f"lost in hover {100 * found['hover_crash']:.1f} %, with actions 10 ms late "
            f"{100 * found['delay_10ms_crash']:.1f} %; figure eight of 5.5 s "
            f"{found['figure_eight_5_5s_rmse_m']:.3f} m; {minutes:.1f} core-minutes",
        )


def _demo(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flight, arm, wire = d["quadrotor"], d["arm"], d["photon_to_motor_ms"]
    for title, key, scale, unit in (
        ("hover error over ROS 2 in real time", "hover_error_m", 100.0, "cm"),
        ("figure eight of 10 s, RMSE, over ROS 2 in real time", "figure_eight_10s_rmse_m", 1.0, "m"),
        ("figure eight of 5.5 s, RMSE, over ROS 2 in real time", "figure_eight_5_5s_rmse_m", 1.0, "m"),
    ):
        if flight.get(key) is not None:
            yield title, f"{scale * flight[key]:.{1 if unit == 'cm' else 3}f} {unit}"
    yield "cubes picked over ROS 2", f"{arm['successes']} of {arm['episodes']}"
    yield "photon to motor in the demo", f"p50 {wire['p50']:.2f} ms, p99 {wire['p99']:.2f} ms"
    yield "deadlines missed in the demo", f"{d['deadline_misses']}"


def _recorder_crash(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        f"recorder killed {d['kills']} times over ROS 2: finished episodes lost",
        f"{d['lost']} of {d['episodes_finished']}; {d['open_chunks_lost']} open chunks lost",
    )


def _imitation_options(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in d["rows"]:
        if row["seed"] == "all":
            yield f"cubes held where they were asked for, {row['name']}", share(row)


def share(row: Mapping[str, Any]) -> str:
    """The successes of all attempts of a row, with their interval."""
    return f"{row['successes']} of {row['trials']} ({interval(row)})"


def _diffusion_options(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    total = d["settings"]["rollouts"] * d["settings"]["seeds"]
    for row in d["rows"]:
        how = "from images " if d["settings"].get("cameras") else ""
        yield (
            f"cubes picked up {how}after {d['settings']['steps']:,} gradient steps, {row['name']}",
            f"{round(row['rate'] * total)} of {total} ({interval(row)})",
        )


_READERS = {
    "diffusion_options": _diffusion_options,
    "diffusion_image_options": _diffusion_options,
    "dagger": _dagger,
    "imitation_options": _imitation_options,
    "demo": _demo,
    "eval_arm": _arm,
    "eval_expert_peg_insert": _expert,
    "eval_expert_push_t": _expert,
    "eval_arm_diffusion": _arm_diffusion,
    "eval_arm_images": _arm_images,
    "eval_arm_act": _arm_act,
    "eval_peg_diffusion": _expert,
    "eval_push_t_diffusion": _expert,
    "eval_quadrotor": _quadrotor,
    "eval_raptor": _eval_raptor,
    "loop": _loop,
    "faults": _faults,
    "raptor": _raptor,
    "onboard": _onboard,
    "quadrotor": _quadrotor_rates,
    "planning": _planning,
    "diffusion": _diffusion,
    "recorder_crash": _recorder_crash,
    "seams": _seams,
    "demonstrations": _demonstrations,
    "raptor_teachers": _raptor_teachers,
    "raptor_training": _raptor_training,
    "betaflight": _betaflight,
}


def _latency(d: Mapping[str, Any]) -> str:
    return "ideal wire" if d["latency"] == "none" else "latency of the card"


def interval(wilson: Mapping[str, float]) -> str:
    """A Wilson interval in words."""
    return f"95 % Wilson interval {100 * wilson['lower']:.1f} to {100 * wilson['upper']:.1f} %"
