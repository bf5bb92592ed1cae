"""Devices by name: from a mapping to the device that it names. What a device needs is imported with it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from hardware import schema
from hardware.errors import ConfigError
from hardware.teleop.mapping import TeleopMapping
from hardware.teleop.reading import Device

# The control that is on while teleop_node's service `engage` says so, whatever the device.
SERVICE_CONTROL = "service"


@dataclass(frozen=True)
class DeviceKind:
    """Where a device lives: its class takes one frozen dataclass of options."""

    # The module, the class and its options.
    module: str
    name: str
    options: str
    # What pip has to install for it.
    extra: str
    # Whether it can only be used by a process that owns a terminal.
    needs_terminal: bool = False


DEVICES: dict[str, DeviceKind] = {
    "keyboard": DeviceKind(
        "hardware.teleop.keyboard", "KeyboardWindow", "WindowOptions", "reflexarc[teleop]"
    ),
    "terminal": DeviceKind(
        "hardware.teleop.terminal", "TerminalKeyboard", "TerminalOptions", "reflexarc", needs_terminal=True
    ),
    "gamepad": DeviceKind("hardware.teleop.gamepad", "Gamepad", "GamepadOptions", "reflexarc[teleop]"),
    "spacemouse": DeviceKind(
        "hardware.teleop.spacemouse", "SpaceMouse", "SpaceMouseOptions", "reflexarc[teleop]"
    ),
    "browser": DeviceKind("hardware.teleop.browser", "Browser", "BrowserOptions", "reflexarc[teleop]"),
    "so101_leader": DeviceKind(
        "hardware.teleop.so101_leader", "SO101Leader", "LeaderOptions", "reflexarc[drones]"
    ),
    "so101_leader_pair": DeviceKind(
        "hardware.teleop.so101_leader", "SO101LeaderPair", "LeaderPairOptions", "reflexarc[drones]"
    ),
    "lerobot": DeviceKind(
        "hardware.teleop.lerobot_device", "LeRobotDevice", "LeRobotOptions", "reflexarc[policies]"
    ),
}


def make_device(mapping: TeleopMapping, options: Mapping[str, Any] | None = None) -> Device:
    """Make the device that a mapping names.

    Args:
        mapping: names the device and its options.
        options: further options, which win over those of the mapping.

    Returns:
        The device, not opened.

    Raises:
        ConfigError: there is no such device, a package that it needs is not installed, or an option is
            unknown or wrong.
    """
    where = f"mapping {mapping.name!r}"
    kind = DEVICES.get(mapping.device)
    if kind is None:
        raise ConfigError(
            f"no device {mapping.device!r}",
            where=where,
            expected="one of " + ", ".join(DEVICES),
            mend="correct the name",
        )
    module = importlib.import_module(kind.module)
    given = {**mapping.options, **(options or {})}
    options_class = getattr(module, kind.options)
    known = {field.name: field for field in fields(options_class)}
    for name in given:
        if name not in known:
            raise ConfigError(
                f"unknown option {name!r}",
                where=f"{where}: device {mapping.device!r}",
                expected="some of " + (", ".join(known) or "none: it has no options"),
                mend="correct the name",
            )
    made = schema.parse(options_class, given, where=f"{where}: options")
    try:
        return cast(Device, getattr(module, kind.name)(made))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the device {mapping.device!r} needs the package {error.name!r}, which is not installed",
            where=where,
            expected=f"the packages of {kind.extra}",
            mend=f"pip install '{kind.extra}'",
        ) from error
