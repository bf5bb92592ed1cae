"""The Crazyflie-like vehicle without its wire.

Sources: crazyflie-firmware documentation, "The Commander Framework", "Supervisor", "High-level
commander"; specs of RAPTOR, section 5c, for the out-of-tree controller (2 ms there, `STEP_NS` here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardware.drones import ned
from sim.peers.body import FlyingBody
from sim.peers.cascade import NAN, Cascade, CascadeGains, Target
from sim.peers.estimator import Estimator, EstimatorSettings
from sim.peers.policy import MotorObservation, MotorPolicy
from sim.quadrotor.airframes import Airframe

STEP_NS = 4_000_000
# Without a set-point for this long: level; and for this long: motors off.
LEVEL_S, SHUTDOWN_S = 0.5, 2.0
# The out-of-tree controller acts for this long after an activation packet.
ACTIVE_S = 0.2
_WARM_UP_S, _WARM_UP_EFFORT = 0.5, 1.0 / 7.0
OUT_OF_TREE = 6
# Bits of the supervisor.
CAN_BE_ARMED, IS_ARMED, CAN_FLY, IS_FLYING = 1 << 0, 1 << 1, 1 << 3, 1 << 4
IS_TUMBLED, IS_LOCKED, IS_CRASHED = 1 << 5, 1 << 6, 1 << 7
_EMPTY_V, _FULL_V, _FLIGHT_S = 3.0, 4.2, 420.0


@dataclass(frozen=True)
class Plan:
    """A flight of the high-level commander from one height to another, smooth at both ends."""

    # Where it began, metres, and when, seconds.
    start: tuple[float, ...]
    start_s: float
    # The height to reach and the time for it.
    height_m: float
    duration_s: float
    yaw: float
    # Whether the motors stop at its end.
    is_landing: bool

    def target(self, now_s: float) -> Target:
        """Where to be now."""
        s = min(1.0, max(0.0, (now_s - self.start_s) / max(self.duration_s, 1e-3)))
        share = s * s * s * (10.0 + s * (6.0 * s - 15.0))
        speed = 30.0 * s * s * (1.0 - s) ** 2 / max(self.duration_s, 1e-3)
        x, y, z = self.start
        rise = self.height_m - z
        return Target((x, y, z + share * rise), (0.0, 0.0, speed * rise), yaw=self.yaw)

    def is_over(self, now_s: float) -> bool:
        """Whether its time has passed."""
        return now_s - self.start_s > self.duration_s


class CrazyflieFirmware:
    """A Crazyflie, stepped by whoever owns the clock.

    Args:
        airframe: the vehicle.
        seed: of noise and drift.
        motor_policy: the out-of-tree controller; None: the firmware has none.
        needs_external: whether its position comes from outside alone (no positioning deck).
    """

    def __init__(
        self,
        airframe: Airframe,
        *,
        seed: int = 0,
        motor_policy: MotorPolicy | None = None,
        needs_external: bool = False,
    ) -> None:
        """Boot on the ground, disarmed."""
        self._dt_s = STEP_NS * 1e-9
        self.body = FlyingBody(airframe, step_s=self._dt_s)
        self.estimator = Estimator(seed=seed, step_s=self._dt_s, settings=EstimatorSettings(delay_s=0.004))
        self.estimator.needs_external = needs_external
        self.cascade = Cascade(
            airframe, CascadeGains(motor_s=0.02, speed_xy_m_s=2.0, climb_m_s=1.0, sink_m_s=1.0)
        )
        self.policy = motor_policy
        self.now_ns = 0
        self.armed = self.is_flying = self.is_locked = self.is_tumbled = False
        self.charge = 1.0
        self.effort: tuple[float, ...] = (0.0,) * 4
        # Parameters by name: C type and value.
        self.parameters: dict[str, tuple[str, float]] = {
            "commander.enHighLevel": ("uint8_t", 1),
            "stabilizer.controller": ("uint8_t", 1),
            "stabilizer.estimator": ("uint8_t", 2),
            "locSrv.extPosStdDev": ("float", 0.01),
            "locSrv.extQuatStdDev": ("float", 0.0045),
        }
        if motor_policy is not None:
            self.parameters |= {
                "rlt.trigger": ("uint8_t", 0),
                "rlt.gate": ("uint8_t", 1),
                "rlt.motor_warmup": ("uint8_t", 1),
                "rlt.wn": ("uint8_t", 0),
                "rlt.target_z": ("float", 0.0),
            }
        self._target: Target | None = None
        self._target_s = -math.inf
        self._plan: Plan | None = None
        self._active_s = -math.inf
        self._active_since_s: float | None = None
        self._was_active = False
        self.estimator.advance(self.body.packed, 0.0)
        self.estimate = self.estimator.estimate()
        # Log variables by name: C type and how to read it.
        self.variables: dict[str, tuple[str, Callable[[], float]]] = self._variables()

    @property
    def now_s(self) -> float:
        """Time since boot, seconds."""
        return self.now_ns * 1e-9

    @property
    def supervisor(self) -> int:
        """The supervisor's bits."""
        bits = 0
        is_well = not (self.is_locked or self.is_tumbled)
        bits |= CAN_BE_ARMED if is_well and self.estimator.has_position else 0
        bits |= IS_ARMED if self.armed else 0
        bits |= CAN_FLY if self.armed and is_well else 0
        bits |= IS_FLYING if self.is_flying else 0
        bits |= IS_TUMBLED if self.is_tumbled else 0
        return bits | (IS_LOCKED if self.is_locked else 0)

    # --- asked by a client ----------------------------------------------------------------------

    def arm(self, *, wanted: bool) -> bool:
        """Arm or disarm. Returns whether it was done."""
        if wanted and not self.supervisor & CAN_BE_ARMED:
            return False
        self.armed = wanted
        if not wanted:
            self.is_flying, self._plan, self._target = False, None, None
        return True

    def setpoint(self, target: Target) -> None:
        """A set-point of a client: it has priority over the high-level commander."""
        self._target, self._target_s, self._plan = target, self.now_s, None

    def notify_setpoint_stop(self) -> None:
        """The client's set-points end: the high-level commander may take over."""
        x, y, z = self.estimate.position
        self._target = None
        self._plan = Plan((x, y, z), self.now_s, z, 0.0, self.estimate.yaw, is_landing=False)

    def take_off(self, height_m: float, duration_s: float, yaw: float | None) -> bool:
        """Begin a take-off of the high-level commander. Returns whether it was accepted."""
        return self._begin(height_m, duration_s, yaw, is_landing=False)

    def land(self, height_m: float, duration_s: float, yaw: float | None) -> bool:
        """Begin a landing of the high-level commander. Returns whether it was accepted."""
        return self._begin(height_m, duration_s, yaw, is_landing=True)

    def stop(self) -> None:
        """Motors off: the stop set-point, or the high-level commander's."""
        self._target = self._plan = None
        self.is_flying = False

    def emergency_stop(self) -> None:
        """Motors off, and locked until it is booted anew."""
        self.stop()
        self.is_locked, self.armed = True, False

    def activate(self) -> None:
        """The packet that keeps the out-of-tree controller on the motors."""
        self._active_s = self.now_s

    # --- time -----------------------------------------------------------------------------------

    def step(self) -> None:
        """Move on by `STEP_NS`."""
        self.now_ns += STEP_NS
        self.estimate = self.estimator.estimate()
        if self.body.tilt_rad > math.radians(100.0):
            self.is_tumbled = self.is_locked = True
            self.armed = False
        if self.is_flying:
            self.charge = max(0.0, self.charge - self._dt_s / _FLIGHT_S)
        self.effort = self._efforts() if self.armed else (0.0,) * 4
        self.body.advance(self.effort)
        self.estimator.advance(self.body.packed, self.now_s)

    # --- private ------------------------------------------------------------------------------

    def _begin(self, height_m: float, duration_s: float, yaw: float | None, *, is_landing: bool) -> bool:
        numbers = (height_m, duration_s, 0.0 if yaw is None else yaw)
        if not self.parameters["commander.enHighLevel"][1] or not all(map(math.isfinite, numbers)):
            return False
        heading = self.estimate.yaw if yaw is None else yaw
        start = self.estimate.position
        self._plan = Plan(start, self.now_s, height_m, duration_s, heading, is_landing)
        self._target = None
        return True

    def _goal(self) -> Target | None:
        """What to follow now; None: motors off."""
        if self._target is not None:
            age_s = self.now_s - self._target_s
            if age_s > SHUTDOWN_S:
                self.stop()
                return None
            if age_s > LEVEL_S:
                # Level: no tilt is asked for, the height stays as it was told.
                z = self._target.position[2]
                return Target((NAN, NAN, z), (NAN, NAN, 0.0), (0.0, 0.0, NAN), yaw=self._target.yaw)
            return self._target
        if self._plan is None:
            return None
        if self._plan.is_landing and self._plan.is_over(self.now_s) and self.body.on_ground:
            self.stop()
            return None
        return self._plan.target(self.now_s)

    def _efforts(self) -> tuple[float, ...]:
        goal = self._goal()
        if goal is None:
            self.cascade.reset()
            self._was_active = False
            return (0.0,) * 4
        if not self.is_flying:
            lifts = goal.position[2] > 0.05 or goal.velocity[2] > 0.05
            if not lifts:
                self.cascade.reset()
                return (0.0,) * 4
            self.is_flying = True
        if self.parameters["stabilizer.controller"][1] == OUT_OF_TREE and self.policy is not None:
            efforts = self._out_of_tree(goal)
            if efforts is not None:
                return efforts
        return tuple(self.cascade.track(self.estimate, goal, self._dt_s))

    def _out_of_tree(self, goal: Target) -> tuple[float, ...] | None:
        """RAPTOR's controller; None: the firmware's own flies (`rlt.gate` 0)."""
        assert self.policy is not None
        if self.now_s - self._active_s > ACTIVE_S:
            self._was_active, self._active_since_s = False, None
            return (0.0,) * 4 if self.parameters["rlt.gate"][1] else None
        if self._active_since_s is None:
            self._active_since_s = self.now_s
        if self.parameters["rlt.motor_warmup"][1] and self.now_s - self._active_since_s <= _WARM_UP_S:
            return (_WARM_UP_EFFORT,) * 4
        if not self._was_active:
            self.policy.reset()
            self._was_active = True
        e = self.estimate
        position = [x if math.isnan(p) else p for p, x in zip(goal.position, e.position, strict=True)]
        velocity = [0.0 if math.isnan(v) else v for v in goal.velocity]
        return tuple(
            self.policy.efforts(
                MotorObservation(
                    position=np.array(e.position),
                    orientation=np.array(e.orientation),
                    linear_velocity=np.array(e.velocity),
                    angular_velocity=np.array(e.rates),
                    reference_position=np.array(position),
                    reference_velocity=np.array(velocity),
                    # The firmware's policy knows no heading: it keeps the one of the world's x axis.
                    reference_yaw=0.0,
                    stamp_ns=self.now_ns,
                )
            )
        )

    def _variables(self) -> dict[str, tuple[str, Callable[[], float]]]:
        def of(term: str, axis: int, scale: float) -> Callable[[], float]:
            return lambda: getattr(self.estimate, term)[axis] * scale

        made: dict[str, tuple[str, Callable[[], float]]] = {}
        for i, axis in enumerate("xyz"):
            made[f"stateEstimateZ.{axis}"] = ("int16_t", of("position", i, 1000.0))
            made[f"stateEstimateZ.v{axis}"] = ("int16_t", of("velocity", i, 1000.0))
        made["stateEstimateZ.quat"] = ("uint32_t", self._compressed)
        # The firmware's pitch counts the other way: nose up.
        for i, (name, sign) in enumerate((("rateRoll", 1.0), ("ratePitch", -1.0), ("rateYaw", 1.0))):
            made[f"stateEstimateZ.{name}"] = ("int16_t", of("rates", i, sign * 1000.0))
        made["supervisor.info"] = ("uint16_t", lambda: self.supervisor)
        made["pm.vbat"] = ("float", lambda: _EMPTY_V + (_FULL_V - _EMPTY_V) * self.charge)
        made["pm.batteryLevel"] = ("uint8_t", lambda: 100.0 * self.charge)
        return made

    def _compressed(self) -> float:
        """The attitude in 32 bits: the largest component left out, nine bits and a sign for each other."""
        w, x, y, z = self.estimate.orientation
        q = (x, y, z, w)
        largest = max(range(4), key=lambda i: abs(q[i]))
        packed = largest
        for i in range(4):
            if i != largest:
                negative = (q[i] < 0.0) != (q[largest] < 0.0)
                size = min(511, int(511 * abs(q[i]) * math.sqrt(2.0) + 0.5))
                packed = packed << 10 | int(negative) << 9 | size
        return packed


def target_of_full_state(
    position: tuple[float, ...], velocity: tuple[float, ...], acceleration: tuple[float, ...], yaw: float
) -> Target:
    """A full-state set-point."""
    return Target(position, velocity, acceleration, yaw=ned.wrap_angle(yaw))


def hover_target(vx: float, vy: float, yaw_rate: float, z: float, *, yaw: float) -> Target:
    """A hover set-point: speed ahead and to the left, and a height."""
    c, s = math.cos(yaw), math.sin(yaw)
    return Target((NAN, NAN, z), (c * vx - s * vy, s * vx + c * vy, NAN), yaw_rate=yaw_rate)
