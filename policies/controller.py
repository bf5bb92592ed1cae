"""The layered controller: base, steering, schedule and residual, composed from one YAML file.

Data flows one way: the base proposes chunks, steering picks one, the schedule turns chunks into the
action of this very moment, residual layers correct it with the fresh observation. Steering and
residual layers come in lists that may be empty; every layer can be switched while the system runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardware.chunk import ActionChunk, Schedule
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard
from policies.cameras import CameraInput, cameras_of, check_images
from policies.card import Binding, PolicyCard, bind
from policies.controller_config import (
    CONTROLLER_FILE,
    CONTROLLER_SCHEMA,
    ControllerConfig,
    ScheduleConfig,
    base_card,
    close_policy,
    controller_file,
    find_base,
    load_config,
)
from policies.goal import GoalTerm, goal_values
from policies.history import History
from policies.layers import LayerReport, Residual, Steering
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy
from policies.runtime.inference import Answer, Immediate, MakeInference, Poll, Request
from policies.runtime.journal import Journal, JournalStep

__all__ = [
    "CONTROLLER_FILE",
    "CONTROLLER_SCHEMA",
    "Controller",
    "ControllerConfig",
    "ScheduleConfig",
    "base_card",
    "load_controller",
]

# So many of the last delays are remembered; the longest of them is what the next one is expected to be.
_DELAYS = 8


class Controller:
    """Runs one bound policy with its layers.

    Args:
        base: the base policy.
        robot: the robot's card.
        steering: layers that pick among proposals, in order.
        residual: layers that correct the action, in order.
        schedule: how chunks become actions.
        goal: what the base is asked for; where an observation has goal terms of its own, those count. None:
            every observation must have them.
        instruction: what is to be done, in words, for a base that understands words; empty: as its card says.
        inference: where and when the base and the steering think; within the control step by default.
        steady_clock: gives the steady clock in nanoseconds, for the timing report.

    Raises:
        ConfigError: the goal is not what the base can be asked for.
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
        goal: Mapping[str, GoalTerm] | None = None,
        instruction: str = "",
        inference: MakeInference = Immediate,
        steady_clock: Callable[[], int],
    ) -> None:
        """Bind the policy to the robot and start with an empty schedule."""
        schedule = schedule or ScheduleConfig()
        self.base = base
        self.binding: Binding = bind(base.card, robot)
        # The cameras whose images it wants.
        self.cameras: dict[str, CameraInput] = cameras_of(base.card)
        self._goal = {} if goal is None else goal_values(base.card, goal, where="goal of the controller")
        # What the base is told to do from the next question on; may be changed while the system runs.
        self.instruction = instruction
        self._steering = tuple(steering)
        self._residual = tuple(residual)
        self._enabled = {s.name: True for s in self._steering} | {r.name: True for r in self._residual}
        self.schedule = schedule
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
        self._step_ns = round(base.card.action.step_s * 1e9)
        self._history = History(base.card.history, self._step_ns)
        self._inference = inference(self._infer)
        # How late the last chunks were, from capture to the control step that got them.
        self._delays_ns: deque[int] = deque(maxlen=_DELAYS)
        self._asked = 0
        self._refusal = ""
        # Takes down what is needed to do every step again; None: nobody asked for it.
        self.journal: Journal | None = None

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
        if self.journal is not None:
            self.journal.enable(layer, on=on)

    @property
    def inference(self) -> str:
        """Where the base thinks: the name of the inference in use."""
        return self._inference.name

    def use(self, inference: MakeInference) -> None:
        """Let the base and the steering think elsewhere; call it before a reset, never while acting.

        Args:
            inference: one of the classes of `policies.runtime.inference`.
        """
        self._inference.close()
        self._inference = inference(self._infer)

    def close(self) -> None:
        """End the inference, and the base where it holds something open (a connection)."""
        self._inference.close()
        close_policy(self.base)

    def reset(self, seed: int | None = None) -> None:
        """Begin anew: empty schedule, recurrent state by the card's rules, randomness from the seed.

        Raises:
            PolicyError: the base does not come to an end with what it is doing.
        """
        self._inference.reset()
        self._schedule.clear()
        self._history.clear()
        self._delays_ns.clear()
        self._asked, self._refusal = 0, ""
        self._rng = np.random.default_rng(seed)
        self.base.reset(seed)
        if self.journal is not None:
            self.journal.reset(seed)

    def act(self, observation: Observation, *, now_ns: int) -> ActionChunk:
        """Do one control step.

        Args:
            observation: the robot's terms, the reference terms, and goal terms where the controller has none.
            now_ns: the ROS clock, in nanoseconds.

        Returns:
            A chunk of one step in the robot's order, that starts at the observation's stamp and
            may be used for the card's `max_open_loop_s`.

        Raises:
            PolicyError: an observation or an action is not finite, an image is missing or older than the
                card's `max_loop_age_s`, or no chunk is valid any more.
        """
        if self._goal:
            observation = replace(observation, values={**self._goal, **observation.values})
        if self.journal is None:
            return self._act(observation, now_ns, None)
        step = JournalStep(observation, now_ns, instruction=self.instruction)
        try:
            step.chunk = self._act(observation, now_ns, step)
        except Exception as error:
            step.refusal = str(error) or type(error).__name__
            raise
        finally:
            self.journal.step(step)
        return step.chunk

    def _act(self, observation: Observation, now_ns: int, step: JournalStep | None) -> ActionChunk:
        if not observation.is_finite:
            bad = sorted(n for n, v in observation.values.items() if not np.isfinite(v).all())
            raise PolicyError(f"the observation is not finite: {', '.join(bad)}")
        if self._gather:
            values = {
                n: v[self._gather[n]] if n in self._gather else v for n, v in observation.values.items()
            }
            observation = replace(observation, values=values)
        if self.cameras:
            # Also while a chunk is carried out: an arm whose camera has died is on its way blindly.
            check_images(observation, self.cameras, max_age_s=self.card.max_loop_age_s)
        self._history.add(observation)
        actions: dict[str, FloatArray] = {}
        timing: dict[str, float] = {}
        began = self._clock()
        stamp_ns = observation.stamp_ns
        poll = self._inference.poll(stamp_ns)
        if step is not None:
            step.note(poll)
        for answer in poll.answers:
            self._accept(answer, stamp_ns)
        if self._is_due(stamp_ns, poll):
            at_once = self._inference.submit(self._request(observation, now_ns))
            if at_once is not None:
                self._accept(at_once, stamp_ns)
        action = self._schedule.sample(stamp_ns)
        if action is None:
            raise PolicyError("no chunk of the base policy covers this moment" + self._why())
        began = self._note("base", action, began, actions, timing)
        for layer in self._residual:
            if self._enabled[layer.name]:
                action = layer.correct(observation, action)
                began = self._note(layer.name, action, began, actions, timing)
        if not self._is_ordered:
            action = action[self._order]
        if not np.isfinite(action).all():
            raise PolicyError("the action is not finite")
        current = self._schedule.current
        assert current is not None
        self._report = LayerReport(actions, timing, current.age_s(stamp_ns), self._refusal)
        return ActionChunk(
            kind=self.card.action.kind,
            names=self.binding.interface.names,
            values=action[None],
            start_ns=stamp_ns,
            step_ns=self._period_ns,
            valid_for_s=self.card.max_open_loop_s,
            observed_ns=current.start_ns if current.observed_ns is None else current.observed_ns,
        )

    def _why(self) -> str:
        if self._refusal:
            return f": {self._refusal}"
        return "" if self._schedule.current is not None else ": the first one is still being made"

    def _is_due(self, stamp_ns: int, poll: Poll) -> bool:
        chunk = self._schedule.current
        if poll.is_waiting:
            # A fresher observation takes the place of the one that waits.
            return True
        if poll.under_way_ns is not None:
            if self._schedule.preview(stamp_ns, self._step_ns, 1) is None:
                # Nothing is in force: what is under way comes first.
                return False
            begun_ns, step_ns, steps = poll.under_way_ns, self._step_ns, self.card.action.horizon
        elif chunk is not None:
            begun_ns, step_ns, steps = chunk.start_ns, chunk.step_ns, len(chunk.values)
        else:
            return True
        # A chunk from the future is one from before the clock was set back.
        return steps == 1 or not begun_ns <= stamp_ns < begun_ns + self.card.action.execute * step_ns

    def _request(self, observation: Observation, now_ns: int) -> Request:
        steering = tuple(s.name for s in self._steering if self._enabled[s.name])
        # What will be carried out until the answer is there, by the slowest of the last answers.
        steps = 1 - (-max(self._delays_ns, default=0) // self._step_ns)
        ahead = self._schedule.preview(
            observation.stamp_ns, self._step_ns, max(steps, self.card.action.horizon)
        )
        known = ahead if self.schedule.inpaint else None
        context = ActContext(
            now_ns=now_ns,
            committed=None if known is None else known[:steps],
            planned=None if known is None or len(known) <= steps else known[steps:],
            proposals=max((s.proposals for s in self._steering if s.name in steering), default=1),
            past=self._history.past(),
            instruction=self.instruction,
            rng=self._rng,
        )
        self._asked += 1
        return Request(self._asked - 1, observation, context, steering, from_rest=ahead is None)

    def _infer(self, request: Request) -> ActionChunk:
        """Answer a request; runs where and when the inference says."""
        chunk = self.base.act(request.observation, context=request.context)
        for layer in self._steering:
            if layer.name in request.steering:
                chunk = layer.choose(request.observation, chunk)
        if not chunk.is_finite:
            raise PolicyError("the chunk is not finite")
        oldest_ns = request.observation.oldest_ns
        if oldest_ns < request.observation.stamp_ns:
            # What it was made from is as old as the oldest image.
            chunk = replace(chunk, observed_ns=oldest_ns)
        return chunk

    def _accept(self, answer: Answer, stamp_ns: int) -> None:
        """Take an answer into the schedule, or remember why there is none."""
        chunk, captured_ns = answer.chunk, answer.request.observation.stamp_ns
        if chunk is None:
            self._refusal = answer.refusal
            return
        delay_ns = stamp_ns - captured_ns
        if delay_ns > 0:
            self._delays_ns.append(delay_ns)
            is_resting = answer.request.from_rest and self._schedule.sample(stamp_ns) is None
            if is_resting and chunk.end_ns > stamp_ns:
                # Nothing was carried out meanwhile: the plan begins now, whole.
                observed_ns = captured_ns if chunk.observed_ns is None else chunk.observed_ns
                chunk = replace(chunk, start_ns=chunk.start_ns + delay_ns, observed_ns=observed_ns)
        taken = self._schedule.push(chunk, now_ns=stamp_ns)
        self._refusal = "" if taken else f"the chunk came {delay_ns * 1e-9:.2f} s late, and was over by then"

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
        ConfigError: the file or the folder has faults, or says no goal for a policy that has one.
        ConfigErrors: policy and robot do not fit.
    """
    path = controller_file(path)
    if path.is_dir():
        return Controller(load_policy(path, rate_hz=rate_hz), robot, goal={}, steady_clock=steady_clock)
    config = load_config(path)
    base, options = find_base(config, path.parent)
    policy = load_policy(base, **{"rate_hz": rate_hz, **options})
    return Controller(
        policy,
        robot,
        schedule=config.schedule,
        goal=config.goal,
        instruction=config.instruction,
        steady_clock=steady_clock,
    )
