"""`reflexarc results`: what was measured and committed, with the command that measures it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hardware.errors import ConfigError
from reflexarc.output import Output

FOLDER = Path(__file__).parents[1] / "docs" / "results"

# File in docs/results -> the command that writes it, without `--out`. The tables of the README and of
# docs/results are made from it too (tools/results_table.py).
COMMANDS: Mapping[str, str] = {
    "demo.json": "reflexarc demo --headless",
    "eval_arm.json": "reflexarc eval arm",
    "eval_arm_latency.json": "reflexarc eval arm --latency card",
    "eval_expert_peg_insert.json": "reflexarc eval arm expert/peg_insert --robot panda_twin",
    "eval_expert_push_t.json": "reflexarc eval task expert/push_t reflexarc/PushT-v0 --episodes 24",
    "eval_arm_diffusion.json": "reflexarc eval arm diffusion/pick_cube",
    "eval_peg_diffusion.json": "reflexarc eval arm diffusion/peg_insert --robot panda_twin",
    "eval_push_t_diffusion.json": "reflexarc eval arm diffusion/push_t --robot panda_push_t",
    "eval_arm_images.json": "reflexarc eval arm diffusion/pick_cube_images",
    "eval_arm_act.json": "reflexarc eval arm lerobot/pick_cube",
    "eval_quadrotor.json": "reflexarc eval quadrotor",
    "eval_quadrotor_latency.json": "reflexarc eval quadrotor --latency card",
    "eval_raptor.json": "reflexarc eval raptor",
    "loop.json": "reflexarc bench loop",
    "faults.json": "reflexarc bench faults",
    "demonstrations.json": "reflexarc bench demonstrations",
    "raptor.json": "reflexarc bench raptor",
    "onboard.json": "reflexarc bench onboard",
    "quadrotor.json": "reflexarc bench quadrotor",
    "seams.json": "reflexarc bench seams --plot docs/results/seams.png",
    "planning.json": "reflexarc bench planning",
    "diffusion.json": "reflexarc bench diffusion --chunks 1 --gradient-steps 1 --repeats 7",
    "imitation_options.json": "reflexarc bench imitation-options",
    "diffusion_options.json": "reflexarc bench diffusion-options",
    "diffusion_image_options.json": "reflexarc bench diffusion-options --cameras front wrist"
    " --choices crop --steps 1000 --episodes 150",
    "dagger.json": "reflexarc bench dagger",
    "recorder_crash.json": "reflexarc data crash-test --kills 200",
    "betaflight.json": "reflexarc eval betaflight",
    "raptor_teachers.json": "reflexarc train raptor-teachers",
    "raptor_training.json": "reflexarc train raptor",
}


@dataclass(frozen=True)
class ResultsConfig:
    """Which result to print."""

    # A result's name, such as eval_arm; without one, all of them are listed.
    name: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")
    ] = None


def committed(folder: Path = FOLDER) -> dict[str, str]:
    """Find the results that are there.

    Args:
        folder: holds them.

    Returns:
        Name to the command that made it.
    """
    return {
        file.removesuffix(".json"): command for file, command in COMMANDS.items() if (folder / file).exists()
    }


def run(config: ResultsConfig, output: Output, *, folder: Path = FOLDER) -> int:
    """Print a result, or list all.

    Args:
        config: which one.
        output: where it goes.
        folder: holds the results.

    Returns:
        0.

    Raises:
        ConfigError: there is no such result, or no clone of the repository.
    """
    known = committed(folder)
    if not known:
        raise ConfigError(
            "there are no results here",
            where=str(folder),
            expected="a clone of the repository: an installed package does not carry them",
            mend="run it in the clone",
        )
    if config.name is None:
        output.result({"results": known})
        if not output.json:
            width = max(map(len, known)) + 2
            for name, command in known.items():
                output.console.print(f"{name:<{width}}{command}", markup=False, soft_wrap=True)
        return 0
    name = config.name.removesuffix(".json")
    if name not in known:
        raise ConfigError(
            f"there is no result {config.name!r}",
            where="reflexarc results",
            expected="one of " + ", ".join(known),
            mend="correct the name",
        )
    path = folder / f"{name}.json"
    document: Any = json.loads(path.read_text(encoding="utf-8"))
    whole = {"name": name, "command": known[name], "file": f"docs/results/{path.name}", "result": document}
    output.result(whole)
    if not output.json:
        output.console.print(f"made by: {known[name]}", markup=False, soft_wrap=True)
        output.console.print_json(data=document)
    return 0
