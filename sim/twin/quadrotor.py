"""The twin of a quadrotor that is driven at motor level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from hardware.command import CommandKind, FloatArray, SafeAction
from hardware.errors import ConfigError
from hardware.robot import LatencyCard, RobotCard, TermSpec
from sim.quadrotor.airframes import GRAVITY_M_S2, MOTORS, Airframe, load_airframe
from sim.quadrotor.dynamics import QuadrotorState, make_state
from sim.quadrotor.urdf import quadrotor_urdf
from sim.twin.base import Twin
from sim.twin.fallback import LandingController
from sim.worlds.quadrotor import TIMESTEP_S, QuadrotorWorld, gear_height_m

DEFAULT_AIRFRAME = "x500_real"
_AXES = ("x", "y", "z")
# What gravity feels like, world frame, m/s^2.
_UPWARDS = np.array([0.0, 0.0, GRAVITY_M_S2])
# What the twin can measure; a card picks from these.
MEASURED: Mapping[str, TermSpec] = {
    "position": TermSpec(_AXES, "m", "world"),
    "orientation": TermSpec(("w", *_AXES), "quaternion", "world"),
    "linear_velocity": TermSpec(_AXES, "m/s", "body"),
    "angular_velocity": TermSpec(_AXES, "rad/s", "body"),
    "motor_effort": TermSpec(MOTORS, "effort"),
    # What an ideal inertial unit in the centre of mass measures: at rest it feels gravity, upwards.
    "imu_angular_velocity": TermSpec(_AXES, "rad/s", "body"),
    "imu_linear_acceleration": TermSpec(_AXES, "m/s^2", "body"),
}


@dataclass(frozen=True)
class Gust:
    """A push that swells and dies away like (1 - cos)/2."""

    # When it begins, seconds after the start of the run.
    start_s: float
    # How long it lasts, seconds.
    duration_s: float
    # Its peak, newtons, world frame (x, y, z).
    force_n: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a gust that is none.

        Raises:
            ConfigError: a time is negative or zero, or the force is not three finite numbers.
        """
        numbers = (self.start_s, self.duration_s, *self.force_n)
        good = len(self.force_n) == 3 and all(math.isfinite(n) for n in numbers)
        if not (good and self.start_s >= 0 and self.duration_s > 0):
            raise ConfigError(
                f"start_s {self.start_s}, duration_s {self.duration_s}, force_n {self.force_n}",
                where="gust",
                expected="a start of zero or later, a positive duration and three finite newtons",
                mend="correct the gust",
            )

    def share(self, begin_s: float, end_s: float) -> float:
        """Mean of (1 - cos)/2 over a piece of the run, 0 to 1.

        Args:
            begin_s: start of the piece, seconds after the start of the run.
            end_s: its end, later than `begin_s`.

        Returns:
            The mean, exactly.
        """
        a = min(max((begin_s - self.start_s) / self.duration_s, 0.0), 1.0)
        b = min(max((end_s - self.start_s) / self.duration_s, 0.0), 1.0)
        if a >= b:
            return 0.0
        turn = 2.0 * math.pi
        area = 0.5 * (b - a) - (math.sin(turn * b) - math.sin(turn * a)) / (2.0 * turn)
        return area * self.duration_s / (end_s - begin_s)


class QuadrotorTwin(Twin):
    """A quadrotor in MuJoCo under the `Robot` protocol.

    It starts on the ground with its motors off. Left without commands for the card's
    `robot_timeout_s`, or after `safe_stop`, its own landing controller brings it down. Terms:
    position and orientation in the world (z up), linear and angular velocity in the body (forward,
    left, up), and the rotors' efforts if the card asks for them.

    Args:
        card: a robot card with motor commands and the safe action `land`.
        airframe: a name of `airframe_names`, or an airframe of your own; None: the card's
            parameter `airframe`, or x500_real.
        seed: makes the run repeatable.
        latency: replaces the card's latency; `sim.twin.latency.NONE` switches it off.
        start_ns: simulated time at the start, ROS clock, nanoseconds.
        gusts: pushes of the run, as `Gust` or as (start_s, duration_s, force_n).
        trace_limit_s: how much of the run the trace keeps, seconds.

    Raises:
        ConfigError: the card does not describe this twin, or the airframe is unknown.
    """

    command_kind = CommandKind.MOTOR

    def __init__(
        self,
        card: RobotCard,
        *,
        seed: int,
        airframe: str | Airframe | None = None,
        latency: LatencyCard | None = None,
        start_ns: int = 0,
        gusts: Sequence[Gust | tuple[float, float, Sequence[float]]] = (),
        trace_limit_s: float = 3600.0,
    ) -> None:
        """Check the card, build the world and start the run."""
        super().__init__(
            card,
            seed=seed,
            latency=latency,
            start_ns=start_ns,
            substep_ns=round(TIMESTEP_S * 1e9),
            trace_limit_s=trace_limit_s,
        )
        self._check_terms(MEASURED)
        self._check_commands()
        if airframe is None:
            airframe = str(card.parameters.get("airframe", DEFAULT_AIRFRAME))
        self.airframe = load_airframe(airframe) if isinstance(airframe, str) else airframe
        self.world = QuadrotorWorld(self.airframe)
        self._motor_order = [self.command_spec.names.index(name) for name in MOTORS]
        self._gusts = tuple(g if isinstance(g, Gust) else Gust(g[0], g[1], tuple(g[2])) for g in gusts)
        self._landing = LandingController(self.airframe)
        self._initial = make_state(position=(0.0, 0.0, gear_height_m(self.airframe)))
        self.reset()

    def place(self, state: QuadrotorState) -> None:
        """Start a new run from any state; later resets start from it too.

        Args:
            state: of one vehicle; its efforts are the set-points until the first command.
        """
        self._initial = state
        self.reset()

    @property
    def state(self) -> QuadrotorState:
        """The true state, as no sensor sees it: for evaluation and videos."""
        return self.world.state()

    @property
    def model(self) -> mujoco.MjModel:
        """The world, for viewers and renderers."""
        return self.world.model

    @property
    def data(self) -> mujoco.MjData:
        """The world's present state, for viewers and renderers; not to be written to."""
        return self.world.data

    @property
    def description(self) -> str:
        """The vehicle as URDF, for RViz and Foxglove."""
        return quadrotor_urdf(self.airframe)

    @property
    def on_ground(self) -> bool:
        """Whether the vehicle touches the ground."""
        return self.world.on_ground

    def _check_commands(self) -> None:
        where, spec = f"robot card {self.card.name!r}", self.command_spec
        if sorted(spec.names) != sorted(MOTORS) or spec.unit != "effort":
            raise ConfigError(
                f"motor commands {', '.join(spec.names)} in {spec.unit}",
                where=where,
                expected=", ".join(MOTORS) + " in effort",
                mend="name the four motors",
            )
        if spec.safe_action is not SafeAction.LAND:
            raise ConfigError(
                f"safe action {spec.safe_action.value}",
                where=where,
                expected="land: a quadrotor that holds or ramps its motors falls",
                mend="set safe_action to land",
            )
        if self._latency_card.actuator_lag_s != 0.0:
            raise ConfigError(
                f"actuator_lag_s {self._latency_card.actuator_lag_s}",
                where=where,
                expected="0: the airframe's time constants hold the motors' lag already",
                mend="remove actuator_lag_s from the latency card",
            )

    def _reset(self, random: np.random.Generator) -> None:
        self.world.place(self._initial)
        self._landing.reset()

    def _integrate(self, duration_s: float) -> None:
        if self.safe_stopped is not None:
            self.world.set_motors(
                self._landing.efforts(self.world.state(), on_ground=self.world.on_ground, dt_s=duration_s)
            )
        self.world.integrate(duration_s, self._wind(duration_s) if self._gusts else None)

    def _wind(self, duration_s: float) -> list[float] | None:
        begin_s = self._elapsed_s
        end_s = begin_s + duration_s
        total: list[float] | None = None
        for gust in self._gusts:
            share = gust.share(begin_s, end_s)
            if share > 0.0:
                total = total or [0.0, 0.0, 0.0]
                total = [have + share * force for have, force in zip(total, gust.force_n, strict=True)]
        return total

    def _apply(self, values: FloatArray) -> None:
        self.world.set_motors(values[self._motor_order].tolist())

    def _safe_action(self) -> None:
        self._landing.reset()

    def _capture(self) -> Mapping[str, FloatArray]:
        qpos, qvel = self.world.data.qpos, self.world.data.qvel
        orientation, world_to_body, velocity = qpos[3:7].copy(), np.empty(4), np.empty(3)
        mujoco.mju_negQuat(world_to_body, orientation)
        mujoco.mju_rotVecQuat(velocity, qvel[:3], world_to_body)
        values = {
            "position": qpos[:3].copy(),
            "orientation": orientation,
            "linear_velocity": velocity,
            "angular_velocity": qvel[3:6].copy(),
        }
        if "motor_effort" in self.card.observations:
            values["motor_effort"] = np.array(self.world.effort)
        if "imu_angular_velocity" in self.card.observations:
            values["imu_angular_velocity"] = qvel[3:6].copy()
        if "imu_linear_acceleration" in self.card.observations:
            acceleration = np.empty(3)
            mujoco.mju_rotVecQuat(acceleration, self.world.data.qacc[:3] + _UPWARDS, world_to_body)
            values["imu_linear_acceleration"] = acceleration
        return values

    def _state(self) -> tuple[FloatArray, FloatArray]:
        return self.world.data.qpos.copy(), self.world.data.qvel.copy()
