"""What decides a training run of ACT."""

from __future__ import annotations

from dataclasses import dataclass

from policies.demonstrations.config import out_of_range


@dataclass(frozen=True)
class ActTrainConfig:
    """Everything that decides what `reflexarc train act` gives."""

    # The policy folder to write; what belongs to the training alone lies beside it, in <out>.work.
    out: str
    # Demonstrations: a LeRobot dataset, a folder of recordings, or an .npz file of `sim.experts`; empty:
    # the scripted expert gives them anew.
    data: str = ""
    # How many the expert gives, and the seed of the first: far from the seeds of roll-outs and tests.
    episodes: int = 200
    demonstration_seed: int = 1_000_000
    # Noise on what the expert executes (not on what it says), rad: its corrections are shown too.
    noise_std_rad: float = 0.008
    # The robot whose card names, orders and units the policy is made for.
    robot: str = "so101_twin"
    # The Gymnasium task that roll-outs are made in.
    task: str = "reflexarc/PickCube-v0"
    # The instruction that is written beside demonstrations that have none.
    instruction: str = "pick up the cube"
    # The policy's name on its card.
    name: str = "pick-cube-act"
    # Makes the run repeatable: initial weights, held-out episodes, order of the batches.
    seed: int = 0
    # The terms that the policy sees, by their names on the robot card; empty: all that the data holds.
    observation: tuple[str, ...] = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")
    # Time between two actions of a demonstration and of a chunk, seconds.
    step_s: float = 0.04
    # Steps in a chunk.
    horizon: int = 16
    # Steps of a chunk that are carried out before the next one is asked for.
    execute: int = 8
    # How often the controller acts; between the steps of a chunk it interpolates, Hz.
    rate_hz: float = 50.0
    # Cross-fade from one chunk to the next, seconds.
    blend_s: float = 0.08
    # Width of the transformer, its heads, its feed-forward layers and its encoder layers.
    dim_model: int = 128
    n_heads: int = 4
    dim_feedforward: int = 512
    n_encoder_layers: int = 2
    # Weight of the variational part of the loss.
    kl_weight: float = 10.0
    # Gradient steps, if nothing ends the training before.
    steps: int = 20_000
    # Training pairs a gradient step, of each process.
    batch_size: int = 64
    # Learning rate, of AdamW, constant as in LeRobot's preset.
    learning_rate: float = 1e-4
    # Decoupled weight decay.
    weight_decay: float = 1e-4
    # Share of the demonstrations that is held out for the validation loss.
    validation_share: float = 0.1
    # Gradient steps between two evaluations.
    evaluate_every: int = 4_000
    # Roll-outs an evaluation; the most successful weights are kept. 0: the validation loss chooses alone.
    rollouts: int = 20
    # Seed of the first roll-out; the others follow. Demonstrations and final tests use other ranges.
    rollout_seed: int = 900_000
    # Evaluations without a better one that end the training.
    patience: int = 4
    # Where the network is trained, as torch names it.
    device: str = "cpu"
    # Whether the training computes in half precision where that is safe; for GPUs.
    mixed_precision: bool = False
    # Processes that share the gradients, one a GPU.
    processes: int = 1
    # Processes that read data beside the training.
    workers: int = 0
    # Name of a Weights & Biases project that is told losses and success rates; empty: none, nothing is sent.
    wandb_project: str = ""
    # The oldest data, from capture to motor, with which the policy still works, seconds.
    max_loop_age_s: float = 0.08
    # How long its last action may be used without a fresh observation, seconds.
    max_open_loop_s: float = 0.12

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range.
        """
        for name in (
            "episodes",
            "step_s",
            "horizon",
            "execute",
            "rate_hz",
            "dim_model",
            "n_heads",
            "dim_feedforward",
            "n_encoder_layers",
            "steps",
            "batch_size",
            "processes",
            "learning_rate",
            "evaluate_every",
            "patience",
            "max_loop_age_s",
            "max_open_loop_s",
        ):
            if not getattr(self, name) > 0:
                raise out_of_range(name, getattr(self, name), "a positive number")
        if self.execute > self.horizon:
            raise out_of_range("execute", self.execute, f"at most the horizon, {self.horizon}")
        if self.dim_model % (2 * self.n_heads):
            raise out_of_range("dim_model", self.dim_model, f"a multiple of twice the {self.n_heads} heads")
        if not 0.0 < self.validation_share < 1.0:
            raise out_of_range("validation_share", self.validation_share, "a share, above 0 and below 1")
        for name in (
            "rollouts",
            "blend_s",
            "noise_std_rad",
            "demonstration_seed",
            "rollout_seed",
            "seed",
            "workers",
        ):
            if not getattr(self, name) >= 0:
                raise out_of_range(name, getattr(self, name), "zero or a positive number")
