"""`reflexarc bench demonstrations`: from an expert over ROS 2 to a training of LeRobot."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from recording.frames import Frames

# After so many rounds a machine that loses messages is too busy to record.
_ROUNDS = 3


@dataclass(frozen=True)
class DemonstrationsBench:
    """How many demonstrations of which tasks."""

    # The tasks.
    tasks: tuple[str, ...] = ("PickCube", "PegInsert")
    # Demonstrations of each, in the order of the tasks.
    episodes: tuple[int, ...] = (50, 100)
    # Moments a second of the datasets.
    fps: int = 25
    # Gradient steps of `lerobot-train` on each dataset.
    steps: int = 10
    # Keep recordings and datasets in this folder, and go on with those that are there; none: thrown away.
    keep: Path | None = None
    # Also write the report, JSON, to this file.
    out: Path | None = None


@dataclass(frozen=True)
class _Task:
    """How a task is recorded, and judged from what was recorded."""

    # The robot of the system `arm`, and the expert's policy.
    robot: str
    policy: str
    # The instruction.
    instruction: str
    # Longest episode, seconds.
    seconds: float
    # Whether the episode ends as it should.
    succeeded: Callable[[Frames], bool]


def measure(config: DemonstrationsBench, progress: Progress) -> BenchReport:
    """Record demonstrations over ROS 2, verify and export them, let LeRobot load them and train on them.

    Args:
        config: how many of which tasks.
        progress: is told after each step.

    Returns:
        The report; its ratios are demonstrations that succeeded over those that were asked for.

    Raises:
        ConfigError: an unknown task, another number of tasks and episodes, or a step that fails.
    """
    known = _tasks()
    for task in config.tasks:
        if task not in known:
            raise ConfigError(
                f"there is no task {task!r}",
                where="reflexarc bench demonstrations",
                expected="some of " + ", ".join(known),
                mend="correct --tasks",
            )
    if len(config.tasks) != len(config.episodes) or min(config.episodes, default=0) < 2:
        raise ConfigError(
            f"tasks {', '.join(config.tasks)}, episodes {', '.join(map(str, config.episodes))}",
            where="reflexarc bench demonstrations",
            expected="one number of episodes a task, at least two",
            mend="correct --episodes",
        )
    machine = describe_machine()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, (task, episodes) in enumerate(zip(config.tasks, config.episodes, strict=True)):
            folder = (config.keep or Path(temporary)) / task
            rows.append(_measure_task(task, known[task], episodes, folder, config))
            progress(number + 1, len(config.tasks))
    return BenchReport(
        name="demonstrations",
        title="demonstrations recorded over ROS 2, exported, loaded by LeRobot and trained on by it",
        columns=(
            Column("task", "task"),
            Column("recorded", "recorded"),
            Column("succeeded", "succeeded"),
            Column("verified", "verified"),
            Column("exported", "episodes in LeRobot"),
            Column("frames", "frames"),
            Column("dropped", "dropped"),
            Column("training_steps", "steps trained"),
            Column("last_loss", "last loss"),
        ),
        rows=tuple(rows),
        ratios={
            f"{row['task']}: demonstrations that succeeded, of those asked for": row["succeeded"] / count
            for row, count in zip(rows, config.episodes, strict=True)
        },
        machine=machine,
        settings={
            "tasks": config.tasks,
            "episodes": config.episodes,
            "fps": config.fps,
            "steps": config.steps,
        },  # fmt: skip
        notes=(
            "Recorded in real time: recorder, policy, gate and twin are processes of their own. An episode"
            " that a busy machine cut (messages lost, or none) is deleted and recorded again.",
        ),
    )


def _tasks() -> Mapping[str, _Task]:
    return {
        "PickCube": _Task("twin", "expert/pick_cube", "pick up the cube", 6.0, _cube_is_lifted),
        "PegInsert": _Task(
            "panda_twin", "expert/peg_insert", "insert the peg into the hole", 8.0, _peg_is_in
        ),
    }


def _cube_is_lifted(frames: Frames) -> bool:
    """For the task's hold time before the end its underside was as high as the task asks for."""
    from sim.worlds.pick_cube import PickCubeSettings
    from sim.worlds.so101_table import CUBE_EDGE_M

    settings = PickCubeSettings()
    heights = frames.terms["cube_position"][_held(frames, settings.hold_s), 2] - CUBE_EDGE_M / 2
    return bool((heights >= settings.lift_m).all())


def _peg_is_in(frames: Frames) -> bool:
    """For the task's hold time before the end it was as deep and as straight as the task asks for."""
    from hardware.frames import rotation_matrix
    from sim.worlds.peg_insert import SUCCESS_DEPTH_M, SUCCESS_OFFSET_M, SUCCESS_TILT_RAD, PegInsertSettings

    for row in np.flatnonzero(_held(frames, PegInsertSettings().hold_s)):
        term = {name: values[row] for name, values in frames.terms.items()}
        hole, peg = rotation_matrix(term["hole_orientation"]), rotation_matrix(term["peg_orientation"])
        tip = hole.T @ (term["peg_position"] - term["hole_position"])
        tilt = np.arccos(np.clip(peg[:, 2] @ hole[:, 2], -1.0, 1.0))
        if -tip[2] < SUCCESS_DEPTH_M or np.hypot(*tip[:2]) > SUCCESS_OFFSET_M or tilt > SUCCESS_TILT_RAD:
            return False
    return True


def _held(frames: Frames, hold_s: float) -> NDArray[np.bool_]:
    return np.asarray(frames.stamps_ns >= frames.stamps_ns[-1] - round(hold_s * 1e9))


def _measure_task(
    name: str, task: _Task, episodes: int, folder: Path, config: DemonstrationsBench
) -> dict[str, Any]:
    recordings, dataset = folder / "recordings", folder / "dataset"
    succeeded = _record(name, task, episodes, recordings, config)
    verified = _reflexarc("data", "verify", str(recordings))
    if not dataset.exists():
        _reflexarc("data", "export", str(recordings), "--out", str(dataset), "--fps", str(config.fps))
    from recording.lerobot_set import open_set

    loaded = open_set(dataset)
    first, last = loaded[0], loaded[len(loaded) - 1]
    exported = _export_record(dataset)
    losses = _train(dataset, folder / "act", config.steps)
    return {
        "task": name,
        "recorded": episodes,
        "succeeded": succeeded,
        "verified": sum(bool(file["ok"]) for file in verified["episodes"]),
        "exported": loaded.num_episodes,
        "frames": len(loaded),
        "dropped": sum(episode["dropped"] for episode in exported["episodes"]),
        "fps": loaded.fps,
        "shapes": {key: list(value.shape) for key, value in first.items() if key.startswith(("obs", "act"))},
        "last_episode": int(last["episode_index"]),
        "tables": exported["tables"],
        "training_steps": config.steps,
        "last_loss": losses[-1],
    }


def _record(name: str, task: _Task, episodes: int, folder: Path, config: DemonstrationsBench) -> int:
    """Record until there are as many as asked for; gives how many succeeded."""
    from recording.folder import delete_episodes, list_episodes

    for round_ in range(_ROUNDS + 1):
        states = {f.number: _judge(f.path, task, config.fps) for f in list_episodes(folder)}
        cut = [number for number, state in states.items() if state is None]
        delete_episodes(folder, cut)
        good = {number: state for number, state in states.items() if state is not None}
        if len(good) >= episodes:
            delete_episodes(folder, sorted(good)[episodes:])
            return sum(good[number] for number in sorted(good)[:episodes])
        if round_ < _ROUNDS:
            _reflexarc(
                "record", "arm", f"robot:={task.robot}", f"policy:={task.policy}",
                f"seed:={1000 * round_ + len(states)}", "--out", str(folder), "--no-page",
                "--episodes", str(episodes - len(good)), "--seconds", f"{task.seconds:g}",
                "--task", name, "--instruction", task.instruction,
            )  # fmt: skip
    raise ConfigError(
        f"only {len(good)} of {episodes} episodes are whole after {_ROUNDS} rounds",
        where=str(folder),
        expected="a machine that keeps up with real time",
        mend="close what else runs, and call it again with --keep: it goes on with those that are there",
    )


def _judge(path: Path, task: _Task, fps: int) -> bool | None:
    """Whether an episode succeeded; None: it was cut, by a busy machine."""
    from recording.episode import Episode
    from recording.lerobot_export import card_of
    from recording.sampling import SamplingConfig, sample_episode

    try:
        episode = Episode.open(path)
        pieces = sample_episode(episode, card_of(episode), SamplingConfig(fps=fps))
    except ConfigError:
        return None
    if len(pieces) != 1 or pieces[0].dropped:
        return None
    return task.succeeded(pieces[0])


def _export_record(dataset: Path) -> dict[str, Any]:
    import yaml

    from recording.lerobot_set import RECORD_FILE

    found = yaml.safe_load((dataset / RECORD_FILE).read_text(encoding="utf-8"))
    return {**found, "episodes": [{"dropped": 0, **episode} for episode in found["episodes"]]}


def _reflexarc(*words: str) -> dict[str, Any]:
    """Run a verb in a process of its own and read its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "reflexarc", *words, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigError(
            f"`reflexarc {' '.join(words[:2])}` ended with exit code {done.returncode}: {done.stderr[-400:]}",
            where="reflexarc bench demonstrations",
            expected="exit code 0",
            mend="run the verb by itself to see more",
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _train(dataset: Path, out: Path, steps: int) -> tuple[float, ...]:
    """Let `lerobot-train` itself train a small ACT."""
    import shutil

    from policies.lerobot.runner import run_training

    shutil.rmtree(out, ignore_errors=True)
    words = [
        f"--dataset.repo_id=local/{dataset.name}", f"--dataset.root={dataset.resolve()}",
        "--dataset.video_backend=pyav", "--dataset.use_imagenet_stats=false",
        "--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false",
        "--policy.pretrained_backbone_weights=null", "--policy.chunk_size=16", "--policy.n_action_steps=8",
        "--policy.dim_model=128", "--policy.n_heads=4", "--policy.dim_feedforward=512",
        "--policy.n_encoder_layers=2", "--batch_size=8", f"--steps={steps}", "--log_freq=1",
        "--num_workers=0", "--save_checkpoint=false", "--wandb.enable=false", f"--output_dir={out}",
    ]  # fmt: skip
    report = run_training(words, log=out.with_suffix(".log"))
    if len(report.losses) != steps or not all(map(math.isfinite, report.losses)):
        raise ConfigError(
            f"lerobot-train logged the losses {', '.join(map(str, report.losses))}",
            where=str(out),
            expected=f"{steps} finite ones",
            mend="look at its log",
        )
    return report.losses
