"""Collects demonstrations of a task from its expert."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.robot import CameraSpec
from sim.experts.demonstrations import Demonstrations
from sim.experts.eyes import Eyes
from sim.experts.library import Expert, make_expert
from sim.worlds.arm_world import ArmWorld
from sim.worlds.gated import TargetWire
from sim.worlds.library import find_world

FloatArray = NDArray[np.float64]
_NOISE_STREAM = 1
_SHUTTER_STREAM = 2


@dataclass(frozen=True)
class ActionNoise:
    """Noise on what is executed, never on the label (DART: Laskey et al., 2017).

    The arm drifts off the expert's path and the expert shows how to get back, so that a learner
    knows what to do after its own small errors.
    """

    # Standard deviation in the long run, rad.
    std_rad: float = 0.008
    # How much of the noise stays until the next step, 0 (white) to just below 1.
    persistence: float = 0.85

    def __post_init__(self) -> None:
        """Refuse numbers that make no noise.

        Raises:
            ConfigError: a number is out of range.
        """
        if not (self.std_rad >= 0 and 0 <= self.persistence < 1):
            raise ConfigError(
                f"std_rad {self.std_rad}, persistence {self.persistence}",
                where="ActionNoise",
                expected="zero or more, and 0 to below 1",
                mend="correct the number",
            )


def collect(
    episodes: int,
    *,
    task: str = "reflexarc/PickCube-v0",
    first_seed: int = 0,
    noise: ActionNoise | None = None,
    settings: Any = None,  # noqa: ANN401
    duration_s: float | None = None,
    tail_s: float = 0.4,
    expert: Expert | None = None,
    cameras: Mapping[str, CameraSpec] | None = None,
    image_size: tuple[int, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Demonstrations:
    """Let the expert work.

    Args:
        episodes: how many, one after the other.
        task: the Gymnasium name of a task with an expert.
        first_seed: seed of the first episode, the next has one more; the same seed begins as
            `reset(seed=...)` of the task does.
        noise: on the executed actions; None: none.
        settings: how an attempt begins and what counts as success, of the task's world; None: as usual.
        duration_s: when an episode without success ends; None: as the task does.
        tail_s: how long an episode goes on after success, so that holding is shown too.
        expert: who works; None: one with its usual settings.
        cameras: whose images are kept, as the robot's card describes them; None: none. They change nothing
            about what happens.
        image_size: width and height of the images, pixels, at most those of the cameras; None: theirs.
        progress: called with the number of finished episodes after each.

    Returns:
        All episodes, failed ones too (`Demonstrations.successful` leaves them out).

    Raises:
        ConfigError: the number of episodes or the seed is negative, the task is unknown or has no such
            camera, or a camera's images are smaller than wanted.
    """
    if episodes < 0 or first_seed < 0:
        raise ConfigError(
            f"episodes {episodes}, first_seed {first_seed}",
            where="collect",
            expected="zero or more",
            mend="correct the number",
        )
    kind: Any = find_world(task)
    world: ArmWorld = kind(settings=settings)
    expert = expert or make_expert(task)
    eyes = Eyes(world, cameras or {}, size=image_size)
    wire = TargetWire(world)
    kept = _Kept()
    lengths: list[int] = []
    success: list[bool] = []
    with contextlib.closing(eyes):
        for number in range(episodes):
            before = len(kept.rows)
            seed = first_seed + number
            world.reset(np.random.default_rng(seed))
            wire.reset()
            expert.reset(seed)
            eyes.begin(np.random.default_rng((seed, _SHUTTER_STREAM)))
            disturb = _Noise(noise, np.random.default_rng((seed, _NOISE_STREAM)), len(world.JOINTS))
            succeeded = _episode(
                world, wire, expert, eyes, disturb, duration_s or world.DURATION_S, tail_s, kept
            )
            lengths.append(len(kept.rows) - before)
            success.append(succeeded)
            if progress is not None:
                progress(number + 1)
    return Demonstrations(
        observations={name: np.array([row[name] for row in kept.rows]) for name in world.observe()},
        images={name: np.stack([seen[name] for seen in kept.images]) for name in eyes.images},
        actions=np.array(kept.labels).reshape(-1, len(world.JOINTS)),
        executed=np.array(kept.executed).reshape(-1, len(world.JOINTS)),
        episode=np.repeat(np.arange(episodes, dtype=np.int64), lengths),
        success=np.array(success, dtype=np.bool_),
        seeds=np.arange(first_seed, first_seed + episodes, dtype=np.int64),
        action_names=world.JOINTS,
        period_ns=1_000_000_000 // world.CONTROL_HZ,
        task=task,
    )


@dataclass
class _Kept:
    """What is kept of every step of all episodes."""

    rows: list[dict[str, FloatArray]] = field(default_factory=list)
    images: list[dict[str, NDArray[np.uint8]]] = field(default_factory=list)
    labels: list[FloatArray] = field(default_factory=list)
    executed: list[FloatArray] = field(default_factory=list)


class _Noise:
    def __init__(self, noise: ActionNoise | None, rng: np.random.Generator, size: int) -> None:
        self._noise, self._rng = noise, rng
        self._value = np.zeros(size)

    def __call__(self) -> FloatArray:
        if self._noise is not None:
            keep = self._noise.persistence
            fresh = self._noise.std_rad * np.sqrt(1 - keep**2) * self._rng.standard_normal(len(self._value))
            self._value = keep * self._value + fresh
        return self._value


def _episode(
    world: ArmWorld,
    wire: TargetWire,
    expert: Expert,
    eyes: Eyes,
    disturb: _Noise,
    duration_s: float,
    tail_s: float,
    kept: _Kept,
) -> bool:
    period_ns = 1_000_000_000 // world.CONTROL_HZ
    end_ns = round(duration_s * 1e9)
    succeeded = False
    ranges = world.joint_ranges
    while world.time_ns < end_ns:
        observation = world.observe()
        action = np.clip(expert.act(observation), ranges[:, 0], ranges[:, 1])
        kept.rows.append(observation)
        kept.images.append(eyes.images)
        kept.labels.append(action)
        executed = np.clip(action + disturb(), ranges[:, 0], ranges[:, 1])
        kept.executed.append(executed)
        wire.hold(executed, period_ns, advance=eyes.advance)
        if world.success and not succeeded:
            succeeded = True
            end_ns = world.time_ns + round(tail_s * 1e9)
    return succeeded
