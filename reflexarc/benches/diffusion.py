"""`reflexarc bench diffusion`: our diffusion policy beside LeRobot's, with the same sizes and weights."""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from policies.demonstrations.statistics import Normalisation
    from policies.diffusion.config import DiffusionConfig
    from policies.diffusion.network import DiffusionNetwork

THEIRS, GRAPH, TORCH = "LeRobot DiffusionPolicy", "ours, ONNX graph", "ours, Torch"
_TERM = "joint_position"
_OBSERVED, _ELEMENTS = 19, 6


@dataclass(frozen=True)
class DiffusionBench:
    """What to compare."""

    # Channels at each level of the U-Net, and the length of its convolutions.
    channels: tuple[int, ...] = (64, 128, 256)
    kernel: int = 5
    # Length of the chunk, observations that are seen, and evaluations of the network for a chunk.
    horizon: int = 16
    observation_steps: int = 2
    inference_steps: int = 10
    # Training pairs a gradient step.
    batch_size: int = 64
    # Chunks and gradient steps in a repeat, and repeats; all contenders run in each, in moving order.
    chunks: int = 3
    gradient_steps: int = 3
    repeats: int = 9
    # Threads of Torch and of ONNX Runtime.
    threads: int = 1
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: DiffusionBench, progress: Progress) -> BenchReport:
    """Time one chunk and one gradient step of both.

    Args:
        config: sizes and how long.
        progress: is told every repeat.

    Returns:
        The report; its ratios are times over those of LeRobot.

    Raises:
        ConfigError: a count is not positive, or LeRobot cannot be loaded.
    """
    import torch

    for name in ("chunks", "gradient_steps", "repeats", "threads", "batch_size"):
        if getattr(config, name) < 1:
            raise ConfigError(
                f"{name} is {getattr(config, name)}",
                where="bench diffusion",
                expected="1 or more",
                mend="raise it",
            )
    machine = describe_machine()
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            answers, disagreement = _answers(config)
            steps = _gradient_steps(config, Path(folder))
            total = 2 * config.repeats
            chunk_s = _time(answers, config.chunks, config.repeats, lambda n: progress(n, total))
            step_s = _time(
                steps,
                config.gradient_steps,
                config.repeats,
                lambda n: progress(config.repeats + n, total),
            )
    finally:
        torch.set_num_threads(threads)
    rows = []
    for name in (THEIRS, GRAPH, TORCH):
        trains = step_s.get(name)
        rows.append(
            {
                "name": name,
                "chunk_ms": 1e3 * statistics.median(chunk_s[name]),
                "chunk_best_ms": 1e3 * min(chunk_s[name]),
                "chunk_ratio": _ratio(chunk_s, name),
                "steps_per_s": None if trains is None else 1.0 / statistics.median(trains),
                "steps_ratio": None if trains is None else 1.0 / _ratio(step_s, name),
                "disagreement": disagreement.get(name),
            }
        )
    return BenchReport(
        name="diffusion",
        title=f"Diffusion policy, U-Net {' '.join(map(str, config.channels))}: ours beside LeRobot's",
        columns=(
            Column("name", "contender"),
            Column("chunk_ms", "chunk, ms (median)"),
            Column("chunk_best_ms", "ms (best)"),
            Column("chunk_ratio", "× LeRobot"),
            Column("steps_per_s", "gradient steps/s"),
            Column("steps_ratio", "× LeRobot"),
            Column("disagreement", "largest difference", 7),
        ),
        rows=tuple(rows),
        ratios={
            f"{THEIRS}'s time for a chunk, {GRAPH}": _ratio(chunk_s, GRAPH),
            f"{THEIRS}'s time for a chunk, {TORCH}": _ratio(chunk_s, TORCH),
            f"{THEIRS}'s gradient steps a second, {TORCH}": 1.0 / _ratio(step_s, TORCH),
        },
        machine=machine,
        settings={
            "channels": config.channels,
            "kernel": config.kernel,
            "horizon": config.horizon,
            "observation_steps": config.observation_steps,
            "inference_steps": config.inference_steps,
            "batch_size": config.batch_size,
            "chunks": config.chunks,
            "gradient_steps": config.gradient_steps,
            "repeats": config.repeats,
            "threads": config.threads,
        },
        notes=(
            f"A chunk: `select_action` of LeRobot with an empty queue of actions, `act` of ours; DDIM,"
            f" {config.inference_steps} steps, the same weights, noise and observations in all; the largest"
            " difference of an action is in the table. No images.",
            f"A gradient step: batch {config.batch_size}, from memory. LeRobot: `update_policy` of its"
            " `lerobot-train`, with its own optimiser, schedule and accelerator, without its data loader."
            " Ours: everything that `reflexarc train diffusion` does, the averaged weights included.",
        ),
    )


def _time(
    contenders: Mapping[str, Callable[[], None]], count: int, repeats: int, note: Callable[[int], None]
) -> dict[str, list[float]]:
    """Seconds of one call, for every repeat."""
    names = list(contenders)
    for run in contenders.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in (*names[first:], *names[:first]):
            began = time.perf_counter()
            for _ in range(count):
                contenders[name]()
            found[name].append((time.perf_counter() - began) / count)
        note(repeat + 1)
    return found


def _ratio(found: Mapping[str, list[float]], name: str) -> float:
    """The median over repeats of a time over LeRobot's in the same repeat."""
    return statistics.median(ours / theirs for ours, theirs in zip(found[name], found[THEIRS], strict=True))


def _answers(config: DiffusionBench) -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
    """What gives a chunk, and how far the answers of ours are from LeRobot's."""
    import torch

    from hardware.robot import Observation
    from policies.diffusion.policy import DiffusionPolicy
    from policies.policy import ActContext
    from reflexarc.benches.diffusion_peer import lerobot_policy

    network = _network(config)
    theirs = lerobot_policy(network)
    random = np.random.default_rng(1)
    values = random.standard_normal((config.observation_steps, _OBSERVED)).astype(np.float32)
    past = tuple(Observation({_TERM: row.astype(np.float64)}, 0, 0) for row in values[:-1])
    newest = Observation({_TERM: values[-1].astype(np.float64)}, 0, 0)
    noise = np.random.default_rng(2).standard_normal((1, 1, config.horizon, _ELEMENTS), dtype=np.float32)

    def ours(policy: DiffusionPolicy) -> Callable[[], Any]:
        return lambda: policy.act(
            newest, context=ActContext(now_ns=0, past=past, rng=np.random.default_rng(2))
        )

    batches = [
        {
            "observation.state": torch.from_numpy(row[None, :1].copy()),
            "observation.environment_state": torch.from_numpy(row[None, 1:].copy()),
        }
        for row in values
    ]
    first = torch.from_numpy(noise[:, 0])

    def select() -> Any:  # noqa: ANN401
        # Between two chunks LeRobot's queue of actions is empty, its queue of observations is not.
        theirs._queues["action"].clear()
        return theirs.select_action(dict(batches[-1]), noise=first)

    for batch in batches[:-1]:
        theirs.select_action(dict(batch), noise=first)
    select()
    chunk = np.stack([theirs._queues["action"][i][0].numpy() for i in range(len(theirs._queues["action"]))])
    contenders: dict[str, Callable[[], Any]] = {THEIRS: select}
    disagreement = {}
    for name, policy in _policies(config, network).items():
        contenders[name] = ours(policy)
        drawn = contenders[name]().values
        # The first action of LeRobot's chunk has left its queue.
        disagreement[name] = float(np.abs(drawn[1 : 1 + len(chunk)] - chunk).max())
    return contenders, disagreement


def _policies(config: DiffusionBench, network: DiffusionNetwork) -> dict[str, Any]:
    """Ours, with both back ends."""
    from policies.card import POLICY_CARD_SCHEMA, PolicyAction, PolicyCard
    from policies.diffusion.backends import OnnxBackend, TorchBackend
    from policies.diffusion.onnx_model import onnx_model
    from policies.diffusion.policy import DiffusionPolicy

    layout = _layout()
    card = PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name="bench",
        method="diffusion",
        robot_kind="arm",
        observation=layout.terms,
        action=PolicyAction(
            kind=_command_kind(),
            names=tuple("abcdef"),
            unit="rad",
            horizon=config.horizon - config.observation_steps + 1,
            step_s=0.04,
        ),
        rate_hz=25.0,
        max_loop_age_s=0.1,
        max_open_loop_s=0.1,
        history=config.observation_steps,
        parameters=network.settings.as_parameters(),
    )
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "model.safetensors")
        torch_backend = TorchBackend(Path(folder) / "model.safetensors", network.settings, layout)
    graph = OnnxBackend(onnx_model(network), network.settings, layout, _ELEMENTS)
    return {GRAPH: DiffusionPolicy(card, graph), TORCH: DiffusionPolicy(card, torch_backend)}


def _gradient_steps(config: DiffusionBench, folder: Path) -> dict[str, Callable[[], None]]:
    """What takes one gradient step."""
    import torch
    from accelerate import Accelerator
    from lerobot.scripts.lerobot_train import update_policy
    from lerobot.utils.logging_utils import AverageMeter, MetricsTracker

    from policies.demonstrations.episode import Episode
    from policies.diffusion.fit import DiffusionLearner
    from reflexarc.benches.diffusion_peer import lerobot_policy

    random = np.random.default_rng(3)
    episodes = [
        Episode({_TERM: random.standard_normal((64, _OBSERVED))}, random.uniform(-1.0, 1.0, (64, _ELEMENTS)))
        for _ in range(20)
    ]
    ours = DiffusionLearner(_training(config, folder), episodes, _layout(), tuple("abcdef"))
    policy = lerobot_policy(_network(config)).train()
    accelerator = Accelerator(cpu=True)
    preset = policy.config.get_optimizer_preset()
    optimiser = preset.build(policy.get_optim_params())
    schedule = policy.config.get_scheduler_preset().build(optimiser, 10_000)
    policy, optimiser, schedule = accelerator.prepare(policy, optimiser, schedule)
    meters = {
        name: AverageMeter(name, ":.3f") for name in ("loss", "grad_norm", "lr", "update_s", "dataloading_s")
    }
    tracker = MetricsTracker(config.batch_size, 1280, 20, meters, initial_step=0)
    seen = torch.randn(config.batch_size, config.observation_steps, _OBSERVED)
    batch = {
        "observation.state": seen[..., :1],
        "observation.environment_state": seen[..., 1:],
        "action": torch.rand(config.batch_size, config.horizon, _ELEMENTS) * 2.0 - 1.0,
        "action_is_pad": torch.zeros(config.batch_size, config.horizon, dtype=torch.bool),
    }

    def update() -> None:
        update_policy(
            tracker, policy, dict(batch), optimiser, preset.grad_clip_norm, accelerator, lr_scheduler=schedule
        )

    return {THEIRS: update, TORCH: ours.advance}


def _training(config: DiffusionBench, folder: Path) -> DiffusionConfig:
    from policies.diffusion.config import DiffusionConfig
    from policies.diffusion.settings import Prediction

    return DiffusionConfig(
        out=str(folder),
        channels=config.channels,
        kernel=config.kernel,
        step_embedding=128,
        # LeRobot's has none, and tells the noise.
        encoder=(),
        prediction=Prediction.EPSILON,
        horizon=config.horizon,
        execute=1,
        observation_steps=config.observation_steps,
        inference_steps=config.inference_steps,
        relative_to="",
        prefix_steps=0,
        batch_size=config.batch_size,
        device="cpu",
    )


def _network(config: DiffusionBench) -> DiffusionNetwork:
    import torch

    from policies.diffusion.network import DiffusionNetwork

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = _training(config, Path(folder)).model()
        network = DiffusionNetwork(settings, _identity(config))
    network.eval().requires_grad_(False)
    return network


def _identity(config: DiffusionBench) -> Normalisation:
    """Neither network normalises."""
    from policies.demonstrations.statistics import Normalisation

    shape = (config.horizon, _ELEMENTS)
    return Normalisation(
        observation_size=_OBSERVED,
        plain=np.arange(_OBSERVED),
        pairs=np.zeros((2, 0), np.int64),
        feature_mean=np.zeros(_OBSERVED, np.float32),
        feature_scale=np.ones(_OBSERVED, np.float32),
        action_scale=np.ones(shape, np.float32),
        action_mean=np.zeros(shape, np.float32),
        base=np.full(_ELEMENTS, -1),
    )


def _layout() -> Any:  # noqa: ANN401
    from policies.card import PolicyTerm
    from policies.demonstrations.layout import Layout

    return Layout({_TERM: PolicyTerm(tuple(f"x{i}" for i in range(_OBSERVED)), "rad")})


def _command_kind() -> Any:  # noqa: ANN401
    from hardware.command import CommandKind

    return CommandKind.JOINT_POSITION


@contextlib.contextmanager
def _quiet() -> Any:  # noqa: ANN401
    """LeRobot logs and warns on import and while it builds policies; a table is all that is wanted here."""
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
