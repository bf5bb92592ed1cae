"""A connection with Betaflight over MSP: its set-up compared with the card, what it tells, what it is told.

Nothing here decides what to fly: sticks, questions and poses go out when they are asked for.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable

from hardware.drones import betaflight_config as config
from hardware.drones.betaflight_channels import ChannelComposer
from hardware.drones.betaflight_config import ControlPath
from hardware.drones.betaflight_settings import BetaflightSettings
from hardware.drones.betaflight_telemetry import Telemetry
from hardware.drones.msp import MspDirection, MspFrame, MspVersion
from hardware.drones.msp_link import MspLink
from hardware.drones.msp_messages import Msp, MspFormatError, encode_channels
from hardware.drones.outer_loop import Setpoint
from hardware.drones.pilot import Orders
from hardware.drones.pose import PoseState
from hardware.drones.raptor_feed import FEED, STATUS, Feeder, OnboardStatus
from hardware.drones.transport import LinkError
from hardware.drones.watchdog import Watchdog
from hardware.errors import ConfigError, ConfigErrors, Refusal

# The firmware handles one message a round of its serial task; more would only queue up there.
_MOST_OPEN = 8
_ANSWER_S = 0.3
_TRIES, _ASK_S = 3, 0.7
# Poses whose tilt differs from the firmware's by more than this belong to another body or another frame.
_TILT_RAD = 0.5


class FirmwareSession:
    """One flight controller. The owner writes from one thread; answers are taken in the link's, locked.

    Args:
        settings: the card's.
        lock: guards `telemetry` and `feeder`.
        clock: the steady clock, nanoseconds.
    """

    def __init__(
        self, settings: BetaflightSettings, *, lock: threading.RLock, clock: Callable[[], int]
    ) -> None:
        """Open nothing."""
        self._settings, self._lock, self._clock = settings, lock, clock
        # What the firmware tells of itself, and of a policy that flies inside it.
        self.telemetry = Telemetry(())
        self.feeder = Feeder()
        # How it is set up; None before `open`.
        self.setup: config.Setup | None = None
        self._link: MspLink | None = None
        self._composer: ChannelComposer | None = None
        self._watchdog: Watchdog | None = None

    def open(self) -> None:
        """Open the link and compare the set-up with the card. Nothing moves.

        Raises:
            LinkError: nobody answers, or somebody else holds the port.
            ConfigError: the firmware cannot be flown.
            ConfigErrors: its set-up is not what the card wants; each finding says how to mend it.
        """
        s = self._settings
        address = s.link
        if s.control is ControlPath.OVERRIDE:
            self._watchdog = Watchdog.start(s.link, silence_s=s.watchdog_s, arm_channel=3 + s.channels.arm)
            address = self._watchdog.address
        self._link = MspLink(address, clock=self._clock)
        self._link.open()
        self.setup = self._inspect(self._link)
        self.telemetry = Telemetry(self.setup.box_ids)
        self._composer = ChannelComposer(self.setup, s.channels, onboard=s.control is ControlPath.ONBOARD)
        # What an earlier program may have left behind would spin the motors on disarming.
        self._link.ask(Msp.SET_MOTOR, struct.pack("<8H", *[1000] * 8))

    def close(self) -> None:
        """Close the link and let the watchdog go; also what was opened in part."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._watchdog is not None:
            self._watchdog.release()
            self._watchdog = None

    def silent(self, error: LinkError) -> ConfigError:
        """What to tell the user when nobody answers."""
        return ConfigError(
            f"the flight controller does not answer: {error}",
            where=self._settings.link,
            expected="a Betaflight that nobody else is connected to",
            mend="close the configurator or whatever else holds the port, and check that the port speaks MSP",
        )

    # --- told ---------------------------------------------------------------------------------

    @property
    def quality(self) -> float:
        """Share of the questions that were answered lately, 0 to 1; 0 while closed."""
        link = self._link
        return 0.0 if link is None else link.quality

    def blockers(self, pose: PoseState | None, now_ns: int) -> tuple[str, ...]:
        """Why it will not arm, or must not.

        Args:
            pose: from outside; None before the first.
            now_ns: the steady clock.

        Returns:
            The firmware's reasons, and a pose that is not that of its body.
        """
        if not self.telemetry.is_fresh(now_ns):
            link = self._link
            error = "" if link is None else link.counts.last_error
            return (f"no telemetry from the flight controller{': ' + error if error else ''}",)
        found = list(self.telemetry.blockers)
        if pose is not None:
            tilt = self.telemetry.tilt_disagreement(pose.orientation_wxyz, now_ns)
            if tilt is not None and tilt > _TILT_RAD:
                found.append(
                    f"the pose from outside is tilted {tilt:.1f} rad against the flight controller's own "
                    "attitude: another body, or other axes"
                )
        return tuple(found)

    def policy_status(self) -> OnboardStatus:
        """Ask the policy in the firmware how it does; waits for the answer.

        Raises:
            Refusal: there is no such policy, or no answer.
        """
        link = self._link
        try:
            if link is None:
                raise LinkError("not connected")
            return OnboardStatus.parse(link.ask(STATUS, version=MspVersion.V2))
        except (LinkError, MspFormatError) as error:
            raise Refusal(f"no status of a policy in the firmware: {error}") from error

    # --- sent ---------------------------------------------------------------------------------

    def send_sticks(self, orders: Orders, *, hover: float, policy_failed: bool) -> None:
        """Send stick positions and switches, unless too many are still unanswered.

        Args:
            orders: what to fly.
            hover: share of the full thrust that carries the weight.
            policy_failed: whether the outer loop flies in place of the policy in the firmware.
        """
        link = self._link
        if link is None or link.open_requests(Msp.SET_RAW_RC) >= _MOST_OPEN:
            return
        assert self._composer is not None
        raw = self._composer.compose(orders, hover=hover, policy_failed=policy_failed)
        link.send(Msp.SET_RAW_RC, encode_channels(raw), deadline_s=_ANSWER_S)

    def poll(self) -> None:
        """Ask the next questions, unless the last ones are unanswered."""
        link = self._link
        if link is None or link.open_requests(Msp.MULTIPLE_MSP):
            return
        commands, payload = self.telemetry.question()

        def take(answer: bytes) -> None:
            self.telemetry.take(commands, answer, self._clock())

        link.send(Msp.MULTIPLE_MSP, payload, on_answer=self._taking(link, take), deadline_s=_ANSWER_S)

    def feed(
        self, pose: PoseState, setpoint: Setpoint | None, *, captured_steady_ns: int, now_ns: int
    ) -> None:
        """Send pose and reference to the policy in the firmware, unless too many are still unanswered.

        Args:
            pose: from outside.
            setpoint: where to be; None: nowhere in particular.
            captured_steady_ns: when the pose was captured, steady clock.
            now_ns: the steady clock.
        """
        link = self._link
        if link is None or link.open_requests(FEED) >= _MOST_OPEN:
            return
        payload = self.feeder.message(pose, setpoint, captured_steady_ns=captured_steady_ns, now_ns=now_ns)

        def take(answer: bytes) -> None:
            self.feeder.take(answer, self._clock())

        link.send(
            FEED,
            payload,
            on_answer=self._taking(link, take),
            deadline_s=_ANSWER_S,
            version=MspVersion.V2,
        )

    # --- private ------------------------------------------------------------------------------

    def _taking(self, link: MspLink, take: Callable[[bytes], None]) -> Callable[[MspFrame | None], None]:
        """What to do with an answer: an error or silence is none, one that cannot be read is counted."""

        def call(frame: MspFrame | None) -> None:
            if frame is None or frame.direction is MspDirection.ERROR:
                return
            with self._lock:
                try:
                    take(frame.payload)
                except MspFormatError:
                    link.counts.refused += 1

        return call

    def _inspect(self, link: MspLink) -> config.Setup:
        s = self._settings

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
