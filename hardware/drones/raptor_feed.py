"""The companion's side of a RAPTOR that flies inside Betaflight: pose and reference out, its state back.

The messages are defined in `policies/raptor/onboard/betaflight/raptor_msp.h`. Poses carry a time of the
flight controller's clock, which is learnt from the answers: half the shortest round trip of the last
seconds bounds the error. Pure: no clock, no thread.
"""

from __future__ import annotations

import enum
import struct
from collections import deque
from dataclasses import dataclass

from hardware.drones.msp_messages import MspFormatError
from hardware.drones.outer_loop import Setpoint
from hardware.drones.pose import PoseState

FEED, STATUS = 0x7E01, 0x7E02
VERSION = 1
_POSE, _ORIENTATION, _REFERENCE, _STAMPED = 0x01, 0x02, 0x04, 0x08
_FEED = struct.Struct("<BBHI3f3f4f3f3ff")
_ANSWER = struct.Struct("<BBBBHI")
_STATUS = struct.Struct("<BBBB7I4H3I3f3ff4f8s")
# Half a second of round trips: longer ago, the other clock may have run at another pace.
_REMEMBERED = 25
_WRAP = 1 << 32


class FlightState(enum.IntEnum):
    """Who commands the motors."""

    OFF = 0
    WAITING = 1
    FLYING = 2
    LOCKED = 3


# Why RAPTOR does not fly, by number.
REASONS: tuple[str, ...] = (
    "",
    "its switch is off",
    "the vehicle is disarmed",
    "the firmware's failsafe acts",
    "it does not reproduce its stored example",
    "it has no pose yet",
    "its pose is stale",
    "it has no reference yet",
    "its reference is stale",
    "a sensor is not finite",
    "the pose's tilt is not the flight controller's: wrong frame or wrong body in the motion capture",
    "its output is not finite",
    "the flight controller's clock went backwards",
)
VERDICTS: tuple[str, ...] = (
    "",
    "not finite",
    "no unit quaternion",
    "the pose is old",
    "the pose is not newer than the last",
    "the pose is from the future",
    "the pose jumped",
    "empty",
)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if number < len(words) else f"reason {number}"


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """What RAPTOR says to every message."""

    # Who commands the motors.
    state: FlightState
    # Why it does not fly; empty when it does.
    reason: str
    # Why something of the message was not taken; empty when all of it was.
    verdict: str
    # Which message this answers.
    sequence: int
    # When it was handled, microseconds of the flight controller's clock, modulo 2^32.
    clock_us: int

    @staticmethod
    def parse(payload: bytes) -> FeedAnswer:
        """Read an answer; raises MspFormatError when it is none of this version."""
        if len(payload) < _ANSWER.size or payload[0] != VERSION or payload[1] > FlightState.LOCKED:
            raise MspFormatError(f"an answer of {len(payload)} bytes that is not version {VERSION}")
        _, state, reason, verdict, sequence, clock = _ANSWER.unpack_from(payload)
        return FeedAnswer(
            FlightState(state), _word(REASONS, reason), _word(VERDICTS, verdict), sequence, clock
        )


@dataclass(frozen=True, slots=True)
class OnboardStatus:
    """How RAPTOR does inside the firmware."""

    # Who commands the motors.
    state: FlightState
    # Why it does not fly, and why it last handed back; empty where it does or never did.
    reason: str
    handback_reason: str
    # How often it took the motors, and gave them back for another reason than the switch.
    activations: int
    handbacks: int
    # Messages that were taken and refused since the start.
    feeds_taken: int
    feeds_refused: int
    # Evaluations, advances of the hidden state, and messages in the last second.
    step_hz: int
    native_hz: int
    feed_hz: int
    # Whether its self-test passed and its steps come evenly.
    self_test_ok: bool
    timing_ok: bool
    # First eight bytes of the SHA-256 of the policy's weights, hexadecimal.
    checkpoint: str

    @staticmethod
    def parse(payload: bytes) -> OnboardStatus:
        """Read a status; raises MspFormatError when it is none of this version."""
        if len(payload) < _STATUS.size or payload[0] != VERSION or payload[1] > FlightState.LOCKED:
            raise MspFormatError(f"a status of {len(payload)} bytes that is not version {VERSION}")
        f = _STATUS.unpack_from(payload)
        return OnboardStatus(
            state=FlightState(f[1]),
            reason=_word(REASONS, f[2]),
            handback_reason=_word(REASONS, f[3]),
            activations=f[5],
            handbacks=f[6],
            feeds_taken=f[9],
            feeds_refused=f[10],
            step_hz=f[11],
            native_hz=f[12],
            feed_hz=f[13],
            self_test_ok=bool(f[14] & 1),
            timing_ok=bool(f[14] & 2),
            checkpoint=f[-1].hex(),
        )


class ClockEstimate:
    """The other end's microsecond clock, from round trips.

    Every round trip bounds the offset from both sides; the shortest of the last ones bounds it best. A
    clock that falls behind (a simulation on a busy machine) is followed at once: it cannot show more than
    the newest answer allows.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        # Round trip, offset in its middle, greatest possible offset; microseconds.
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_REMEMBERED)

    def take(self, sent_ns: int, answered_ns: int, clock_us: int) -> None:
        """Learn from one answer.

        Args:
            sent_ns: when the question went out, steady clock, nanoseconds.
            answered_ns: when the answer came.
            clock_us: what the other clock said in between, modulo 2^32.
        """
        round_trip = (answered_ns - sent_ns) * 1e-3
        offset = (clock_us - (sent_ns + answered_ns) * 0.5e-3) % _WRAP
        if self._samples:
            # Near the others, whatever side of the wrap that is.
            last = self._samples[-1][1]
            offset = last + (offset - last + _WRAP / 2) % _WRAP - _WRAP / 2
        self._samples.append((round_trip, offset, offset + 0.5 * round_trip))

    def at(self, steady_ns: int) -> int | None:
        """What the other clock said at a time of ours, modulo 2^32; None while nothing is known."""
        if not self._samples:
            return None
        offset = min(min(self._samples)[1], self._samples[-1][2])
        return round(steady_ns * 1e-3 + offset) % _WRAP


class Feeder:
    """Composes the messages of one flight controller and reads its answers."""

    def __init__(self) -> None:
        """Nothing sent yet."""
        self.clock = ClockEstimate()
        self.answer: FeedAnswer | None = None
        self._sequence = 0
        self._sent: dict[int, int] = {}

    def message(
        self, pose: PoseState | None, setpoint: Setpoint | None, *, captured_steady_ns: int, now_ns: int
    ) -> bytes:
        """The next message.

        Args:
            pose: the newest pose; None sends none.
            setpoint: what to track; None sends none.
            captured_steady_ns: when the pose was captured, steady clock, nanoseconds.
            now_ns: steady clock, nanoseconds.

        Returns:
            The payload of `FEED`.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._sent[self._sequence] = now_ns
        if len(self._sent) > 4 * _REMEMBERED:
            self._sent.pop(next(iter(self._sent)))
        flags, stamp_us = 0, 0
        body = [0.0] * 17
        body[6] = 1.0
        if pose is not None:
            flags |= _POSE | _ORIENTATION
            body[0:3], body[3:6] = pose.position_m.tolist(), pose.velocity_m_s.tolist()
            body[6:10] = pose.orientation_wxyz.tolist()
            clock_us = self.clock.at(captured_steady_ns)
            if clock_us is None:
                stamp_us = max(0, (now_ns - captured_steady_ns) // 1000)
            else:
                flags, stamp_us = flags | _STAMPED, clock_us
        if setpoint is not None:
            flags |= _REFERENCE
            body[10:13], body[13:16] = setpoint.position_m.tolist(), setpoint.velocity_m_s.tolist()
            body[16] = setpoint.yaw_rad
        return _FEED.pack(VERSION, flags, self._sequence, stamp_us, *body)

    def take(self, payload: bytes, now_ns: int) -> FeedAnswer:
        """Read an answer and learn the clock from it; raises MspFormatError when it is none."""
        answer = FeedAnswer.parse(payload)
        sent_ns = self._sent.pop(answer.sequence, None)
        if sent_ns is not None:
            self.clock.take(sent_ns, now_ns, answer.clock_us)
        self.answer = answer
        return answer
