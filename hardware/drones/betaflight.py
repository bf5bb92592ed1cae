"""A quadrotor behind Betaflight, over MSP: telemetry, arming in words, flight, landing.

Three ways to steer (`control` on the card), which differ in what acts when this process falls silent:

- companion: MSP is the only receiver. Rates and thrust become stick positions through the inverse of the
  firmware's rate curve. Silence is a lost receiver: the firmware's own failsafe acts.
- override: MSP overrides a pilot's radio. Real firmware keeps the last override for ever, so a separate
  process (`hardware.drones.watchdog`) owns the port and disarms when this one falls silent.
- onboard: RAPTOR inside the firmware flies. Pose and reference go out in messages of ours; MSP is the only
  receiver. Should RAPTOR hand back in the air, the driver's own outer loop takes over through the sticks.

Motors are never written, except with the value that stops them: what is sent while armed would spin them on
disarming.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from hardware.command import Command, CommandKind, FloatArray
from hardware.connected import Connected
from hardware.drones.betaflight_config import ControlPath
from hardware.drones.betaflight_session import FirmwareSession
from hardware.drones.betaflight_settings import RATES_NAMES, REFERENCE_NAMES, settings_of
from hardware.drones.card_checks import check_observations
from hardware.drones.outer_loop import HoverThrottle, RatesThrust, Setpoint
from hardware.drones.pilot import IN_AIR, Orders, Phase, Pilot
from hardware.drones.pose import PoseTracker
from hardware.drones.raptor_feed import FlightState, OnboardStatus
from hardware.drones.transport import LinkError
from hardware.drones.vehicle import ExternalPose, VehicleStatus
from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation, RobotCard

_FIRST_STATUS_S = 2.0
# A policy in the firmware that does not fly for this long in the air is replaced by our outer loop, seconds.
_POLICY_S = 0.3
_LONGEST_LANDING_S = 30.0


class BetaflightVehicle(Connected):
    """The driver. Implements `hardware.drones.vehicle.FlightVehicle`.

    Position, velocity and orientation come from outside (`external_pose`): the firmware knows neither where
    it is nor where it looks. Body rates come from its gyroscope while that is fresh, else from how the
    poses turn. An observation is made when a pose arrives and carries its stamp; nothing on the wire to the
    firmware can delay it.

    Args:
        card: a robot card with `driver: betaflight`; `parameters.betaflight` holds `BetaflightSettings`.
        data_clock: the ROS clock, nanoseconds.
        steady_clock: the steady clock, nanoseconds.

    Raises:
        ConfigError: the card does not describe a vehicle of this driver.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        data_clock: Callable[[], int] = time.time_ns,
        steady_clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Read the card; nothing is opened."""
        self.card, self.settings = card, settings_of(card)
        s = self.settings
        self._is_onboard = s.control is ControlPath.ONBOARD
        kind = CommandKind.REFERENCE if self._is_onboard else CommandKind.RATES_THRUST
        self.command_spec = card.command_of_kind(kind)
        names = REFERENCE_NAMES if self._is_onboard else RATES_NAMES
        where = f"robot card {card.name!r}"
        if sorted(self.command_spec.names) != sorted(names):
            raise ConfigError(
                f"commands {', '.join(self.command_spec.names)}",
                where=where,
                expected=", ".join(names),
                mend="name these",
            )
        check_observations(card)
        self._names = names
        self._data_clock, self._clock = data_clock, steady_clock
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._pilot = Pilot(
            s.flight,
            s.outer_loop,
            command_timeout_s=self.command_spec.robot_timeout_s,
            cut_disarms=s.control is ControlPath.OVERRIDE,
        )
        self._tracker = PoseTracker()
        self._hover = HoverThrottle(s.hover_thrust)
        self._session = FirmwareSession(s, lock=self._lock, clock=steady_clock)
        self._captured_ns = 0
        self._observation: Observation | None = None
        self._policy_flew_ns = 0
        self._worker: threading.Thread | None = None
        self._closing = False

    # --- the wire -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link, compare the set-up with the card, and begin to send idle sticks. Nothing moves.

        Raises:
            ConfigError: nobody answers, somebody else holds the port, or the firmware cannot be flown.
            ConfigErrors: its set-up is not what the card wants; each finding says how to mend it.
        """
        try:
            self._session.open()
            self._closing = False
            self._worker = threading.Thread(target=self._work, name="betaflight", daemon=True)
            self._worker.start()
            deadline_ns = self._clock() + round(_FIRST_STATUS_S * 1e9)
            while self._session.telemetry.status is None and self._clock() < deadline_ns:
                time.sleep(0.01)
            if self._session.telemetry.status is None:
                raise LinkError("it answers settings but no status")
        except BaseException as error:
            self.disconnect()
            if isinstance(error, LinkError):
                raise self._session.silent(error) from error
            raise

    def disconnect(self) -> None:
        """Land if it flies and can, disarm, and close the link: it may wait for the ground."""
        worker = self._worker
        if worker is not None:
            self.safe_stop("disconnected")
            deadline_s = time.monotonic() + _LONGEST_LANDING_S
            while worker.is_alive() and self._pilot.phase in IN_AIR and time.monotonic() < deadline_s:
                time.sleep(0.05)
            self.disarm()
            # The arm switch goes off on the wire before the wire goes away.
            time.sleep(0.15)
            self._closing = True
            self._wake.set()
            worker.join(timeout=2.0)
            self._worker = None
        self._session.close()

    # --- what it measures ---------------------------------------------------------------------

    def external_pose(self, pose: ExternalPose) -> None:
        """Take a pose from outside: it makes the next observation. Returns at once; from any thread."""
        now_ns = self._clock()
        with self._lock:
            state = self._tracker.take(pose, now_ns)
            if state is None:
                return
            self._captured_ns = now_ns - max(0, self._data_clock() - pose.stamp_ns)
            rates = self._session.telemetry.rates(now_ns)
            values: dict[str, FloatArray] = {
                "position": state.position_m,
                "orientation": state.orientation_wxyz,
                "linear_velocity": state.velocity_body_m_s,
                "angular_velocity": state.angular_velocity_rad_s if rates is None else rates,
            }
            self._observation = Observation(
                values={name: values[name] for name in self.card.observations},
                stamp_ns=state.stamp_ns,
                received_steady_ns=now_ns,
            )
        if self._is_onboard:
            self._wake.set()

    def read(self) -> Observation:
        """Return the newest observation.

        Raises:
            Refusal: no pose has come yet.
        """
        observation = self._observation
        if observation is None:
            raise Refusal("no observation yet: no pose has come from outside")
        return observation

    @property
    def status(self) -> VehicleStatus:
        """How the vehicle is."""
        now_ns = self._clock()
        with self._lock:
            telemetry, pilot = self._session.telemetry, self._pilot
            phase = pilot.phase
            armed = telemetry.armed(now_ns)
            battery = telemetry.battery
            answer = self._session.feeder.answer
            flies = not self._is_onboard or (answer is not None and answer.state is FlightState.FLYING)
            return VehicleStatus(
                armed=bool(armed),
                mode="unknown"
                if armed is None
                else "policy"
                if flies and self._is_onboard
                else telemetry.mode,
                follows_commands=phase in (Phase.HOLD, Phase.FOLLOW) and flies,
                failsafe=telemetry.mode == "failsafe" or phase is Phase.CUT,
                arming_blockers=() if armed else self._blockers(now_ns),
                on_ground=phase in (Phase.GROUND, Phase.ARMING, Phase.READY) and not armed
                if armed is not None
                else None,
                battery_v=telemetry.analog.voltage_v
                if telemetry.analog and telemetry.analog.voltage_v
                else None,
                battery_share=None if battery is None else battery.share,
                link_quality=self._session.quality,
                received_steady_ns=telemetry.received_ns,
            )

    @property
    def safe_stopped(self) -> str | None:
        """Why the vehicle is in its safe action, or None while it follows commands."""
        return self._pilot.safe_stopped

    @property
    def firmware(self) -> str:
        """The firmware and its version; empty before it is known."""
        return "" if self._session.setup is None else self._session.setup.firmware

    @property
    def hover_thrust(self) -> float:
        """Share of the full thrust that carries the weight, as learnt so far, 0 to 1."""
        return self._hover.share

    @property
    def onboard_reason(self) -> str:
        """Why the policy in the firmware does not fly; empty when it does, or when there is none."""
        answer = self._session.feeder.answer
        return "" if answer is None else answer.reason

    def onboard_status(self) -> OnboardStatus:
        """Ask the policy in the firmware how it does; waits for the answer.

        Raises:
            Refusal: there is no such policy, or no answer.
        """
        return self._session.policy_status()

    def _blockers(self, now_ns: int) -> tuple[str, ...]:
        """The firmware's reasons not to arm, and ours."""
        return self._session.blockers(self._tracker.state, now_ns)

    # --- what it is told ----------------------------------------------------------------------

    def arm(self) -> None:
        """Ask the firmware to arm; `status` tells whether it did.

        Raises:
            Refusal: it will not, for the reasons that it says.
        """
        now_ns = self._clock()
        with self._lock:
            blockers = self._blockers(now_ns)
            if blockers and self._pilot.phase is Phase.GROUND:
                raise Refusal("it will not arm: " + "; ".join(blockers))
            self._pilot.arm(now_ns, self._tracker.state)
        self._wake.set()

    def disarm(self) -> None:
        """Ask the firmware to disarm, at once and wherever it is."""
        with self._lock:
            self._pilot.disarm(self._clock(), "disarmed on request")
        self._wake.set()

    def take_off(self, height_m: float) -> None:
        """Climb to a height above the present place, then hold there until commands come.

        Raises:
            Refusal: it is not armed and standing, there is no fresh pose, or the height is none.
        """
        now_ns = self._clock()
        with self._lock:
            pose = self._tracker.state
            # Whoever saw in `status` that it is armed must not be told that it is not yet.
            self._pilot.step(now_ns, pose, armed=self._session.telemetry.armed(now_ns))
            self._pilot.take_off(now_ns, height_m, pose)
        self._wake.set()

    def land(self) -> None:
        """Descend, then disarm."""
        with self._lock:
            self._pilot.land(self._clock(), self._tracker.state)
        self._wake.set()

    def safe_stop(self, reason: str) -> None:
        """Land, then disarm; without a pose, leave it to the firmware's failsafe (override: disarm)."""
        with self._lock:
            self._pilot.safe_stop(self._clock(), reason, self._tracker.state)
        self._wake.set()

    def command(self, command: Command) -> None:
        """Hand a gated command to the vehicle; it counts in the air alone.

        Raises:
            ConfigError: another kind, other elements, or a number that is not finite: no gate lets that
                through.
        """
        spec = self.command_spec
        given = dict(zip(command.names, command.values.tolist(), strict=True))
        if command.kind is not spec.kind or sorted(given) != sorted(self._names):
            raise ConfigError(
                f"a command {command.kind.value} of {', '.join(command.names)}",
                where=f"robot {self.card.name!r}",
                expected=f"{spec.kind.value} of {', '.join(self._names)}",
                mend="send what the card says",
            )
        values = np.array([given[name] for name in self._names])
        if not np.isfinite(values).all():
            raise ConfigError(
                "a command that is not finite",
                where=f"robot {self.card.name!r}",
                expected="finite numbers",
                mend="send commands through the gate",
            )
        wanted: RatesThrust | Setpoint
        if self._is_onboard:
            wanted = Setpoint(values[:3], values[3:6], float(values[6]))
        else:
            wanted = RatesThrust((float(values[0]), float(values[1]), float(values[2])), float(values[3]))
        with self._lock:
            self._pilot.command(self._clock(), wanted)
        self._wake.set()

    # --- the worker ---------------------------------------------------------------------------

    def _work(self) -> None:
        """Send sticks, questions and poses, each at its pace. The only thread that writes to the wire."""
        s = self.settings
        rc_ns, poll_ns, feed_ns = (
            round(1e9 / rate) for rate in (s.rc_rate_hz, s.telemetry_rate_hz, s.feed_rate_hz)
        )
        last_ns = rc_due = poll_due = feed_due = self._clock()
        fed_stamp = 0
        while not self._closing:
            now_ns = self._clock()
            dt_s = min(0.1, (now_ns - last_ns) * 1e-9)
            last_ns = now_ns
            with self._lock:
                pose = self._tracker.state
                orders = self._pilot.step(
                    now_ns,
                    pose,
                    armed=self._session.telemetry.armed(now_ns),
                    reasons=self._session.telemetry.blockers,
                )
                self._learn(orders, now_ns, dt_s)
            if self._is_onboard and now_ns >= feed_due and pose is not None and pose.stamp_ns != fed_stamp:
                fed_stamp, feed_due = pose.stamp_ns, max(feed_due + feed_ns, now_ns)
                self._session.feed(pose, orders.setpoint, captured_steady_ns=self._captured_ns, now_ns=now_ns)
            if now_ns >= rc_due:
                rc_due = max(rc_due + rc_ns, now_ns)
                if not orders.silent:
                    fallback = self._is_onboard and self._policy_failed(orders, now_ns)
                    self._session.send_sticks(orders, hover=self._hover.share, policy_failed=fallback)
            if now_ns >= poll_due:
                poll_due = max(poll_due + poll_ns, now_ns)
                self._session.poll()
            wait_ns = min(rc_due, poll_due) - self._clock()
            self._wake.wait(max(0.0005, wait_ns * 1e-9))
            self._wake.clear()

    def _policy_failed(self, orders: Orders, now_ns: int) -> bool:
        """Whether the policy in the firmware should fly and has not for too long."""
        return orders.airborne and now_ns - self._policy_flew_ns > round(_POLICY_S * 1e9)

    def _learn(self, orders: Orders, now_ns: int, dt_s: float) -> None:
        """Follow the share of thrust that hovers."""
        telemetry = self._session.telemetry
        answer = self._session.feeder.answer
        if answer is not None and answer.state is FlightState.FLYING:
            self._policy_flew_ns = now_ns
            outputs = telemetry.motor_outputs
            if orders.airborne and outputs and self._session.setup is not None:
                mean = sum(outputs) / len(outputs)
                share = self._session.setup.sticks.thrust_of(mean)
                self._hover.share += min(1.0, dt_s / 0.5) * (share - self._hover.share)
            return
        if self._is_onboard and not self._policy_failed(orders, now_ns):
            return
        if orders.phase is Phase.LAND:
            return
        if orders.phase is Phase.CLIMB and not orders.airborne:
            self._hover.climb(dt_s)
        elif orders.airborne and orders.control is not None and telemetry.imu is not None:
            if telemetry.is_fresh(now_ns, 0.2):
                felt = float(telemetry.imu.acceleration_m_s2[2])
                self._hover.update(orders.control.thrust, felt, dt_s)
