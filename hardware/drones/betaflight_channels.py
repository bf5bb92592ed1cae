"""From what a pilot wants to the channels of a receiver. Pure."""

from __future__ import annotations

from hardware.drones.betaflight_config import SWITCH_HIGH_US, SWITCH_LOW_US, Channels, Setup
from hardware.drones.pilot import Orders
from hardware.drones.rates import STICK_MIDDLE_US

_THROTTLE_OFF_US = 1000
_AUX = 12


class ChannelComposer:
    """The channels of one flight controller.

    Args:
        setup: its set-up, as read from it.
        channels: which auxiliary channel is which switch.
        onboard: whether a policy in the firmware flies.
    """

    def __init__(self, setup: Setup, channels: Channels, *, onboard: bool) -> None:
        """Remember them."""
        self._setup, self._channels, self._onboard = setup, channels, onboard

    def compose(self, orders: Orders, *, hover: float, policy_failed: bool) -> tuple[int, ...]:
        """The raw channels, microseconds.

        Args:
            orders: what the pilot wants.
            hover: share of the full thrust that carries the weight, 0 to 1.
            policy_failed: whether our own rates are to replace a policy in the firmware that does not fly.
        """
        sticks, channels = self._setup.sticks, self._channels
        roll, pitch, yaw, throttle = STICK_MIDDLE_US, STICK_MIDDLE_US, STICK_MIDDLE_US, _THROTTLE_OFF_US
        if orders.control is not None and (not self._onboard or policy_failed):
            thrust = hover * orders.control.thrust
            roll, pitch, yaw, throttle = sticks.sticks(orders.control.rates_rad_s, thrust)
        elif orders.airborne:
            # For the moment in which the policy hands back: level, and what hovers.
            throttle = sticks.throttle_us(hover)
        aux = [SWITCH_LOW_US] * _AUX
        if orders.arm:
            aux[channels.arm - 1] = SWITCH_HIGH_US
        if self._onboard:
            if not policy_failed:
                aux[channels.angle - 1] = SWITCH_HIGH_US
            if orders.setpoint is not None:
                aux[channels.policy - 1] = SWITCH_HIGH_US
        raw = [0, 0, 0, 0, *aux]
        for value, channel in zip((roll, pitch, yaw, throttle), self._setup.channel_map[:4], strict=True):
            raw[channel] = value
        return tuple(raw)
