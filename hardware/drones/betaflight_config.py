"""How a Betaflight has to be set up for our driver: checked at every start, written only when asked to.

Nothing here is kept in the flight controller behind anybody's back: `check` compares, `write` changes
through MSP what `check` found, and `command_lines` gives the same as text for the firmware's own command
line.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from hardware.drones.msp_messages import Box, FailsafeReport, ModeRange, Msp, MspFormatError
from hardware.drones.rates import RateProfile, StickMap
from hardware.drones.transport import LinkError
from hardware.errors import ConfigError

# Asks the flight controller: command and payload in, answer out; raises LinkError.
Ask = Callable[[int, bytes], bytes]
SWITCH_LOW_US, SWITCH_HIGH_US = 1000, 2000
_RANGE_US = (1700, 2100)
_RX_MSP = 1 << 14
_QUAD_X = 3
# Roll, pitch, throttle and yaw: the raw channels that an override has to own beside the arm switch.
STICK_MASK = 0b1111


class ControlPath(enum.StrEnum):
    """Who moves the sticks, and therefore what happens when the driver falls silent."""

    # MSP is the only receiver: the firmware's own failsafe acts.
    COMPANION = "companion"
    # MSP overrides a pilot's radio, which the firmware lets go on for ever: our watchdog process disarms.
    OVERRIDE = "override"
    # A policy in the firmware flies; MSP is the only receiver and brings pose and reference.
    ONBOARD = "onboard"


class FailsafeProcedure(enum.StrEnum):
    """What the firmware does when radio control stays away (its stage 2)."""

    # Level, with a fixed throttle, then disarm.
    AUTO_LAND = "auto_land"
    # Disarm.
    DROP = "drop"


_PROCEDURES = (FailsafeProcedure.AUTO_LAND, FailsafeProcedure.DROP)


@dataclass(frozen=True)
class FailsafeSettings:
    """What the firmware is to do without radio control."""

    # How long control may be away before stage 2, seconds (the firmware knows tenths, from 0.1 to 20).
    delay_s: float = 0.5
    # Stage 2.
    procedure: FailsafeProcedure = FailsafeProcedure.DROP
    # Throttle of an automatic landing, microseconds: a little less than what hovers.
    landing_throttle_us: int = 1000
    # Longest automatic landing, seconds.
    landing_s: int = 10


@dataclass(frozen=True)
class Channels:
    """Which auxiliary channel, from 1, is which switch."""

    # Arms while it is high.
    arm: int = 1
    # Levels by itself while it is high (onboard: for when the policy hands back).
    angle: int = 2
    # Lets the policy in the firmware fly while it is high (mode USER1).
    policy: int = 3
    # The pilot's switch that lets MSP override the sticks; on the radio, never sent by us.
    override: int = 4

    def __post_init__(self) -> None:
        """Refuse two switches on one channel.

        Raises:
            ConfigError: a channel is used twice, or is none of AUX1 to AUX12.
        """
        used = (self.arm, self.angle, self.policy, self.override)
        if len(set(used)) != len(used) or not all(1 <= c <= 12 for c in used):
            raise ConfigError(
                f"auxiliary channels {used}",
                where="channels",
                expected="four different ones from 1 to 12",
                mend="give every switch its own channel",
            )


@dataclass(frozen=True)
class Wanted:
    """The set-up that a driver needs."""

    # Who moves the sticks.
    control: ControlPath = ControlPath.COMPANION
    # The switches.
    channels: Channels = field(default_factory=Channels)
    # Without radio control.
    failsafe: FailsafeSettings = field(default_factory=FailsafeSettings)

    @property
    def ranges(self) -> tuple[ModeRange, ...]:
        """Every mode range that has to be there."""
        channels = self.channels
        found = [ModeRange(Box.ARM, channels.arm, *_RANGE_US)]
        if self.control is ControlPath.ONBOARD:
            found.append(ModeRange(Box.ANGLE, channels.angle, *_RANGE_US))
            found.append(ModeRange(Box.USER1, channels.policy, *_RANGE_US))
        if self.control is ControlPath.OVERRIDE:
            found.append(ModeRange(Box.MSP_OVERRIDE, channels.override, *_RANGE_US))
        return tuple(found)

    @property
    def override_mask(self) -> int:
        """Raw channels that MSP overrides: the sticks and the arm switch, so that the watchdog can disarm."""
        return STICK_MASK | 1 << (3 + self.channels.arm) if self.control is ControlPath.OVERRIDE else 0

    def command_lines(self) -> tuple[str, ...]:
        """The same as lines of the firmware's command line; `save` comes after them."""
        failsafe = self.failsafe
        lines = [
            f"set msp_override_channels_mask = {self.override_mask}",
            f"set failsafe_delay = {round(failsafe.delay_s * 10)}",
            f"set failsafe_procedure = {failsafe.procedure.value.upper().replace('_', '-')}",
            f"set failsafe_throttle = {failsafe.landing_throttle_us}",
            f"set failsafe_landing_time = {failsafe.landing_s}",
        ]
        for slot, r in enumerate(self.ranges):
            lines.append(f"aux {slot} {r.box} {r.aux - 1} {r.low_us} {r.high_us} 0 0")
        return tuple(lines)


@dataclass(frozen=True)
class Setup:
    """What a flight controller's set-up turned out to be."""

    # The firmware and its version, for people.
    firmware: str
    # Between rates and sticks.
    sticks: StickMap
    # Raw channel of roll, pitch, yaw and throttle, then AUX1 and on.
    channel_map: tuple[int, ...]
    # Permanent ids of the modes, in the order of the mode flags.
    box_ids: tuple[int, ...]
    # What differs from what is wanted.
    findings: tuple[ConfigError, ...]
    # Whether MSP alone can mend all of it.
    can_be_written: bool


def inspect(ask: Ask, wanted: Wanted, *, bend: float, idle: float, where: str) -> Setup:
    """Read a flight controller's set-up and compare.

    Args:
        ask: asks it.
        wanted: the set-up that the driver needs.
        bend: of the thrust curve, as in `StickMap`.
        idle: output of an idling motor, 0 to 1.
        where: its address, for the messages.

    Returns:
        What was found.

    Raises:
        ConfigError: the firmware cannot be flown by this driver at all (another firmware, a rate profile that
            is not inverted here, not a quadrotor).
        LinkError: it does not answer.
    """
    try:
        firmware = _identify(ask, where)
        profile = RateProfile.parse(ask(Msp.RC_TUNING, b""))
        deadband, yaw_deadband = struct.unpack_from("<BB", ask(Msp.RC_DEADBAND, b""))
        throttle_low_us = struct.unpack_from("<BHHH", ask(Msp.RX_CONFIG, b""))[3]
        raw = _raw_channels(tuple(ask(Msp.RX_MAP, b"")))
        box_ids = tuple(ask(Msp.BOXIDS, b""))
        findings, writable = _compare(ask, wanted, profile, box_ids, where)
    except (struct.error, IndexError, MspFormatError) as error:
        raise ConfigError(
            f"an answer that makes no sense ({error})",
            where=where,
            expected="Betaflight 4.3 or newer (API 1.44)",
            mend="update the firmware",
        ) from error
    sticks = StickMap(profile, deadband, yaw_deadband, throttle_low_us, idle, bend)
    return Setup(firmware, sticks, raw, box_ids, tuple(findings), writable)


def write(ask: Ask, wanted: Wanted) -> None:
    """Change what MSP can change, and keep it over a restart. The motors have to be off.

    Args:
        ask: asks the flight controller.
        wanted: the set-up.

    Raises:
        LinkError: it does not answer, or refuses (it does while armed).
    """
    have = ModeRange.parse_all(ask(Msp.MODE_RANGES, b""))
    slots = [i for i, r in enumerate(have) if not r.is_used or r.box in {w.box for w in wanted.ranges}]
    for slot, r in zip(slots, wanted.ranges, strict=False):
        ask(Msp.SET_MODE_RANGE, r.encode(slot))
    for slot in slots[len(wanted.ranges) :]:
        if have[slot].is_used:
            ask(Msp.SET_MODE_RANGE, ModeRange(0, 1, 900, 900).encode(slot))
    old = FailsafeReport.parse(ask(Msp.FAILSAFE_CONFIG, b""))
    ask(Msp.SET_FAILSAFE_CONFIG, _failsafe(wanted, old).encode())
    ask(Msp.EEPROM_WRITE, b"")


def _failsafe(wanted: Wanted, old: FailsafeReport) -> FailsafeReport:
    failsafe = wanted.failsafe
    return FailsafeReport(
        failsafe.delay_s,
        failsafe.landing_s,
        failsafe.landing_throttle_us,
        old.switch_mode,
        old.throttle_low_ds,
        _PROCEDURES.index(failsafe.procedure),
    )


def _identify(ask: Ask, where: str) -> str:
    variant = ask(Msp.FC_VARIANT, b"")[:4].decode("ascii", "replace")
    _, major, minor = struct.unpack_from("<BBB", ask(Msp.API_VERSION, b""))
    if variant != "BTFL" or (major, minor) < (1, 44):
        raise ConfigError(
            f"firmware {variant!r} with API {major}.{minor}",
            where=where,
            expected="Betaflight (BTFL) with API 1.44 or newer",
            mend="flash Betaflight 4.3 or newer, or choose the driver of this firmware",
        )
    version = ".".join(str(number) for number in ask(Msp.FC_VERSION, b"")[:3])
    mixer = ask(Msp.MIXER_CONFIG, b"")[0]
    if mixer != _QUAD_X:
        raise ConfigError(
            f"mixer {mixer}",
            where=where,
            expected="3 (QUADX)",
            mend="mixer QUADX in its command line, then save",
        )
    return f"Betaflight {version}"


def _compare(
    ask: Ask, wanted: Wanted, profile: RateProfile, box_ids: tuple[int, ...], where: str
) -> tuple[list[ConfigError], bool]:
    findings: list[ConfigError] = []
    writable = True

    def wrong(what: str, expected: str, *, line: str, by_msp: bool = False) -> None:
        nonlocal writable
        writable = writable and by_msp
        mend = f"{line} in its command line, then save"
        findings.append(ConfigError(what, where=where, expected=expected, mend=mend))

    (features,) = struct.unpack_from("<I", ask(Msp.FEATURE_CONFIG, b""))
    if wanted.control is not ControlPath.OVERRIDE and not features & _RX_MSP:
        wrong("another receiver than MSP", "MSP as the only receiver", line="feature RX_MSP")
    if not profile.throttle_is_linear:
        wrong("a throttle curve or limit", "none", line="set thr_expo = 0, set throttle_limit_type = OFF")
    if wanted.control is ControlPath.OVERRIDE and Box.MSP_OVERRIDE not in box_ids:
        mask = f"set msp_override_channels_mask = {wanted.override_mask}"
        wrong("MSP overrides no channel", "the sticks and the arm switch", line=mask)
    have = [r for r in ModeRange.parse_all(ask(Msp.MODE_RANGES, b"")) if r.is_used]
    lines = wanted.command_lines()
    for r, line in zip(wanted.ranges, lines[-len(wanted.ranges) :], strict=True):
        if r not in have:
            name = Box(r.box).name
            wrong(f"no range for {name}", f"{name} on AUX{r.aux} from 1700 to 2100", line=line, by_msp=True)
    ours = {wanted.channels.arm, wanted.channels.angle, wanted.channels.policy}
    for r in have:
        if r.box in (Box.ANGLE, Box.HORIZON) and r not in wanted.ranges and _is_on(r, ours):
            name = Box(r.box).name
            wrong(
                f"{name} is on while AUX{r.aux} rests",
                "a mode that leaves the rates to us",
                line=f"a range for {name} that does not hold {SWITCH_LOW_US}",
            )
    failsafe = FailsafeReport.parse(ask(Msp.FAILSAFE_CONFIG, b""))
    if failsafe != _failsafe(wanted, failsafe):
        settings = wanted.failsafe
        wrong(
            f"a failsafe that waits {failsafe.delay_s} s, then does {_procedure_word(failsafe.procedure)}",
            f"{settings.delay_s} s, then {settings.procedure.value}",
            line="; ".join(lines[1:5]),
            by_msp=True,
        )
    return findings, writable


def _procedure_word(number: int) -> str:
    return _PROCEDURES[number].value if number < len(_PROCEDURES) else f"procedure {number}"


def _is_on(r: ModeRange, ours: set[int]) -> bool:
    """Whether a mode is on while we fly by rates: our switches rest low, other channels are 1000 too."""
    return r.contains(SWITCH_LOW_US)


def _raw_channels(channel_map: tuple[int, ...]) -> tuple[int, ...]:
    if sorted(channel_map[:4]) != [0, 1, 2, 3]:
        raise MspFormatError(f"a channel map {channel_map}")
    # The map says which raw channel is roll, pitch, yaw and throttle.
    return (*channel_map[:4], *range(4, 18))


__all__ = [
    "SWITCH_HIGH_US",
    "SWITCH_LOW_US",
    "Ask",
    "Channels",
    "ControlPath",
    "FailsafeProcedure",
    "FailsafeSettings",
    "LinkError",
    "Setup",
    "Wanted",
    "inspect",
    "write",
]
