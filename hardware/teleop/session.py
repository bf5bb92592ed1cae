"""From a device's readings to targets: who has authority, from where the motion counts, when it ends.

Pure logic: readings, measurements and clocks are passed in. Whatever is not certain ends in hold: a device
that falls silent, a robot that is not measured, a stop. Authority then comes back only by engaging anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.robot import Observation, RobotCard
from hardware.teleop.binding import bind_mapping
from hardware.teleop.mapping import TeleopMapping, legend
from hardware.teleop.reading import Event, LinkState, Reading, Status

_PRESSED = 0.5
# A step takes no longer than this: a process that was stopped does not make up for it with a leap.
_LONGEST_STEP_S = 0.1
# So long the emergency stop is said at least.
_STOP_NS = 1_000_000_000
# The robot has to be measured so recently to be commanded.
_STATE_NS = 500_000_000


@dataclass(frozen=True)
class TeleopStep:
    """What one step gives."""

    # Joint targets in the order of the command, shape (D,), rad; None: nothing is commanded.
    targets: FloatArray | None
    # Whether the operator has authority.
    engaged: bool
    # Whether authority ended with this step: whoever sends commands now gives it up.
    released: bool
    # Success, failure and discard, as they happened.
    events: tuple[Event, ...]
    # Whether the emergency stop is pressed.
    stop: bool
    # What the operator should see.
    status: Status


class Operator:
    """One operator with one device at one robot.

    Args:
        mapping: what the device does.
        card: the robot.
        interface: a key of `card.commands`.

    Raises:
        ConfigError: the mapping does not fit the robot; every mismatch is listed.
    """

    def __init__(self, mapping: TeleopMapping, card: RobotCard, interface: str) -> None:
        """Bind by name; nobody has authority."""
        self.mapping, self.card = mapping, card
        self.binding = bind_mapping(mapping, card, interface)
        self.names = self.binding.names
        self._legend = legend(mapping)
        self._target: FloatArray = np.zeros(len(self.names))
        self._engaged = False
        # The parts that are not moved now, though the operator has authority: they begin anew.
        self._resting: set[str] = set()
        # Whether the engage control has been up since authority ended.
        self._armed = False
        self._was_engage_down = False
        self._last_ns: int | None = None
        self._stop_until_ns = 0
        self._message = ""

    @property
    def engaged(self) -> bool:
        """Whether the operator has authority."""
        return self._engaged

    def step(
        self, reading: Reading, state: Observation | None, now_ns: int, *, is_stopped: bool = False
    ) -> TeleopStep:
        """Take one reading.

        Args:
            reading: of the device.
            state: the newest measurement of the robot; for joints it has `joint_position`, for a vehicle
                `position`.
            now_ns: the steady clock, nanoseconds.
            is_stopped: the gate's emergency stop is latched.

        Returns:
            What to command and to tell.
        """
        since_ns = 0 if self._last_ns is None else max(0, now_ns - self._last_ns)
        self._last_ns = now_ns
        dt_s = min(since_ns * 1e-9, _LONGEST_STEP_S)
        age_ns = now_ns - reading.heard_ns
        is_alive = reading.connected and age_ns <= round(self.mapping.lost_after_s * 1e9)
        events = self._events(reading, now_ns) if reading.connected else ()
        stop = now_ns < self._stop_until_ns
        was_engaged = self._engaged
        self._decide(reading, state, now_ns, is_alive=is_alive, is_stopped=stop or is_stopped)
        targets = self._move(reading, state, begins=self._engaged and not was_engaged, dt_s=dt_s)
        link = (
            LinkState.STOPPED
            if stop or is_stopped
            else LinkState.ENGAGED
            if self._engaged
            else (LinkState.READY if is_alive else LinkState.LOST)
        )
        status = Status(
            link,
            self.mapping.name,
            self.card.name,
            age_ns * 1e-9 if reading.heard_ns else float("inf"),
            reading.problem or self._message,
            self._values(),
            self._legend,
        )
        return TeleopStep(targets, self._engaged, was_engaged and not self._engaged, events, stop, status)

    def _events(self, reading: Reading, now_ns: int) -> tuple[Event, ...]:
        found = []
        for name, control in self.mapping.events.items():
            event = Event(name)
            if event is Event.EMERGENCY_STOP:
                if control in reading.pressed or reading.controls.get(control, 0.0) > _PRESSED:
                    self._stop_until_ns = now_ns + _STOP_NS
            elif control in reading.pressed:
                found.append(event)
        return tuple(found)

    def _decide(
        self, reading: Reading, state: Observation | None, now_ns: int, *, is_alive: bool, is_stopped: bool
    ) -> None:
        """Who has authority after this reading."""
        engages = self.mapping.engages
        is_down = is_alive and any(reading.controls.get(name, 0.0) > _PRESSED for name in engages)
        was_pressed = is_down and not self._was_engage_down
        if not self.mapping.hold and is_alive and not reading.pressed.isdisjoint(engages):
            was_pressed = True
        self._was_engage_down = is_down
        reason = self._obstacle(state, now_ns, is_alive=is_alive, is_stopped=is_stopped)
        if reason:
            self._engaged, self._armed, self._message = False, False, reason
            return
        if self._engaged:
            ends = not is_down if self.mapping.hold else was_pressed
            if ends:
                self._engaged, self._armed, self._message = False, not is_down, "released: holding"
            return
        if not is_down and not self._armed:
            self._armed, self._message = True, "ready"
        elif self._armed and was_pressed:
            self._engaged, self._message = True, "engaged"

    def _obstacle(self, state: Observation | None, now_ns: int, *, is_alive: bool, is_stopped: bool) -> str:
        if is_stopped:
            return "emergency stop: release it on purpose, then engage anew"
        if not is_alive:
            return "the device is lost: holding; engage anew when it is back"
        if state is None or now_ns - state.received_steady_ns > _STATE_NS or not state.is_finite:
            return "the robot is not measured: holding"
        return ""

    def _move(
        self, reading: Reading, state: Observation | None, *, begins: bool, dt_s: float
    ) -> FloatArray | None:
        binding = self.binding
        if binding.vehicle is not None:
            measured = None if state is None else state.values["position"]
            binding.vehicle.step(reading if self._engaged else None, measured, dt_s=dt_s)
            return None
        if not self._engaged or state is None:
            return None
        measured = state.values["joint_position"][binding.order]
        if begins:
            self._target = np.clip(measured, binding.lower, binding.upper)
            self._resting = set(binding.parts)
        is_clutched = reading.controls.get(self.mapping.clutch, 0.0) > _PRESSED
        for name, part in binding.parts.items():
            control = binding.engage.get(name)
            if control is not None and not reading.controls.get(control, 0.0) > _PRESSED:
                self._resting.add(name)
                continue
            if name in self._resting:
                self._resting.discard(name)
                part.engage(self._target, reading)
            part.step(self._target, reading, is_clutched=is_clutched, dt_s=dt_s)
        lead = binding.lead_rad
        self._target = np.clip(self._target, measured - lead, measured + lead)
        return np.array(self._target)

    def _values(self) -> dict[str, float]:
        vehicle = self.binding.vehicle
        if vehicle is not None:
            place = vehicle.reference
            return dict(
                zip(("x", "y", "z", "yaw"), (*map(float, place.position_m), place.yaw_rad), strict=True)
            )
        return dict(zip(self.names, map(float, self._target), strict=True)) if self._engaged else {}
