"""A Crazyflie through cflib: references, its own take-off and landing, poses from outside, RAPTOR on board.

Contract-tested at the wire through cflib itself (`sim.peers.crazyflie`); not run on hardware.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from hardware.command import Command, CommandKind, FloatArray
from hardware.drones.crazyflie_card import check_card
from hardware.drones.crazyflie_pilot import CrazyfliePilot, Move, Step
from hardware.drones.crazyflie_radio import NoRadioError, Radio, send_reference
from hardware.drones.crazyflie_telemetry import Telemetry
from hardware.drones.crazyflie_wire import ACTIVATION_PERIOD_NS, SetpointKind
from hardware.drones.piloted import PilotedVehicle
from hardware.drones.state import REFERENCE_NAMES, ReferenceAcceleration, VehicleState
from hardware.drones.transport import LinkError
from hardware.drones.vehicle import VehicleStatus
from hardware.errors import ConfigError, Refusal
from hardware.parameters import number, numbers
from hardware.robot import RobotCard

# How often somebody who waits for the link looks whether there is any hope, seconds.
_ASK_S = 0.05
_DEFAULT_LINK = "radio://0/80/2M/E7E7E7E7E7"
_REOPEN_S = 0.5
# How long `disconnect` stays with a flying vehicle.
_LEAVE_S = 30.0


class CrazyflieVehicle(PilotedVehicle):
    """A Crazyflie; implements `hardware.drones.vehicle.FlightVehicle`.

    Settings come from the card's `parameters`: `link` (a cflib URI), `connect_timeout_s` (10),
    `setpoint` (full_state, position, velocity or hover), `activates` (whether to keep RAPTOR's
    out-of-tree controller on the motors while commands are followed), `firmware_parameters` (set when the
    connection stands, checked before arming), `external_pose_kind` (pose or position), `stream_hz` (50).

    A Crazyflie whose client dies levels after 0.5 s and stops its motors after 2 s: it falls. This driver
    lands it whenever it still can.

    Args:
        card: the robot's card: one interface of kind reference with the safe action land.
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
        p = card.parameters
        self._uri = str(p.get("link", _DEFAULT_LINK)) if link is None else link
        self._kind = SetpointKind(str(p.get("setpoint", SetpointKind.FULL_STATE)))
        self._activates = bool(p.get("activates", False))
        self._sends_attitude = str(p.get("external_pose_kind", "pose")) == "pose"
        self._wanted = numbers(card, "firmware_parameters")
        self._connect_s = number(card, "connect_timeout_s", 10.0)
        self._period_s = 1.0 / number(card, "stream_hz", 50.0)
        timeout_s = card.command_of_kind(CommandKind.REFERENCE).robot_timeout_s
        self._decides = CrazyfliePilot(timeout_ns=round(timeout_s * 1e9))
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._is_ready = threading.Event()
        self._radio: Radio | None = None
        self._has_no_radio = False
        self._link_problem = ""
        self._parameter_problems: tuple[str, ...] = ()
        self._told = Telemetry()
        self._reference: dict[str, float] | None = None
        self._differences = ReferenceAcceleration()
        self._acceleration: FloatArray = np.zeros(3)
        self._activated_ns = 0

    # --- the Robot protocol -------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link and wait for the vehicle's state.

        Raises:
            ConfigError: nobody answers, or the firmware is too old.
        """
        if self._thread is not None:
            return
        self._is_over.clear()
        self._is_ready.clear()
        self._thread = threading.Thread(target=self._work, name="crazyflie", daemon=True)
        self._thread.start()
        deadline_s = time.monotonic() + self._connect_s
        while not self._is_ready.wait(_ASK_S):
            if time.monotonic() < deadline_s and not self._has_no_radio:
                continue
            self._end()
            if self._has_no_radio:
                raise ConfigError(
                    self._link_problem,
                    where=f"robot card {self.card.name!r}",
                    expected="a Crazyradio on USB that this user may open",
                    mend="plug it in, or permit its USB device to this user with a udev rule",
                )
            raise ConfigError(
                self._link_problem or f"no Crazyflie answers within {self._connect_s:g} s",
                where=f"robot card {self.card.name!r}, link {self._uri}",
                expected="a Crazyflie on this link",
                mend="switch it on, plug the radio in, and check channel, rate and address",
            )

    def disconnect(self) -> None:
        """Land a flying vehicle, wait until it is down, close the link."""
        if self._thread is None:
            return
        with self._lock:
            if self._pilot.armed:
                self._pilot.safe_stop(self._steady_clock(), "disconnected")
        # Only we can land it: we stay as long as it is heard, and as a landing may take.
        deadline_s = time.monotonic() + _LEAVE_S
        while time.monotonic() < deadline_s:
            with self._lock:
                if not self._pilot.armed or not self._is_heard():
                    break
            self._is_over.wait(0.05)
        self._end()

    def command(self, command: Command) -> None:
        """Follow a reference from now on, if the vehicle flies.

        Raises:
            Refusal: a number is missing or not finite.
            ConfigError: the card has no interface of that kind.
        """
        self.card.command_of_kind(command.kind)
        values = dict(zip(command.names, (float(v) for v in command.values), strict=True))
        bad = [n for n in REFERENCE_NAMES if not math.isfinite(values.get(n, math.nan))]
        if bad:
            raise Refusal(f"a reference whose {', '.join(bad)} is missing or not finite")
        with self._lock:
            velocity = np.array([values[f"velocity_{n}"] for n in "xyz"])
            self._acceleration = self._differences.add(velocity, command.stamp_ns)
            self._reference = values
            self._pilot.command(self._steady_clock())

    # --- the FlightVehicle protocol -------------------------------------------------------------

    @property
    def status(self) -> VehicleStatus:
        """How the vehicle is."""
        with self._lock:
            pilot, is_heard = self._pilot, self._is_heard()
            supervisor = pilot.supervisor
            words = "unknown" if supervisor is None else supervisor.words
            quality = None if self._radio is None else self._radio.quality
            blockers = () if pilot.armed else (*pilot.blockers(), *self._parameter_problems)
            return VehicleStatus(
                armed=pilot.armed,
                mode=f"{words}, {pilot.phase.value}" if is_heard else f"{words} (link lost)",
                follows_commands=is_heard and pilot.follows_commands,
                failsafe=words in ("crashed", "locked", "tumbled"),
                arming_blockers=blockers,
                on_ground=None if supervisor is None else not supervisor.is_flying,
                battery_v=self._told.battery_v,
                battery_share=self._told.battery_share,
                link_quality=self._told.share_of_stamps(self._steady_clock()) if quality is None else quality,
                received_steady_ns=self._told.heard_ns or 0,
            )

    @property
    def firmware(self) -> str:
        """What flies, such as "Crazyflie, CRTP 12"; empty before it has told."""
        with self._lock:
            return "" if self._radio is None else self._radio.firmware

    @property
    def problem(self) -> str:
        """Why the last request came to nothing, or what is wrong with the link; empty: nothing."""
        return self._link_problem or self._pilot.problem

    def arm(self) -> None:
        """Ask to arm; what becomes of it shows in `status`.

        Raises:
            Refusal: its supervisor will not, or its parameters are not the card's.
        """
        with self._lock:
            if not self._is_heard():
                raise Refusal("the Crazyflie is not heard: it cannot be armed")
            if self._parameter_problems:
                raise Refusal("the Crazyflie must not arm: " + "; ".join(self._parameter_problems))
            self._pilot.arm(self._steady_clock())
            self._wake.notify()

    # --- the thread that talks to cflib -----------------------------------------------------------

    def _work(self) -> None:
        while not self._is_over.is_set():
            try:
                radio = Radio(
                    self._uri,
                    timeout_s=min(2.0, self._connect_s),
                    on_state=self._on_state,
                    on_status=self._on_status,
                )
            except (LinkError, OSError) as error:
                self._link_problem, self._has_no_radio = str(error), isinstance(error, NoRadioError)
                self._is_over.wait(_REOPEN_S)
                continue
            with self._lock:
                self._radio, self._link_problem = radio, ""
                self._told.heard_ns = self._steady_clock()
            try:
                self._talk(radio)
            finally:
                with self._lock:
                    self._radio = None
                radio.close()

    def _talk(self, radio: Radio) -> None:
        """Keep a connection busy until it is lost or we leave."""
        next_s, checked_s = time.monotonic(), 0.0
        while not self._is_over.is_set():
            now_s = time.monotonic()
            if now_s - checked_s > 0.5 and radio.has_parameters:
                checked_s = now_s
                self._check_parameters(radio)
            with self._lock:
                if radio.lost or not self._is_heard():
                    self._link_problem = (
                        f"the link is lost ({radio.lost or 'nothing is heard'}); trying again"
                    )
                    return
                moves: list[Move] = []
                if now_s >= next_s:
                    next_s = max(next_s + self._period_s, now_s)
                    moves = self._pilot.tick(self._steady_clock())
                pose, self._pose = self._pose, None
                reference, state, acceleration = self._reference, self._told.state, self._acceleration
            if pose is not None:
                if self._sends_attitude:
                    radio.external_pose(pose.position, pose.orientation)
                else:
                    radio.external_position(pose.position)
            for move in moves:
                self._send(radio, move, reference, state, acceleration)
            with self._lock:
                if self._pose is None:
                    self._wake.wait(max(0.0, next_s - time.monotonic()))

    def _send(
        self,
        radio: Radio,
        move: Move,
        reference: Mapping[str, float] | None,
        state: VehicleState | None,
        acceleration: FloatArray,
    ) -> None:
        step = move.step
        if step in (Step.ARM, Step.DISARM):
            radio.arm(wanted=step is Step.ARM)
        elif step is Step.TAKE_OFF:
            radio.take_off(move.height_m, move.duration_s)
        elif step is Step.LAND:
            radio.land(move.height_m, move.duration_s)
        elif step is Step.HAND_OVER:
            radio.hand_over()
        elif step is Step.STOP:
            radio.stop()
        elif reference is not None and state is not None:
            self._send_reference(radio, reference, state, acceleration)

    def _send_reference(
        self, radio: Radio, values: Mapping[str, float], state: VehicleState, acceleration: FloatArray
    ) -> None:
        now_ns = self._steady_clock()
        if self._activates and now_ns - self._activated_ns >= ACTIVATION_PERIOD_NS:
            self._activated_ns = now_ns
            radio.activate()
        send_reference(radio, self._kind, values, state, acceleration)

    def _check_parameters(self, radio: Radio) -> None:
        problems = []
        for name, wanted in self._wanted.items():
            value = radio.parameter(name)
            if value is None:
                problems.append(f"its firmware has no parameter {name}: it was built without it")
            elif not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-6):
                problems.append(f"the parameter {name} is {value:g} and the card wants {wanted:g}")
                radio.set_parameter(name, wanted)
        with self._lock:
            self._parameter_problems = tuple(problems)
            if self._told.state is not None:
                self._is_ready.set()

    # --- called by cflib's threads ------------------------------------------------------------------

    def _on_state(self, ticks: int, values: Mapping[str, float]) -> None:
        data_ns, steady_ns = self._data_clock(), self._steady_clock()
        with self._lock:
            self._told.take_state(ticks, values, data_ns=data_ns, steady_ns=steady_ns)
            if self._told.state is not None:
                self._pilot.height_m = float(self._told.state.position[2])

    def _on_status(self, ticks: int, values: Mapping[str, float]) -> None:
        with self._lock:
            self._told.take_status(values)
            self._pilot.supervisor = self._told.supervisor

    # --- private --------------------------------------------------------------------------------

    @property
    def _pilot(self) -> CrazyfliePilot:
        return self._decides

    @property
    def _newest(self) -> VehicleState | None:
        return self._told.state

    def _is_heard(self) -> bool:
        return self._told.is_heard(self._steady_clock())

    def _end(self) -> None:
        self._is_over.set()
        with self._lock:
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None
