"""What decides a training run of teachers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardware.errors import ConfigError
from policies.raptor.training.teachers.bank import ACCEPTED_RETURN

Start = Literal["paper", "code"]


@dataclass(frozen=True)
class TeacherConfig:
    """Everything that decides what a training run of teachers gives.

    The defaults are the small recipe, for a CPU; where RAPTOR's published settings differ, they are named.
    """

    # The folder to write: the bank of teachers, learning curves and, until a group is done, its checkpoint.
    out: str
    # How many teachers, one for each of the first airframes that the seed draws; published: 1000.
    count: int = 16
    # Number of the first airframe: another machine can train the next ones.
    first: int = 0
    # Environment steps of every teacher; published: 1000000.
    steps: int = 100_000
    # Seed of the airframes and of the training.
    seed: int = 0
    # Teachers that are trained at once as one program; a GPU takes them all.
    group: int = 8
    # Where the networks are: cpu, cuda or cuda:N. The simulator is on the CPU in any case.
    device: str = "cpu"
    # Threads of Torch. NumPy's own follow OPENBLAS_NUM_THREADS.
    threads: int = 1
    # Stop after so many minutes with everything saved; the same command goes on. 0: until all is done.
    max_minutes: float = 0.0
    # Train every group as a task of Ray: `local`, or the address of a running cluster. Empty: here.
    ray: str = ""
    # Tilt of the vehicle at the start of an episode: `paper` up to 90 degrees, `code` up to 1 rad.
    start: Start = "paper"
    # Simulated vehicles of a teacher; several make experience cheaper. Published: 1.
    environments: int = 4
    # Environment steps of a teacher to one update of its networks.
    steps_per_update: int = 1
    # Environment steps before the first update; published: 10000.
    warm_up: int = 2_000
    # Transitions a teacher remembers; 0: all of them. Each takes 232 bytes.
    replay: int = 0
    # Width of both hidden layers of an actor.
    actor_hidden: int = 64
    # Width of both hidden layers of a critic; published: 256.
    critic_hidden: int = 64
    # Transitions a teacher sees in one update.
    batch_size: int = 128
    # Discount of a step of 10 ms.
    discount: float = 0.99
    # How much of the target critics stays at every update.
    polyak: float = 0.995
    # Learning rate of the actors; published: 3e-4.
    actor_rate: float = 1e-3
    # Learning rate of the critics; published: 3e-4.
    critic_rate: float = 1e-3
    # Learning rate of the temperatures.
    temperature_rate: float = 1e-4
    # Temperature at the start; published: 0.5.
    temperature: float = 0.1
    # Entropy that the temperature is steered to, nats.
    target_entropy: float = -2.0
    # Actor and temperature learn at every so manyth update of the critics.
    actor_every: int = 2
    # How much of the averaged actor stays when the actor learns. The averaged one is evaluated, kept and
    # taught from, the other one explores. 0: one and the same, as published.
    actor_average: float = 0.9998
    # Environment steps between two evaluations, the points of the learning curve.
    evaluate_every: int = 10_000
    # Episodes of an evaluation, each up to 5 s long.
    episodes: int = 100
    # Mean return below which a teacher is left out of the bank.
    minimum_return: float = ACCEPTED_RETURN

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range, or two of them do not fit each other.
        """
        positive = (
            *("count", "steps", "group", "threads", "environments", "steps_per_update", "actor_hidden"),
            *("critic_hidden", "batch_size", "discount", "actor_rate", "critic_rate", "temperature_rate"),
            *("temperature", "actor_every", "evaluate_every", "episodes"),
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise _wrong(name, getattr(self, name), "a positive number")
        for name in ("first", "seed", "max_minutes", "warm_up", "replay", "polyak", "actor_average"):
            if not getattr(self, name) >= 0:
                raise _wrong(name, getattr(self, name), "zero or a positive number")
        for name in ("discount", "polyak", "actor_average"):
            if not getattr(self, name) < 1.0:
                raise _wrong(name, getattr(self, name), "a number below 1")
        for name in ("steps", "evaluate_every"):
            if getattr(self, name) % self.environments:
                raise _wrong(name, getattr(self, name), f"a multiple of the {self.environments} environments")
        if self.steps % self.evaluate_every:
            raise _wrong("steps", self.steps, f"a multiple of evaluate_every, {self.evaluate_every}")
        if self.replay and self.replay < self.environments:
            raise _wrong("replay", self.replay, f"0 or at least the {self.environments} environments")

    @property
    def replay_size(self) -> int:
        """Transitions that a replay buffer holds."""
        return min(self.replay or self.steps, self.steps)


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} is {value!r}", where="teacher training", expected=expected, mend=f"correct {name}"
    )
