"""How well a quadrotor's controller hovers, follows figure eights and recovers, in lockstep.

The protocol and the figures beside it are those of RAPTOR's specs, section 3.3: hover; a Lissajous
figure of 2 m by 1 m, five loops, with a ramp of 1 s; starts that are displaced, tilted and turning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.reference import FigureEight, Hover, Trajectory, sequence
from hardware.robot import LatencyCard, RobotCard
from sim.evaluation.fleet.reference import NAMED_RMSE_M
from sim.evaluation.lockstep import Controller, Step, make_gate, run_lockstep
from sim.evaluation.statistics import Interval, wilson
from sim.quadrotor.dynamics import QuadrotorState, make_state
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin

MakeController = Callable[[RobotCard], Controller]
ShowRun = Callable[[str, Step], None]

_CENTRE_M = (0.0, 0.0, 1.0)
_TAKE_OFF_S, _SETTLE_S, _LAST_S = 2.0, 3.0, 5.0
_LOOPS = 5
_RECOVERY_S, _RECOVERED_M = 5.0, 0.2


@dataclass(frozen=True)
class FigureEightResult:
    """How well one figure eight was followed."""

    # Time for a loop, seconds.
    period_s: float
    # Root mean square of the distance to the reference over all loops, metres; and of its horizontal part.
    rmse_m: float
    rmse_horizontal_m: float
    # The same for this airframe in RAPTOR's own simulator, metres; None where nobody measured it.
    reference_rmse_m: float | None


@dataclass(frozen=True)
class Recovery:
    """One start from which the vehicle had to find back."""

    # What it began with.
    seed: int
    # Whether the distance to the hover point stayed below 20 cm (root mean square, last second).
    success: bool
    # That distance, metres, and the largest one on the way.
    final_m: float
    largest_m: float
    # Why the robot took its safe action after the controller had got hold of it; empty when it did not.
    safe_stops: tuple[str, ...]


@dataclass(frozen=True)
class QuadrotorReport:
    """What an evaluation of a quadrotor found."""

    # The airframe.
    airframe: str
    # Root mean square of the distance to the hover point over the last 5 s, metres.
    hover_error_m: float
    # The figure eights, in the order asked for.
    figure_eights: tuple[FigureEightResult, ...]
    # Starts from displaced, tilted and turning states, in the order of their seeds.
    rows: tuple[Recovery, ...]
    # Commands that the gate changed, in all runs.
    interventions: int

    @property
    def episodes(self) -> int:
        """How many starts there were."""
        return len(self.rows)

    @property
    def successes(self) -> int:
        """From how many of them the vehicle found back."""
        return sum(row.success for row in self.rows)

    @property
    def interval(self) -> Interval | None:
        """The 95 % Wilson interval of the success rate; None without starts."""
        return wilson(self.successes, self.episodes) if self.rows else None


def evaluate_quadrotor(
    make_controller: MakeController,
    card: RobotCard,
    *,
    airframe: str | None = None,
    periods_s: Sequence[float] = (10.0, 5.5),
    seeds: Iterable[int] = range(20),
    latency: LatencyCard = NONE,
    on_step: ShowRun | None = None,
) -> QuadrotorReport:
    """Fly a controller through hover, figure eights and recoveries.

    Args:
        make_controller: builds the controller for the robot.
        card: the quadrotor's card.
        airframe: replaces the card's.
        periods_s: the figure eights, one run each.
        seeds: one recovery each; none skips them.
        latency: of the wire; the card's own is `card.latency`.
        on_step: is told the run (hover, figure_eight_10s, recovery_0, ...) and every instant of it.

    Returns:
        The measured errors and recoveries.

    Raises:
        ConfigError: card and twin or gate do not fit.
        ConfigErrors: card and controller do not fit.
    """
    with QuadrotorTwin(card, seed=0, airframe=airframe, latency=latency) as twin:
        flight = _Flight(twin, make_controller(card), on_step)
        hover = sequence([_take_off(duration_s=_TAKE_OFF_S + _SETTLE_S + _LAST_S), Hover(_CENTRE_M)])
        errors = flight.run("hover", hover, duration_s=_TAKE_OFF_S + _SETTLE_S + _LAST_S)
        hover_error_m = _rms(errors[-round(_LAST_S / flight.period_s) :])
        eights = tuple(_figure_eight(flight, period_s) for period_s in periods_s)
        rows = tuple(_recover(flight, seed) for seed in seeds)
        return QuadrotorReport(
            airframe=twin.airframe.name,
            hover_error_m=hover_error_m,
            figure_eights=eights,
            rows=rows,
            interventions=flight.interventions,
        )


def random_state(seed: int) -> QuadrotorState:
    """Draw a start: near the hover point, tilted up to one radian, moving and turning.

    As in RAPTOR's imitation phase: position ±0.5 m and velocity ±1 m/s on each axis, tilt up to 1 rad
    about any axis, rates ±1 rad/s; the rotors run at up to half their range.

    Args:
        seed: the same seed gives the same start.

    Returns:
        The state of one vehicle.
    """
    random = np.random.default_rng(seed)
    axis = random.standard_normal(3)
    axis /= np.linalg.norm(axis)
    half = random.uniform(0.0, 1.0) / 2
    return make_state(
        position=np.array(_CENTRE_M) + random.uniform(-0.5, 0.5, 3),
        orientation=np.append(math.cos(half), math.sin(half) * axis),
        linear_velocity=random.uniform(-1.0, 1.0, 3),
        angular_velocity=random.uniform(-1.0, 1.0, 3),
        effort=random.uniform(0.0, 0.5, 4),
    )


class _Flight:
    def __init__(self, twin: QuadrotorTwin, controller: Controller, on_step: ShowRun | None) -> None:
        self.twin, self._controller, self._on_step = twin, controller, on_step
        self._gate = make_gate(twin.card)
        self.interventions = 0
        self.safe_stops: tuple[str, ...] = ()
        self.period_s = twin.observation_period_ns * 1e-9

    def run(self, name: str, reference: Trajectory, *, duration_s: float, seed: int = 0) -> FloatArray:
        """Fly and give position errors at every observation, shape (N, 3)."""
        errors: list[FloatArray] = []

        def note(step: Step) -> None:
            if step.observation is not None:
                stamp_s = step.observation.stamp_ns * 1e-9
                errors.append(step.observation.values["position"] - reference.sample(stamp_s).position_m)
            if self._on_step is not None:
                self._on_step(name, step)

        end_ns = round(duration_s * 1e9)
        run = run_lockstep(
            self.twin,
            self._controller,
            self._gate,
            until=lambda step: step.now_ns >= end_ns,
            reference=reference,
            on_step=note,
            seed=seed,
        )
        self.interventions += run.interventions
        # Until the gate has seen three commands in a row nobody has authority over motors.
        self.safe_stops = tuple(stop.reason for stop in run.safe_stops if stop.at_ns > 0)
        return np.array(errors)


def _take_off(*, duration_s: float) -> Trajectory:
    return Hover(_CENTRE_M, start_m=(0.0, 0.0, 0.0), duration_s=duration_s)


def _figure_eight(flight: _Flight, period_s: float) -> FigureEightResult:
    before_s = _TAKE_OFF_S + _SETTLE_S
    loops_s = _LOOPS * period_s
    reference = sequence([_take_off(duration_s=before_s), FigureEight(_CENTRE_M, period_s)])
    errors = flight.run(f"figure_eight_{period_s:g}s", reference, duration_s=before_s + loops_s)
    during = errors[-round(loops_s / flight.period_s) :]
    known = NAMED_RMSE_M.get(flight.twin.airframe.name, {})
    return FigureEightResult(period_s, _rms(during), _rms(during[:, :2]), known.get(period_s))


def _recover(flight: _Flight, seed: int) -> Recovery:
    flight.twin.place(random_state(seed))
    errors = flight.run(f"recovery_{seed}", Hover(_CENTRE_M), duration_s=_RECOVERY_S, seed=seed)
    final_m = _rms(errors[-round(1.0 / flight.period_s) :])
    largest_m = float(np.linalg.norm(errors, axis=1).max())
    return Recovery(seed, final_m < _RECOVERED_M, final_m, largest_m, flight.safe_stops)


def _rms(errors: FloatArray) -> float:
    return math.sqrt(float((errors**2).sum(axis=1).mean()))
