"""`reflexarc bench`: the benches by name, and what shows and keeps their reports."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflexarc.commands import Command, Example, resolve
from reflexarc.imports import add_ros_package
from reflexarc.output import Output


@dataclass(frozen=True)
class Bench:
    """Where a bench lives. It is imported when it runs."""

    # The module.
    module: str
    # In it: the dataclass of its settings, which has a field `out`.
    config: str
    # In it: from settings and progress to a BenchReport.
    function: str
    # One sentence, for the lists.
    description: str
    # At least two.
    examples: tuple[Example, ...]


BENCHES: Mapping[str, Bench] = {
    "loop": Bench(
        module="reflexarc.benches.loop",
        config="LoopBench",
        function="measure",
        description="Photon-to-motor latency over ROS 2, beside the same loop in one process.",
        examples=(
            Example("reflexarc bench loop", "quadrotor at 100 and 400 Hz, and the arm; two minutes"),
            Example("reflexarc bench loop --seconds 5 --rates 100 --no-arm", "one case, quickly"),
            Example("reflexarc bench loop --json --out loop.json", "for machines, and kept in a file"),
        ),
    ),
    "faults": Bench(
        module="reflexarc.benches.faults",
        config="FaultsBench",
        function="measure",
        description="Wall time from each of twelve faults, made in flight, to the robot's safe action.",
        examples=(
            Example("reflexarc bench faults", "all of them, twenty times each; a quarter of an hour"),
            Example("reflexarc bench faults --repeats 3 --faults 'policy killed'", "one of them, quickly"),
        ),
    ),
    "demonstrations": Bench(
        module="reflexarc.benches.demonstrations",
        config="DemonstrationsBench",
        function="measure",
        description="Demonstrations over ROS 2, verified, exported, loaded by LeRobot, trained on by it.",
        examples=(
            Example("reflexarc bench demonstrations", "50 of PickCube and 100 of PegInsert; half an hour"),
            Example(
                "reflexarc bench demonstrations --tasks PickCube --episodes 2 --keep /tmp/demonstrations",
                "two of one task, quickly; a second call goes on with what is there",
            ),
        ),
    ),
    "diffusion": Bench(
        module="reflexarc.benches.diffusion",
        config="DiffusionBench",
        function="measure",
        description="A chunk and a gradient step of a diffusion policy, beside LeRobot's with equal weights.",
        examples=(
            Example("reflexarc bench diffusion", "a U-Net of 4 million numbers; a minute or two"),
            Example(
                "reflexarc bench diffusion --channels 32 64 --repeats 3 --json", "a small one, for machines"
            ),
        ),
    ),
    "diffusion-options": Bench(
        module="reflexarc.benches.diffusion_options",
        config="OptionsBench",
        function="measure",
        description="What each choice about a diffusion policy is worth: the same training with and without.",
        examples=(
            Example("reflexarc bench diffusion-options", "every choice, three seeds; an hour"),
            Example(
                "reflexarc bench diffusion-options --cameras front wrist --episodes 150",
                "choices about images, three seeds; two hours",
            ),
            Example(
                "reflexarc bench diffusion-options --choices encoder --seeds 1 --steps 300", "one, quickly"
            ),
        ),
    ),
    "imitation-options": Bench(
        module="reflexarc.benches.imitation_options",
        config="ImitationOptionsBench",
        function="measure",
        description="Goals and Behavior Retrieval: successes with and without them, several seeds.",
        examples=(
            Example("reflexarc bench imitation-options", "three seeds; half an hour"),
            Example(
                "reflexarc bench imitation-options --seeds 1 --diffusion-steps 0 --episodes 30",
                "behaviour cloning alone, quickly",
            ),
        ),
    ),
    "dagger": Bench(
        module="reflexarc.benches.dagger",
        config="DaggerBench",
        function="measure",
        description="Behaviour cloning with and without interventions, for the same expert steps, by seed.",
        examples=(
            Example("reflexarc bench dagger", "three seeds, eighteen trainings; five minutes and more"),
            Example(
                "reflexarc bench dagger --seeds 0 --steps 500 --rollouts 20", "quickly, too little to learn"
            ),
        ),
    ),
    "onboard": Bench(
        module="reflexarc.benches.onboard",
        config="OnboardBench",
        function="measure",
        description="A RAPTOR policy as C: time on this machine, instructions and bytes on a Cortex-M4F.",
        examples=(
            Example("reflexarc bench onboard", "the published policy; a quarter of a minute"),
            Example("reflexarc bench onboard --policy outputs/raptor --json", "yours, for machines"),
        ),
    ),
    "raptor": Bench(
        module="reflexarc.benches.raptor",
        config="RaptorBench",
        function="measure",
        description="Time of one RAPTOR step: our back ends beside the authors' foundation_policy.",
        examples=(
            Example("reflexarc bench raptor", "a few seconds"),
            Example("reflexarc bench raptor --json --out raptor.json", "for machines, and kept in a file"),
        ),
    ),
    "seams": Bench(
        module="reflexarc.benches.seams",
        config="SeamsBench",
        function="measure",
        description="How smoothly chunks join while a policy thinks: switched, blended, in-painted.",
        examples=(
            Example("reflexarc bench seams", "the diffusion policy that comes with us; a minute or two"),
            Example("reflexarc bench seams --episodes 2 --delays-s 0.12 --plot seams.png", "quickly, drawn"),
        ),
    ),
    "planning": Bench(
        module="reflexarc.benches.planning",
        config="PlanningBench",
        function="measure",
        description="Flight time through waypoints: searched, and told ahead, beside plain minimum snap.",
        examples=(
            Example("reflexarc bench planning", "24 lists of waypoints; a few minutes"),
            Example("reflexarc bench planning --seeds 1 --sets 2 --learned 8", "quickly"),
        ),
    ),
    "quadrotor": Bench(
        module="reflexarc.benches.quadrotor",
        config="QuadrotorBench",
        function="measure",
        description="Our batched simulator beside l2f; RAPTOR in NumPy and as C99 beside foundation_policy.",
        examples=(
            Example("reflexarc bench quadrotor", "a minute; `make env NAME=l2f` first, for the comparison"),
            Example("reflexarc bench quadrotor --vehicles 1024 --repeats 1 --seconds 0.2", "quickly"),
        ),
    ),
}


def run_bench(name: str, config: Any, output: Output) -> int:  # noqa: ANN401
    """Run a bench and show its report.

    Args:
        name: a key of `BENCHES`.
        config: its settings.
        output: where the report goes.

    Returns:
        0.

    Raises:
        ConfigError: settings out of range, or a library is missing.
    """
    from reflexarc.benches.report import show_report, write_report

    add_ros_package()
    bench = BENCHES[name]
    measure = resolve(f"{bench.module}:{bench.function}")
    with output.progress(f"bench {name}") as progress:
        report = measure(config, progress)
    if config.out is not None:
        write_report(report, config.out)
    show_report(report, output)
    return 0


COMMANDS: Mapping[str, Command] = {
    name: Command(
        summary=bench.description,
        config=f"{bench.module}:{bench.config}",
        run=functools.partial(run_bench, name),
        examples=bench.examples,
        details="Prints a table, the ratios and the machine; --out keeps the report as JSON.",
    )
    for name, bench in BENCHES.items()
}
