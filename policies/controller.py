"""The layered controller: base, steering, schedule and residual, composed from one YAML file.

Data flows one way: the base proposes chunks, steering picks one, the schedule turns chunks into the
action of this very moment, residual layers correct it with the fresh observation. Steering and
residual layers come in lists that may be empty; every layer can be switched while the system runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hardware import schema
from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard
from policies.card import Binding, PolicyCard, bind
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy

CONTROLLER_SCHEMA = "reflexarc/controller/1"
# In a policy folder: how its chunks are to be carried out.
CONTROLLER_FILE = "controller.yaml"


class Steering(Protocol):
    """Picks one of the base policy's proposals."""

    name: str
    # How many proposals it wants to see.
    proposals: int

    def choose(self, observation: Observation, chunk: ActionChunk) -> ActionChunk:
        """Return the chunk with the chosen set-points."""


class Residual(Protocol):
    """Corrects the scheduled action with the fresh observation."""

    name: str

    def correct(self, observation: Observation, action: FloatArray) -> FloatArray:
        """Return the corrected action, shape (D,), in the policy's order and unit."""


@dataclass(frozen=True)
class ScheduleConfig:
    """How chunks become the action of the moment."""

    # Cross-fade from an old chunk to a new one, seconds.
    blend_s: float = 0.0
    # What to give between two steps.
    interpolation: Interpolation = Interpolation.HOLD


@dataclass(frozen=True)
class ControllerConfig:
    """The YAML file of a controller."""

    # The version of this format.
    schema: str
    # The base policy's folder, relative to the file.
    base: str
    # Settings of the base policy's loader (back end, clipping).
    options: Mapping[str, Any] = field(default_factory=dict)
    # The schedule.
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@dataclass(frozen=True)
class LayerReport:
    """What each layer did in the last step."""

    # Action after each layer by the layer's name, shape (D,), robot order.
    actions: Mapping[str, FloatArray]
    # Time each layer took, in seconds.
    timing_s: Mapping[str, float]


class Controller:
    """Runs one bound policy with its layers.

    Args:
        base: the base policy.
        robot: the robot's card.
        steering: layers that pick among proposals, in order.
        residual: layers that correct the action, in order.
        schedule: how chunks become actions.
        steady_clock: gives the steady clock in nanoseconds, for the timing report.

    Raises:
        ConfigErrors: policy and robot do not fit.
    """

    def __init__(
        self,
        base: Policy,
        robot: RobotCard,
        *,
        steering: Sequence[Steering] = (),
        residual: Sequence[Residual] = (),
        schedule: ScheduleConfig | None = None,
        steady_clock: Callable[[], int],
    ) -> None:
        """Bind the policy to the robot and start with an empty schedule."""
        schedule = schedule or ScheduleConfig()
        self.base = base
        self.binding: Binding = bind(base.card, robot)
        self._steering = tuple(steering)
        self._residual = tuple(residual)
        self._enabled = {s.name: True for s in self._steering} | {r.name: True for r in self._residual}
        self._schedule = Schedule(blend_s=schedule.blend_s, interpolation=schedule.interpolation)
        self._clock = steady_clock
        self._order = list(self.binding.action_order)
        self._is_ordered = self._order == list(range(len(self._order)))
        self._gather = {
            name: list(order)
            for name, order in self.binding.term_order.items()
            if list(order) != list(range(len(robot.observations[name].names)))
        }
        self._period_ns = round(1e9 / base.card.rate_hz)
        self._report = LayerReport({}, {})
        self._rng = np.random.default_rng(0)

    @property
    def card(self) -> PolicyCard:
        """The base policy's card."""
        return self.base.card

    @property
    def layers(self) -> tuple[str, ...]:
        """The steering and residual layers, in order."""
        return tuple(self._enabled)

    @property
    def report(self) -> LayerReport:
        """What each layer did in the last step."""
        return self._report

    def enable(self, layer: str, *, on: bool) -> None:
        """Switch a steering or residual layer.

        Args:
            layer: its name.
            on: whether it acts from the next step on.

        Raises:
            ConfigError: there is no such layer.
        """
        if layer not in self._enabled:
            raise ConfigError(
                f"there is no layer {layer!r}",
                where="controller",
                expected="one of " + (", ".join(self._enabled) or "none: this controller has only its base"),
                mend="correct the name",
            )
        self._enabled[layer] = on

    def reset(self, seed: int | None = None) -> None:
        """Begin anew: empty schedule, recurrent state by the card's rules, randomness from the seed."""
        self._schedule.clear()
        self._rng = np.random.default_rng(seed)
        self.base.reset(seed)

    def act(self, observation: Observation, *, now_ns: int) -> ActionChunk:
        """Do one control step.

        Args:
            observation: the robot's terms and the reference terms.
            now_ns: the ROS clock, in nanoseconds.

        Returns:
            A chunk of one step in the robot's order, that starts at the observation's stamp and
            may be used for the card's `max_open_loop_s`.

        Raises:
            PolicyError: an observation or an action is not finite, or no chunk is valid any more.
        """
        if not observation.is_finite:
            bad = sorted(n for n, v in observation.values.items() if not np.isfinite(v).all())
            raise PolicyError(f"the observation is not finite: {', '.join(bad)}")
        if self._gather:
            values = {
                n: v[self._gather[n]] if n in self._gather else v for n, v in observation.values.items()
            }
            observation = Observation(
                values, observation.stamp_ns, observation.received_steady_ns, observation.images
            )
        actions: dict[str, FloatArray] = {}
        timing: dict[str, float] = {}
        began = self._clock()
        if self._is_due(observation.stamp_ns):
            self._plan(observation, now_ns)
        action = self._schedule.sample(observation.stamp_ns)
        if action is None:
            raise PolicyError("no chunk of the base policy covers this moment")
        began = self._note("base", action, began, actions, timing)
        for layer in self._residual:
            if self._enabled[layer.name]:
                action = layer.correct(observation, action)
                began = self._note(layer.name, action, began, actions, timing)
        if not self._is_ordered:
            action = action[self._order]
        if not np.isfinite(action).all():
            raise PolicyError("the action is not finite")
        self._report = LayerReport(actions, timing)
        return ActionChunk(
            kind=self.card.action.kind,
            names=self.binding.interface.names,
            values=action[None],
            start_ns=observation.stamp_ns,
            step_ns=self._period_ns,
            valid_for_s=self.card.max_open_loop_s,
        )

    def _is_due(self, stamp_ns: int) -> bool:
        chunk = self._schedule.current
        if chunk is None or len(chunk.values) == 1:
            return True
        # A chunk from the future is one from before the clock was set back.
        executed_ns = self.card.action.execute * chunk.step_ns
        return not chunk.start_ns <= stamp_ns < chunk.start_ns + executed_ns

    def _plan(self, observation: Observation, now_ns: int) -> None:
        wanted = max((s.proposals for s in self._steering if self._enabled[s.name]), default=1)
        committed = self._schedule.sample(observation.stamp_ns)
        context = ActContext(
            now_ns=now_ns,
            committed=None if committed is None else committed[None],
            proposals=wanted,
            rng=self._rng,
        )
        chunk = self.base.act(observation, context=context)
        for layer in self._steering:
            if self._enabled[layer.name]:
                chunk = layer.choose(observation, chunk)
        if not chunk.is_finite:
            raise PolicyError("the chunk is not finite")
        self._schedule.push(chunk, now_ns=observation.stamp_ns)

    def _note(
        self,
        name: str,
        action: FloatArray,
        began_ns: int,
        actions: dict[str, FloatArray],
        timing: dict[str, float],
    ) -> int:
        now = self._clock()
        actions[name] = action if self._is_ordered else action[self._order]
        timing[name] = (now - began_ns) * 1e-9
        return now


def load_controller(
    path: Path | str,
    robot: RobotCard,
    *,
    steady_clock: Callable[[], int],
    rate_hz: float | None = None,
) -> Controller:
    """Build a controller from its YAML file, or from a policy folder alone.

    Args:
        path: a controller file, or a policy folder: its `controller.yaml` where it has one, else its
            policy becomes the base, without layers.
        robot: the card of the robot to bind to.
        steady_clock: gives the steady clock in nanoseconds.
        rate_hz: how often the controller will be asked; None: as on the policy's card.

    Returns:
        The controller, bound.

    Raises:
        ConfigError: the file or the folder has faults.
        ConfigErrors: policy and robot do not fit.
    """
    path = Path(path)
    if (path / CONTROLLER_FILE).exists():
        path = path / CONTROLLER_FILE
    if path.is_dir():
        return Controller(load_policy(path, rate_hz=rate_hz), robot, steady_clock=steady_clock)
    config = _load_config(path)
    base = load_policy(path.parent / config.base, **{"rate_hz": rate_hz, **config.options})
    return Controller(base, robot, schedule=config.schedule, steady_clock=steady_clock)


def base_folder(path: Path | str) -> Path:
    """Find the base policy of a controller file, or of a policy folder, which is its own.

    Args:
        path: a controller file or a policy folder.

    Returns:
        The base policy's folder.

    Raises:
        ConfigError: the controller file has faults.
    """
    path = Path(path)
    if (path / CONTROLLER_FILE).exists():
        path = path / CONTROLLER_FILE
    return path if path.is_dir() else path.parent / _load_config(path).base


def _load_config(path: Path) -> ControllerConfig:
    config = schema.load(ControllerConfig, path)
    if config.schema != CONTROLLER_SCHEMA:
        raise ConfigError(
            f"schema {config.schema!r}",
            where=str(path),
            expected=repr(CONTROLLER_SCHEMA),
            mend="use a controller file of this version",
        )
    return config
