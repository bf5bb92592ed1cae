"""A quadrotor behind Betaflight, over MSP: telemetry, arming in words, flight, landing.

Three ways to steer (`control` on the card), which differ in what acts when this process falls silent:

- companion: MSP is the only receiver. Rates and thrust become stick positions through the inverse of the
  firmware's rate curve. Silence is a lost receiver: the firmware's own failsafe acts.
- override: MSP overrides a pilot's radio. Real firmware keeps the last override for ever, so a separate
process
  (`hardware.drones.watchdog`) owns the port and disarms when this one falls silent.
- onboard: RAPTOR inside the firmware flies. Pose and reference go out in messages of ours; MSP is the only
  receiver. Should RAPTOR hand back in the air, the driver's own outer loop takes over through the sticks.

Motors are never written, except with the value that stops them: what is sent while armed would spin them on
disarming.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np

from hardware.command import Command, CommandKind, FloatArray
from hardware.drones import betaflight_config as config
from hardware.drones.betaflight_channels import ChannelComposer
from hardware.drones.betaflight_config import ControlPath
from hardware.drones.betaflight_settings import RATES_NAMES, REFERENCE_NAMES, settings_of
from hardware.drones.betaflight_telemetry import Telemetry
from hardware.drones.msp import MspDirection, MspFrame, MspVersion
from hardware.drones.msp_link import MspLink
from hardware.drones.msp_messages import Msp, MspFormatError, encode_channels
from hardware.drones.outer_loop import HoverThrottle, RatesThrust, Setpoint
from hardware.drones.pilot import IN_AIR, Orders, Phase, Pilot
from hardware.drones.pose import PoseState, PoseTracker
from hardware.drones.raptor_feed import FEED, STATUS, Feeder, FlightState, OnboardStatus
from hardware.drones.transport import LinkError
from hardware.drones.vehicle import ExternalPose, VehicleStatus
from hardware.drones.watchdog import Watchdog
from hardware.errors import ConfigError, ConfigErrors, Refusal
from hardware.robot import Observation, RobotCard

_MEASURED = ("position", "orientation", "linear_velocity", "angular_velocity")
# The firmware handles one message a round of its serial task; more would only queue up there.
_MOST_OPEN = 8
_ANSWER_S = 0.3
_FIRST_STATUS_S = 2.0
_TRIES, _ASK_S = 3, 0.7
# A policy in the firmware that does not fly for this long in the air is replaced by our outer loop, seconds.
_POLICY_S = 0.3
# Poses whose tilt differs from the firmware's by more than this belong to another body or another frame.
_TILT_RAD = 0.5
_LONGEST_LANDING_S = 30.0


class BetaflightVehicle:
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
        unknown = sorted(set(card.observations) - set(_MEASURED))
        if unknown:
            raise ConfigError(
                f"observations {', '.join(unknown)}",
                where=where,
                expected=", ".join(_MEASURED),
                mend="leave the others out",
            )
        self._names = names
        self._data_clock, self._clock = data_clock, steady_clock
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._pilot = Pilot(
            s.flight,
            s.outer_loop,
            command_timeout_s=self.command_spec.robot_timeout_s,
            cut_disarms=s.control is ControlPath.OVERRIDE,
        )
        self._tracker, self._feeder = PoseTracker(), Feeder()
        self._hover = HoverThrottle(s.hover_thrust)
        self._telemetry = Telemetry(())
        self._captured_ns = 0
        self._observation: Observation | None = None
        self._policy_flew_ns = 0
        self._link: MspLink | None = None
        self._setup: config.Setup | None = None
        self._composer: ChannelComposer | None = None
        self._watchdog: Watchdog | None = None
        self._worker: threading.Thread | None = None
        self._closing = False

    # --- the wire -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link, compare the set-up with the card, and begin to send idle sticks. Nothing moves.

        Raises:
            ConfigError: nobody answers, somebody else holds the port, or the firmware cannot be flown.
            ConfigErrors: its set-up is not what the card wants; each finding says how to mend it.
        """
        s = self.settings
        address = s.link
        if s.control is ControlPath.OVERRIDE:
            self._watchdog = Watchdog.start(s.link, silence_s=s.watchdog_s, arm_channel=3 + s.channels.arm)
            address = self._watchdog.address
        self._link = MspLink(address, clock=self._clock)
        try:
            self._link.open()
            self._setup = self._inspect(self._link)
            self._telemetry = Telemetry(self._setup.box_ids)
            self._composer = ChannelComposer(self._setup, s.channels, onboard=self._is_onboard)
            # What an earlier program may have left behind would spin the motors on disarming.
            self._link.ask(Msp.SET_MOTOR, struct.pack("<8H", *[1000] * 8))
            self._closing = False
            self._worker = threading.Thread(target=self._work, name="betaflight", daemon=True)
            self._worker.start()
            deadline_ns = self._clock() + round(_FIRST_STATUS_S * 1e9)
            while self._telemetry.status is None and self._clock() < deadline_ns:
                time.sleep(0.01)
            if self._telemetry.status is None:
                raise LinkError("it answers settings but no status")
        except BaseException as error:
            self.disconnect()
            if isinstance(error, LinkError):
                raise self._silent(error) from error
            raise

    def _inspect(self, link: MspLink) -> config.Setup:
        s = self.settings

        def ask(command: int, payload: bytes) -> bytes:
            for _ in range(_TRIES - 1):
                # A port that has just been opened may lose its first bytes.
                with contextlib.suppress(LinkError):
                    return link.ask(command, payload, timeout_s=_ASK_S)
            return link.ask(command, payload, timeout_s=_ASK_S)

        def look() -> config.Setup:
            return config.inspect(ask, s.wanted, bend=s.thrust_bend, idle=s.motor_idle, where=s.link)

        setup = look()
        if setup.findings and s.write_configuration and setup.can_be_written:
            config.write(ask, s.wanted)
            setup = look()
        if setup.findings:
            raise ConfigErrors(list(setup.findings), where=f"set-up of the flight controller on {s.link}")
        return setup

    def _silent(self, error: LinkError) -> ConfigError:
        return ConfigError(
            f"the flight controller does not answer: {error}",
            where=self.settings.link,
            expected="a Betaflight that nobody else is connected to",
            mend="close the configurator or whatever else holds the port, and check that the port speaks MSP",
        )

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
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._watchdog is not None:
            self._watchdog.release()
            self._watchdog = None

    def __enter__(self) -> Self:
        """Connect."""
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()

    # --- what it measures ---------------------------------------------------------------------

    def external_pose(self, pose: ExternalPose) -> None:
        """Take a pose from outside: it makes the next observation. Returns at once; from any thread."""
        now_ns = self._clock()
        with self._lock:
            state = self._tracker.take(pose, now_ns)
            if state is None:
                return
            self._captured_ns = now_ns - max(0, self._data_clock() - pose.stamp_ns)
            rates = self._telemetry.rates(now_ns)
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
            telemetry, pilot, link = self._telemetry, self._pilot, self._link
            phase = pilot.phase
            armed = telemetry.armed(now_ns)
            battery = telemetry.battery
            answer = self._feeder.answer
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
                link_quality=0.0 if link is None else link.quality,
                received_steady_ns=telemetry.received_ns,
            )

    @property
    def safe_stopped(self) -> str | None:
        """Why the vehicle is in its safe action, or None while it follows commands."""
        return self._pilot.safe_stopped

    @property
    def firmware(self) -> str:
        """The firmware and its version; empty before it is known."""
        return "" if self._setup is None else self._setup.firmware

    @property
    def hover_thrust(self) -> float:
        """Share of the full thrust that carries the weight, as learnt so far, 0 to 1."""
        return self._hover.share

    @property
    def onboard_reason(self) -> str:
        """Why the policy in the firmware does not fly; empty when it does, or when there is none."""
        answer = self._feeder.answer
        return "" if answer is None else answer.reason

    def onboard_status(self) -> OnboardStatus:
        """Ask the policy in the firmware how it does; waits for the answer.

        Raises:
            Refusal: there is no such policy, or no answer.
        """
        try:
            if self._link is None:
                raise LinkError("not connected")
            return OnboardStatus.parse(self._link.ask(STATUS, version=MspVersion.V2))
        except (LinkError, MspFormatError) as error:
            raise Refusal(f"no status of a policy in the firmware: {error}") from error

    def _blockers(self, now_ns: int) -> tuple[str, ...]:
        """The firmware's reasons not to arm, and ours."""
        if not self._telemetry.is_fresh(now_ns):
            error = "" if self._link is None else self._link.counts.last_error
            return (f"no telemetry from the flight controller{': ' + error if error else ''}",)
        found = list(self._telemetry.blockers)
        pose = self._tracker.state
        if pose is not None:
            tilt = self._telemetry.tilt_disagreement(pose.orientation_wxyz, now_ns)
            if tilt is not None and tilt > _TILT_RAD:
                found.append(
                    f"the pose from outside is tilted {tilt:.1f} rad against the flight controller's own "
                    "attitude: another body, or other axes"
                )
        return tuple(found)

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
            self._pilot.step(now_ns, pose, armed=self._telemetry.armed(now_ns))
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
                    now_ns, pose, armed=self._telemetry.armed(now_ns), reasons=self._telemetry.blockers
                )
                self._learn(orders, now_ns, dt_s)
            if self._is_onboard and now_ns >= feed_due and pose is not None and pose.stamp_ns != fed_stamp:
                fed_stamp, feed_due = pose.stamp_ns, max(feed_due + feed_ns, now_ns)
                self._feed(pose, orders, now_ns)
            if now_ns >= rc_due:
                rc_due = max(rc_due + rc_ns, now_ns)
                if not orders.silent:
                    self._send_sticks(orders, now_ns)
            if now_ns >= poll_due:
                poll_due = max(poll_due + poll_ns, now_ns)
                self._poll()
            wait_ns = min(rc_due, poll_due) - self._clock()
            self._wake.wait(max(0.0005, wait_ns * 1e-9))
            self._wake.clear()

    def _send_sticks(self, orders: Orders, now_ns: int) -> None:
        link = self._link
        if link is None or link.open_requests(Msp.SET_RAW_RC) >= _MOST_OPEN:
            return
        assert self._composer is not None
        fallback = self._is_onboard and self._policy_failed(orders, now_ns)
        raw = self._composer.compose(orders, hover=self._hover.share, policy_failed=fallback)
        link.send(Msp.SET_RAW_RC, encode_channels(raw), deadline_s=_ANSWER_S)

    def _policy_failed(self, orders: Orders, now_ns: int) -> bool:
        """Whether the policy in the firmware should fly and has not for too long."""
        return orders.airborne and now_ns - self._policy_flew_ns > round(_POLICY_S * 1e9)

    def _learn(self, orders: Orders, now_ns: int, dt_s: float) -> None:
        """Follow the share of thrust that hovers."""
        telemetry = self._telemetry
        answer = self._feeder.answer
        if answer is not None and answer.state is FlightState.FLYING:
            self._policy_flew_ns = now_ns
            outputs = telemetry.motor_outputs
            if orders.airborne and outputs and self._setup is not None:
                mean = sum(outputs) / len(outputs)
                share = self._setup.sticks.thrust_of(mean)
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

    def _poll(self) -> None:
        link = self._link
        if link is None or link.open_requests(Msp.MULTIPLE_MSP):
            return
        commands, payload = self._telemetry.question()

        def take(frame: MspFrame | None) -> None:
            if frame is None or frame.direction is MspDirection.ERROR:
                return
            with self._lock:
                try:
                    self._telemetry.take(commands, frame.payload, self._clock())
                except MspFormatError:
                    link.counts.refused += 1

        link.send(Msp.MULTIPLE_MSP, payload, on_answer=take, deadline_s=_ANSWER_S)

    def _feed(self, pose: PoseState, orders: Orders, now_ns: int) -> None:
        link = self._link
        if link is None or link.open_requests(FEED) >= _MOST_OPEN:
            return
        payload = self._feeder.message(
            pose, orders.setpoint, captured_steady_ns=self._captured_ns, now_ns=now_ns
        )

        def take(frame: MspFrame | None) -> None:
            if frame is None or frame.direction is MspDirection.ERROR:
                return
            with self._lock:
                try:
                    self._feeder.take(frame.payload, self._clock())
                except MspFormatError:
                    link.counts.refused += 1

        link.send(FEED, payload, on_answer=take, deadline_s=_ANSWER_S, version=MspVersion.V2)
