"""PX4 over MAVLink: offboard references and rates, arming, take-off, landing, poses from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from hardware.command import Command, CommandKind
from hardware.drones.mavlink_link import UdpTransport, is_stream, open_link
from hardware.drones.piloted import PilotedVehicle
from hardware.drones.px4_card import check_card, settings_of, values_of
from hardware.drones.px4_modes import Mode
from hardware.drones.px4_pilot import Phase, Pilot
from hardware.drones.px4_session import Session
from hardware.drones.state import VehicleState
from hardware.drones.transport import LinkError, Transport
from hardware.drones.vehicle import VehicleStatus
from hardware.errors import ConfigError, Refusal
from hardware.parameters import number
from hardware.robot import RobotCard

_DEFAULT_LINK = "udpin:127.0.0.1:14540"
_READ_S = 0.05
_REOPEN_S = 0.5
# How long `disconnect` waits until a flying vehicle reports that it is landing.
_LEAVE_S = 3.0


class PX4Vehicle(PilotedVehicle):
    """A vehicle with PX4 firmware; implements `hardware.drones.vehicle.FlightVehicle`.

    Settings come from the card's `parameters`: `link` (udpin:127.0.0.1:14540), `follow` (`offboard`:
    PX4's own controllers; `raptor`: its RAPTOR mode, the first external mode), `connect_timeout_s` (3),
    `vehicle_system` (0: the first autopilot heard), `firmware_parameters` (PX4 parameters that must have
    these values before it arms), `writes_parameters` (false), `feeds_acceleration` (true),
    `battery_land_share` (0: never).

    The element `thrust` of RATES_THRUST counts in multiples of the weight: 1 carries it.

    Args:
        card: the robot's card: interfaces of kind reference or rates_thrust with the safe action land.
        data_clock: the ROS clock, nanoseconds.
        steady_clock: the steady clock, nanoseconds.
        link: replaces the card's link.

    Raises:
        ConfigError: the card does not describe this driver.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        data_clock: Callable[[], int] = time.time_ns,
        steady_clock: Callable[[], int] = time.monotonic_ns,
        link: str | None = None,
    ) -> None:
        """Check the card; nothing is opened."""
        super().__init__(card, data_clock=data_clock, steady_clock=steady_clock)
        check_card(card)
        parameters = card.parameters
        self._address = str(parameters.get("link", _DEFAULT_LINK)) if link is None else link
        self._settings = settings_of(card)
        self._connect_s = number(card, "connect_timeout_s", 3.0)
        self._transport: Transport | None = None
        self._session = Session(self._settings)
        self._heard = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._is_over = threading.Event()
        self._link_problem = ""

    # --- the Robot protocol -------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link and wait for the vehicle and its state.

        Raises:
            ConfigError: the port is taken, or nobody answered within `connect_timeout_s`.
        """
        if self._threads:
            return
        try:
            self._transport = open_link(self._address, steady_clock=self._steady_clock)
        except LinkError as error:
            raise self._unreachable(str(error), "choose another link, or stop the other program") from error
        self._session = Session(self._settings, keeps_rest=is_stream(self._address))
        self._is_over.clear()
        for name, loop in (("receive", self._receive_loop), ("send", self._send_loop)):
            thread = threading.Thread(target=loop, name=f"px4-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        deadline_s = time.monotonic() + self._connect_s
        with self._heard:
            while not self._is_ready():
                rest_s = deadline_s - time.monotonic()
                if rest_s <= 0.0:
                    break
                self._heard.wait(min(rest_s, 0.1))
            is_ready, session = self._is_ready(), self._session
        if not is_ready:
            heard = session.vehicle is not None
            what = "a vehicle was heard, but it tells no position" if heard else "no vehicle was heard"
            self._close()
            mend = (
                "wait for its estimator, or give it a pose from outside"
                if heard
                else "switch the vehicle on, and check the address and that PX4 sends MAVLink to it"
            )
            raise self._unreachable(f"{what} within {self._connect_s:g} s", mend)

    def disconnect(self) -> None:
        """Let a flying vehicle land, close the link.

        Once PX4 reports that it is landing it needs nobody: it comes down and disarms by itself.
        """
        if not self._threads:
            return
        with self._lock:
            if self._session.pilot.armed:
                self._session.pilot.safe_stop(self._steady_clock(), "disconnected")
                self._wake.notify()
        deadline_s = time.monotonic() + _LEAVE_S
        while time.monotonic() < deadline_s:
            with self._lock:
                pilot = self._session.pilot
                lost = not self._session.is_alive(self._steady_clock())
                if lost or not pilot.armed or pilot.phase is not Phase.LANDING or pilot.mode is Mode.LAND:
                    break
            self._is_over.wait(0.02)
        self._close()

    def command(self, command: Command) -> None:
        """Follow a command from now on, if the vehicle flies and takes commands.

        Raises:
            Refusal: a number is missing or not finite, or PX4's hover thrust is not known yet.
            ConfigError: the card has no interface of that kind.
        """
        self.card.command_of_kind(command.kind)
        values = values_of(command)
        with self._lock:
            session = self._session
            if command.kind is CommandKind.RATES_THRUST and session.parameter("MPC_THR_HOVER") is None:
                raise Refusal("PX4's hover thrust (MPC_THR_HOVER) is not known yet: thrust has no scale")
            session.command(command.kind, values, self._steady_clock(), stamp_ns=command.stamp_ns)
            self._wake.notify()

    # --- the FlightVehicle protocol -------------------------------------------------------------

    @property
    def status(self) -> VehicleStatus:
        """How the vehicle is."""
        with self._lock:
            return self._session.status(self._steady_clock())

    @property
    def firmware(self) -> str:
        """What flies, such as "PX4 1.15.4"; empty before it has told."""
        return self._session.told.firmware

    @property
    def problem(self) -> str:
        """Why the last request came to nothing, or what is wrong with the link; empty: nothing."""
        return self._link_problem or self._session.pilot.problem

    @property
    def statistics(self) -> Mapping[str, int | float | None]:
        """Counters for diagnostics: bytes and messages that were not usable, reconnects, round trip."""
        session = self._session
        port_foreign = self._transport.foreign if isinstance(self._transport, UdpTransport) else 0
        return {
            "malformed_bytes": session.framer.malformed_bytes,
            "unknown_messages": session.framer.unknown,
            "unusable_messages": session.told.unusable,
            "foreign_messages": session.told.foreign + port_foreign,
            "reconnects": session.told.reconnects,
            "round_trip_s": session.told.clock.round_trip_s,
        }

    def arm(self) -> None:
        """Ask to arm; what becomes of it shows in `status`.

        Raises:
            Refusal: the firmware has said why it will not, or its parameters are not the card's.
        """
        with self._lock:
            now = self._steady_clock()
            if not self._session.is_alive(now):
                raise Refusal("the vehicle is not heard: it cannot be armed")
            wrong = [b for b in self._session.blockers(now) if b.startswith("the parameter ")]
            if wrong:
                raise Refusal("the vehicle must not arm: " + "; ".join(wrong))
            self._session.pilot.arm(now)
            self._wake.notify()

    # --- private --------------------------------------------------------------------------------

    @property
    def _pilot(self) -> Pilot:
        return self._session.pilot

    @property
    def _newest(self) -> VehicleState | None:
        return self._session.state

    def _is_ready(self) -> bool:
        session = self._session
        # Indoors there is no position before the first pose from outside: the heartbeat must do.
        is_indoors = bool(self.card.parameters.get("external_pose"))
        return session.vehicle is not None and (session.state is not None or is_indoors)

    def _receive_loop(self) -> None:
        while not self._is_over.is_set():
            transport = self._transport
            if transport is None:
                self._reopen()
                continue
            try:
                data = transport.read(_READ_S)
            except LinkError as error:
                self._lose(transport, error)
                continue
            if not data:
                continue
            data_ns, steady_ns = self._data_clock(), self._steady_clock()
            with self._lock:
                self._session.receive(data, data_now_ns=data_ns, steady_now_ns=steady_ns)
                if self._session.vehicle is not None and isinstance(transport, UdpTransport):
                    transport.settle()
                self._heard.notify_all()
                self._wake.notify()

    def _send_loop(self) -> None:
        period_s = 1.0 / self._settings.stream_hz
        next_s = time.monotonic()
        while not self._is_over.is_set():
            with self._lock:
                if time.monotonic() >= next_s:
                    next_s = max(next_s + period_s, time.monotonic())
                    self._session.tick(data_now_ns=self._data_clock(), steady_now_ns=self._steady_clock())
                if self._pose is not None:
                    self._session.external_pose(self._pose)
                    self._pose = None
                out, transport = self._session.take_out(), self._transport
                if not out:
                    self._wake.wait(max(0.0, next_s - time.monotonic()))
                    continue
            # Outside the lock: what blocks here keeps nobody from reading the state.
            if transport is not None:
                try:
                    for data in out:
                        transport.write(data)
                except LinkError as error:
                    self._lose(transport, error)

    def _lose(self, transport: Transport, error: LinkError) -> None:
        with self._lock:
            if self._transport is transport:
                self._transport = None
                self._link_problem = f"the link is lost ({error}); it is opened again every {_REOPEN_S:g} s"
        transport.close()

    def _reopen(self) -> None:
        try:
            transport = open_link(self._address, steady_clock=self._steady_clock)
        except LinkError:
            self._is_over.wait(_REOPEN_S)
            return
        with self._lock:
            self._transport, self._link_problem = transport, ""

    def _close(self) -> None:
        self._is_over.set()
        with self._lock:
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._threads.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _unreachable(self, what: str, mend: str) -> ConfigError:
        return ConfigError(
            what,
            where=f"robot card {self.card.name!r}, link {self._address}",
            expected="a PX4 vehicle on this link",
            mend=mend,
        )
