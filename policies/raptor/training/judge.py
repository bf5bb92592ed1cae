"""Judges weights in a second: hover, figure eight and the delay, on airframes that no training draws.

The definitions are those of `sim.evaluation.fleet`, whose tables are the measure of a finished policy;
these flights are shorter and serve to choose between checkpoints.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.flight import NOISY, FlightRules, Scenario, fly, past_steps
from sim.quadrotor.fleet import PAPER, QuadrotorFleet
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array
from sim.quadrotor.references import References, figure_eight
from sim.quadrotor.sampling import sample_airframes

# Seed of the judged airframes and their starts, far from those of training and evaluation.
_SEED = 7_777_777
_HOVER_STEPS, _EIGHT_STEPS = 500, 1200
_RAMP_STEPS, _LAST_STEPS = 100, 100
_HOVER_LOST_M, _EIGHT_LOST_M = 1.0, 3.0
_LATE_S = 0.01


@dataclass(frozen=True)
class Judgement:
    """How weights fly, with error clipping; rates are shares, 0 to 1."""

    # Lost in hover from the paper's starts: further than 1 m in the last of five seconds.
    hover_crash: float
    # Median over survivors of the error in that last second, root mean square, metres; the limit where
    # nobody survived, here as below.
    hover_rmse_m: float
    # Median over survivors of their mean heading error in that second, radians.
    hover_heading_rad: float
    # Lost in two figure eights of 5.5 s: ever further than 3 m.
    figure_eight_crash: float
    # Mean over survivors of their error after the ramp, root mean square, metres.
    figure_eight_rmse_m: float
    # Lost in them with actions 10 ms late.
    delay_crash: float
    # As the figures of the hover, with the policy asked at 400 Hz as RAPTOR's executor does it.
    executor_crash: float
    executor_rmse_m: float

    @property
    def score(self) -> float:
        """What is compared, the lower the better: crashes, and what lies beyond 16 cm and half a degree."""
        return (
            self.hover_crash
            + self.figure_eight_crash
            + 0.3 * self.delay_crash
            + 0.3 * self.executor_crash
            + max(0.0, self.executor_rmse_m - 0.02)
            + max(0.0, self.hover_heading_rad - 0.01)
            + max(0.0, self.figure_eight_rmse_m - 0.16)
        )


def judge(
    module: RaptorModule, *, airframes: int, clip_position_m: float, clip_velocity_m_s: float
) -> Judgement:
    """Fly three cases.

    Args:
        module: the policy.
        airframes: how many are flown.
        clip_position_m: largest position error that the policy sees.
        clip_velocity_m_s: largest velocity error that it sees.

    Returns:
        The judgement.
    """
    size = module.head.weight.shape[1]
    rules = FlightRules(clip_position_m, clip_velocity_m_s, lost_m=50.0, lost_m_s=60.0, lost_rad_s=120.0)
    hover, headings = _errors(module, _case(airframes, size), rules)
    eight, _ = _errors(module, _case(airframes, size, eight=True), rules)
    late, _ = _errors(module, _case(airframes, size, eight=True, late=True), rules)
    # Half as many suffice: every one of them is four times the work.
    often, _ = _errors(module, _case(max(airframes // 2, 1), size, native=4), rules)
    hover_lost = ~(hover[-_LAST_STEPS:] <= _HOVER_LOST_M).all(axis=0)
    often_lost = ~(often[-4 * _LAST_STEPS :] <= _HOVER_LOST_M).all(axis=0)
    often_rms = _rms(often[-4 * _LAST_STEPS :])[~often_lost]
    eight_lost, late_lost = (~(errors <= _EIGHT_LOST_M).all(axis=0) for errors in (eight, late))
    hover_rms = _rms(hover[-_LAST_STEPS:])[~hover_lost]
    heading = headings[-_LAST_STEPS:].mean(axis=0)[~hover_lost]
    eight_rms = _rms(eight[_RAMP_STEPS:])[~eight_lost]
    return Judgement(
        hover_crash=float(hover_lost.mean()),
        hover_rmse_m=float(np.median(hover_rms)) if len(hover_rms) else _HOVER_LOST_M,
        hover_heading_rad=float(np.median(heading)) if len(heading) else np.pi,
        figure_eight_crash=float(eight_lost.mean()),
        figure_eight_rmse_m=float(eight_rms.mean()) if len(eight_rms) else _EIGHT_LOST_M,
        delay_crash=float(late_lost.mean()),
        executor_crash=float(often_lost.mean()),
        executor_rmse_m=float(np.median(often_rms)) if len(often_rms) else _HOVER_LOST_M,
    )


def _errors(
    module: RaptorModule, scenario: Scenario, rules: FlightRules
) -> tuple[Float32Array, Float32Array]:
    """Distances to the reference and heading errors after every step, (T, N); infinite where lost."""
    with torch.no_grad():
        flight = fly(module, scenario, rules)
    states, alive = flight.states.cpu().numpy(), flight.alive.cpu().numpy()
    distance = np.sqrt(((states[1:-1, :3] - scenario.reference[1:, :3]) ** 2).sum(axis=1))
    heading = 2.0 * np.abs(np.arctan(states[1:-1, 6] / np.maximum(np.abs(states[1:-1, 3]), 1e-6)))
    gone = np.float32(np.inf)
    lives = alive[1:-1] > 0.0
    return np.where(lives, distance, gone), np.where(lives, heading, gone).astype(np.float32)


def _rms(errors: Float32Array) -> Float32Array:
    with np.errstate(all="ignore"):
        rms: Float32Array = np.sqrt((errors * errors).mean(axis=0))
    return rms


@functools.cache
def _case(
    count: int, hidden_size: int, *, eight: bool = False, late: bool = False, native: int = 1
) -> Scenario:
    airframes = sample_airframes(count, seed=_SEED)
    steps = native * (_EIGHT_STEPS if eight else _HOVER_STEPS)
    actions, velocities = past_steps(native)
    state = _at_rest(airframes) if eight else QuadrotorFleet(airframes, seed=_SEED, start=PAPER).state.copy()
    reference = np.zeros((steps, 6, count), np.float32)
    if eight:
        path = References(figure_eight(5.5), 1, 0.01, np.random.default_rng(_SEED))
        path.reset(np.ones(1, np.bool_))
        for t in range(steps):
            reference[t, :3], reference[t, 3:] = path.position, path.velocity
            path.advance()
    return Scenario(
        airframes=airframes,
        state=state,
        hidden=np.zeros((hidden_size, count), np.float32),
        past_actions=np.repeat(2.0 * state[None, 13:17] - 1.0, actions, axis=0),
        past_velocities=np.repeat(state[None, 7:10], velocities, axis=0),
        reference=reference,
        force_n=np.zeros((steps, 3, count), np.float32),
        noise=np.zeros((steps, NOISY, count), np.float32),
        motor_gain=np.ones((4, count), np.float32),
        action_delay_s=np.full(count, _LATE_S if late else 0.0, np.float32),
        velocity_delay_s=np.zeros(count, np.float32),
        native=native,
    )


def _at_rest(airframes: AirframeBatch) -> Float32Array:
    state = np.zeros((17, len(airframes)), np.float32)
    state[3] = 1.0
    state[13:17] = airframes.hover_effort
    return state
