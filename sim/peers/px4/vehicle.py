"""The PX4-like vehicle without its wire: body, estimator, controllers and the modes that drive them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardware.command import FloatArray
from hardware.drones import ned
from hardware.drones.px4_modes import Mode
from sim.peers.body import FlyingBody
from sim.peers.cascade import NAN, UNSET, Cascade, CascadeGains, Target
from sim.peers.estimator import Estimate, Estimator, EstimatorSettings
from sim.peers.policy import MotorObservation, MotorPolicy
from sim.peers.px4.commander import Commander
from sim.peers.px4.parameters import ParameterStore
from sim.quadrotor.airframes import Airframe

STEP_NS = 4_000_000
# A set-point older than this is frozen by the RAPTOR mode (PX4's mc_raptor).
RAPTOR_STALE_S = 0.2


@dataclass(frozen=True)
class Setpoint:
    """What a client asks for, in our frames: a target, or an attitude or rates with thrust."""

    # Position, velocity, acceleration, heading.
    target: Target | None = None
    # Attitude (w, x, y, z), body to world.
    orientation: tuple[float, ...] | None = None
    # Turning rates of the body, rad/s.
    rates: tuple[float, ...] | None = None
    # Normalised collective thrust, 0 to 1, with an attitude or rates.
    thrust: float = 0.0


class PeerVehicle:
    """A quadrotor with a PX4-like flight stack, stepped by whoever owns the clock.

    Args:
        airframe: the vehicle.
        seed: of noise and drift.
        parameters: PX4 parameters; None: the defaults.
        motor_policy: what flies the mode EXTERNAL1 ("RAPTOR"); None: the mode is not registered.
        yaw_rad: heading on the ground, from east, counter-clockwise.
        gains: of its controllers.
        estimator: how good its estimate is.
    """

    def __init__(
        self,
        airframe: Airframe,
        *,
        seed: int = 0,
        parameters: ParameterStore | None = None,
        motor_policy: MotorPolicy | None = None,
        yaw_rad: float = 0.5 * math.pi,
        gains: CascadeGains | None = None,
        estimator: EstimatorSettings | None = None,
    ) -> None:
        """Boot on the ground."""
        self.airframe = airframe
        self.parameters = ParameterStore() if parameters is None else parameters
        self.parameters.set("MPC_THR_HOVER", airframe.hover_effort)
        self._dt_s = STEP_NS * 1e-9
        self.body = FlyingBody(airframe, step_s=self._dt_s, yaw_rad=yaw_rad)
        self.estimator = Estimator(seed=seed, step_s=self._dt_s, settings=estimator)
        self.cascade = Cascade(airframe, gains)
        self.policy = motor_policy
        self.commander = Commander(self.parameters, has_external_mode=motor_policy is not None)
        self.now_ns = 0
        # What the motors were told last, in the order of `sim.quadrotor.MOTORS`.
        self.effort: tuple[float, ...] = (0.0,) * 4
        # A push from outside, newtons, world frame.
        self.force_n: FloatArray | None = None
        self._setpoint: Setpoint | None = None
        self._raptor: Target | None = None
        self._raptor_s = -math.inf
        self._raptor_frozen = False
        # References that the RAPTOR mode ignored because a number was missing.
        self.raptor_ignored = 0
        self._mode: Mode | None = None
        self._hold = Target()
        self._was_flying = self._was_armed = False
        self.estimator.advance(self.body.packed, 0.0)
        self.estimate: Estimate = self.estimator.estimate()

    @property
    def now_s(self) -> float:
        """Time since boot, seconds."""
        return self.now_ns * 1e-9

    def offboard(self, setpoint: Setpoint) -> None:
        """Take a client's set-point; it acts in OFFBOARD, or in EXTERNAL1 if it is complete."""
        mode = self.commander.mode
        self.commander.offboard_signal(self.now_s)
        if mode is Mode.OFFBOARD and self.parameters["MAV_FWDEXTSP"]:
            self._setpoint = setpoint
        elif mode is Mode.EXTERNAL1:
            target = setpoint.target
            numbers = (
                () if target is None else (*target.position, *target.velocity, target.yaw, target.yaw_rate)
            )
            if not numbers or not all(math.isfinite(n) for n in numbers):
                self.raptor_ignored += 1
                return
            self._raptor, self._raptor_s, self._raptor_frozen = target, self.now_s, False

    def step(self) -> None:
        """Move on by `STEP_NS`."""
        self.now_ns += STEP_NS
        self.estimator.needs_external = self.parameters["EKF2_EV_CTRL"] > 0
        self.estimate = self.estimator.estimate()
        commander = self.commander
        if commander.armed and not self._was_armed:
            commander.home = self.estimate.position
        self._was_armed = commander.armed
        commander.step(
            self.now_s,
            self._dt_s,
            has_position=self.estimator.has_position,
            tracks_position=self._setpoint is not None and self._setpoint.target is not None,
            on_ground=self.body.on_ground,
            tilt_rad=self.body.tilt_rad,
            height_m=self.estimate.position[2] - commander.home[2],
            distance_m=math.dist(self.estimate.position[:2], commander.home[:2]),
            climbing_m_s=self.estimate.velocity[2],
            wants_lift=self._wants_lift(),
        )
        if commander.mode is not self._mode:
            self._enter(commander.mode)
        if commander.is_flying and not self._was_flying:
            self.cascade.reset()
        self._was_flying = commander.is_flying
        self.effort = tuple(self._efforts())
        self.body.advance(self.effort, self.force_n)
        self.estimator.advance(self.body.packed, self.now_s)

    # --- private ------------------------------------------------------------------------------

    def _enter(self, mode: Mode) -> None:
        """A mode begins: it holds where the vehicle is, and nothing is left of what came before."""
        self._mode = mode
        x, y, z = self.estimate.position
        if mode is Mode.TAKEOFF:
            z = self.commander.home[2]
        self._hold = Target((x, y, z), (0.0, 0.0, 0.0), yaw=self.estimate.yaw)
        self._setpoint, self._raptor, self._raptor_s = None, None, self.now_s
        self._raptor_frozen = False
        if mode is Mode.EXTERNAL1 and self.policy is not None:
            self.policy.reset()

    def _wants_lift(self) -> bool:
        """Whether what is asked for leaves the ground."""
        mode = self.commander.mode
        if mode is Mode.TAKEOFF:
            return True
        if mode is Mode.OFFBOARD and self._setpoint is not None:
            if self._setpoint.target is None:
                return self._setpoint.thrust > 0.1
            target: Target | None = self._setpoint.target
        elif mode is Mode.EXTERNAL1:
            target = self._raptor
        else:
            return False
        if target is None:
            return False
        return (
            target.position[2] > self.estimate.position[2] + 0.1
            or target.velocity[2] > 0.1
            or target.acceleration[2] > 0.3
        )

    def _efforts(self) -> Sequence[float]:
        commander, dt_s = self.commander, self._dt_s
        if not commander.armed:
            self.cascade.reset()
            return (0.0,) * 4
        if not commander.is_flying:
            # On the ground, armed: propellers idle, integrators rest.
            self.cascade.reset()
            return (0.08,) * 4
        estimate, mode, setpoint = self.estimate, commander.mode, self._setpoint
        if commander.is_descending_blind:
            # No position: level, and down by the vertical speed alone.
            target = Target(UNSET, (NAN, NAN, -0.5), (0.0, 0.0, NAN), yaw=self._hold.yaw)
            return self.cascade.track(estimate, target, dt_s)
        if mode is Mode.EXTERNAL1 and self.policy is not None:
            return self._policy_efforts()
        if mode is Mode.OFFBOARD and setpoint is not None and setpoint.target is None:
            thrust_n = self.cascade.collective_n(setpoint.thrust)
            if setpoint.orientation is not None:
                return self.cascade.hold_attitude(estimate, setpoint.orientation, thrust_n, dt_s)
            return self.cascade.hold_rates(estimate, setpoint.rates or (0.0,) * 3, thrust_n, dt_s)
        return self.cascade.track(estimate, self._target(dt_s), dt_s)

    def _target(self, dt_s: float) -> Target:
        p, mode, hold = self.parameters, self.commander.mode, self._hold
        x, y, z = hold.position
        if mode is Mode.OFFBOARD and self._setpoint is not None and self._setpoint.target is not None:
            target = self._setpoint.target
            return target if target.is_complete else hold
        if mode is Mode.TAKEOFF:
            goal = self.commander.home[2] + self.commander.takeoff_m
            z = min(goal, z + p["MPC_TKO_SPEED"] * dt_s)
            climb = p["MPC_TKO_SPEED"] if z < goal else 0.0
            self._hold = replace(hold, position=(x, y, z), velocity=(0.0, 0.0, climb))
        elif mode is Mode.LAND or self.commander.is_returning_down:
            if mode is Mode.RETURN:
                x, y = self.commander.home[:2]
            near = self.estimate.position[2] - self.commander.home[2] < 0.5
            down = (0.5 if near else 1.0) * p["MPC_LAND_SPEED"]
            z = min(z, self.estimate.position[2] + 0.3) - down * dt_s
            self._hold = replace(hold, position=(x, y, z), velocity=(0.0, 0.0, -down))
        elif mode is Mode.RETURN:
            # Up to the return altitude where we are, then home at cruise speed.
            z = max(z, self.commander.home[2] + p["RTL_RETURN_ALT"])
            if self.estimate.position[2] > z - 0.5:
                x, y = self.commander.home[:2]
            self._hold = replace(hold, position=(x, y, z))
        return self._hold

    def _policy_efforts(self) -> Sequence[float]:
        """One step of the RAPTOR mode; a reference that went stale is frozen where the vehicle is."""
        assert self.policy is not None
        e = self.estimate
        if self.now_s - self._raptor_s > RAPTOR_STALE_S and not self._raptor_frozen:
            self._raptor = Target(e.position, (0.0, 0.0, 0.0), yaw=e.yaw, yaw_rate=0.0)
            self._raptor_frozen = True
        target = self._hold if self._raptor is None else self._raptor
        attitude = ned.attitude_ned_from_enu(np.array(e.orientation))
        return self.policy.efforts(
            MotorObservation(
                position=_nwu(e.position),
                orientation=ned.attitude_nwu_from_ned(attitude),
                linear_velocity=_nwu(e.velocity),
                angular_velocity=np.array(e.rates),
                reference_position=_nwu(target.position),
                reference_velocity=_nwu(target.velocity),
                reference_yaw=ned.wrap_angle(target.yaw - 0.5 * math.pi),
                stamp_ns=self.now_ns,
            )
        )


def _nwu(vector: Sequence[float]) -> FloatArray:
    return ned.nwu_from_ned(ned.ned_from_enu(np.array(vector)))
