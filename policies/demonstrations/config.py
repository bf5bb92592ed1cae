"""The settings that every learner from demonstrations has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardware.chunk import Interpolation
from hardware.errors import ConfigError

# Settings that decide nothing about the weights; a training may go on with others.
FREE_SETTINGS = ("out", "device", "compile", "trackers", "parallel_rollouts")


@dataclass(frozen=True)
class ImitationConfig:
    """What is learned from, for which robot, and how weights are chosen."""

    # The policy folder to write.
    out: str
    # Demonstrations: a folder of recordings, a LeRobot dataset, or an .npz file of `sim.experts`; empty:
    # the task's expert gives them anew.
    data: str = ""
    # Recordings in which a person took over from a policy (DAgger): a folder each, a LeRobot dataset, or an
    # .npz file. Only what the person did while in command is learned, beside the demonstrations.
    interventions: tuple[str, ...] = ()
    # Behavior Retrieval: a large set of any behaviour, given as `data` is. Those of its steps that are most
    # like the demonstrations are learned from too. Empty: none.
    retrieve_from: str = ""
    # The share of its steps that is.
    retrieve_share: float = 0.3
    # DAgger in the twin: so many times, the trained policy works, the task's expert takes over where it is
    # lost, and all is learned anew.
    dagger_rounds: int = 0
    # Attempts a round, and the seed of the first.
    dagger_episodes: int = 20
    dagger_seed: int = 2_000_000
    # The expert takes over when its target of some joint is farther than this from the policy's for 0.2 s,
    # or half of the task's time has passed; it gives back when none is farther than the other, rad.
    dagger_takeover_rad: float = 0.15
    dagger_return_rad: float = 0.06
    # How many the expert gives, and the seed of the first: far from the seeds of roll-outs and tests.
    episodes: int = 600
    demonstration_seed: int = 1_000_000
    # Noise on what the expert executes (not on what it says), rad: its corrections are shown too.
    noise_std_rad: float = 0.008
    # The robot whose card names, orders and units the policy is made for.
    robot: str = "so101_twin"
    # The Gymnasium task that roll-outs are made in.
    task: str = "reflexarc/PickCube-v0"
    # The policy's name on its card.
    name: str = "pick-cube-bc"
    # Makes the run repeatable: initial weights, split, order of the batches.
    seed: int = 0
    # The terms that the policy sees, by their names on the robot card.
    observation: tuple[str, ...] = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")
    # Goal conditioning: the terms that the policy is asked for, by their names on the robot card. In training
    # each is what it was later in the same demonstration (hindsight); a run says what it is to become.
    goal: tuple[str, ...] = ()
    # How much later, at least and at most, seconds; never behind the demonstration's end.
    goal_ahead_s: tuple[float, float] = (0.4, 4.0)
    # The term that actions are learned as offsets from; empty: absolute set-points.
    relative_to: str = "joint_position"
    # Time between two actions of a demonstration and of a chunk, seconds.
    step_s: float = 0.04
    # Steps in a chunk.
    horizon: int = 16
    # Steps of a chunk that are carried out before the next one is asked for.
    execute: int = 4
    # How often the controller acts, Hz.
    rate_hz: float = 50.0
    # What the controller gives between two steps of a chunk.
    interpolation: Interpolation = Interpolation.LINEAR
    # Cross-fade from one chunk to the next, seconds.
    blend_s: float = 0.08
    # Whether the policy is told what is carried out while it thinks; one that can goes on from it.
    inpaint: bool = True
    # Gradient steps, if nothing ends the training before.
    steps: int = 12_000
    # Training pairs a gradient step, of each process.
    batch_size: int = 256
    # Peak learning rate; it rises over the first 2 % of the steps and falls to zero along a cosine.
    learning_rate: float = 1.5e-3
    # Decoupled weight decay.
    weight_decay: float = 1e-4
    # How slowly the averaged weights follow the trained ones; the averaged ones are evaluated and kept.
    average_decay: float = 0.998
    # Share of the demonstrations that is held out for the validation loss.
    validation_share: float = 0.1
    # Gradient steps between two evaluations, each of which keeps a checkpoint.
    evaluate_every: int = 2_400
    # Roll-outs an evaluation; the most successful weights are kept. 0: the validation loss chooses alone.
    rollouts: int = 50
    # Seed of the first roll-out; the others follow. Demonstrations and final tests use other ranges.
    rollout_seed: int = 900_000
    # Evaluations without a better one that end the training.
    patience: int = 4
    # The oldest data, from capture to motor, with which the policy still works, seconds.
    max_loop_age_s: float = 0.08
    # How long its last action may be used without a fresh observation, seconds.
    max_open_loop_s: float = 0.12
    # Where to compute: auto takes a CUDA device where there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Numbers of the matrix products in training: no is float32; fp16 needs a GPU.
    precision: Literal["no", "fp16", "bf16"] = "no"
    # Whether torch.compile makes the network's code in training.
    compile: bool = False
    # Who is told losses and success rates: tensorboard (files in the folder), wandb.
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range.
        """
        self._check_positive(
            "episodes",
            "step_s",
            "horizon",
            "execute",
            "dagger_episodes",
            "dagger_takeover_rad",
            "dagger_return_rad",
            "rate_hz",
            "steps",
            "batch_size",
            "learning_rate",
            "evaluate_every",
            "patience",
            "max_loop_age_s",
            "max_open_loop_s",
        )
        if self.execute > self.horizon:
            raise out_of_range("execute", self.execute, f"at most the horizon, {self.horizon}")
        for name in ("validation_share", "average_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise out_of_range(name, getattr(self, name), "a share, at least 0 and below 1")
        if self.dagger_return_rad > self.dagger_takeover_rad:
            raise out_of_range(
                "dagger_return_rad",
                self.dagger_return_rad,
                f"at most {self.dagger_takeover_rad}, to take over",
            )
        for name in (
            "rollouts",
            "blend_s",
            "noise_std_rad",
            "dagger_rounds",
            "dagger_seed",
            "demonstration_seed",
            "rollout_seed",
            "seed",
        ):
            if not getattr(self, name) >= 0:
                raise out_of_range(name, getattr(self, name), "zero or a positive number")

        if not 0.0 < self.retrieve_share <= 1.0:
            raise out_of_range("retrieve_share", self.retrieve_share, "a share above 0 and at most 1")
        earliest_s, latest_s = self.goal_ahead_s
        if not 0.0 <= earliest_s <= latest_s:
            raise out_of_range("goal_ahead_s", self.goal_ahead_s, "two times, the earlier one first")
        for name in ("rollouts", "dagger_rounds"):
            if self.goal and getattr(self, name):
                raise out_of_range(
                    name,
                    getattr(self, name),
                    "0 for a policy with a goal: tasks ask for none, so that the validation loss chooses",
                )

    @property
    def goal_steps(self) -> tuple[int, int]:
        """How many steps later a goal is, at least and at most."""
        earliest_s, latest_s = self.goal_ahead_s
        return round(earliest_s / self.step_s), round(latest_s / self.step_s)

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) > 0:
                raise out_of_range(name, getattr(self, name), "a positive number")


def out_of_range(name: str, value: object, expected: str) -> ConfigError:
    """The error for a setting with which no training can run."""
    return ConfigError(
        f"{name} is {value!r}", where="training config", expected=expected, mend=f"correct {name}"
    )
