"""Any teleoperator of LeRobot by its name, those of its plug-ins included."""

from __future__ import annotations

import contextlib
import importlib
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardware.errors import ConfigError, Refusal
from hardware.teleop.reading import Reading, Status, lost


@dataclass(frozen=True)
class LeRobotOptions:
    """Which teleoperator."""

    # Its name in LeRobot: so101_leader, koch_leader, gamepad, ...
    type: str
    # The fields of its configuration.
    config: Mapping[str, Any] = field(default_factory=dict)


class LeRobotDevice:
    """The numbers of a LeRobot teleoperator's action, under the names that it gives them.

    Args:
        options: which one, and its configuration.

    Raises:
        ModuleNotFoundError: LeRobot is not installed.
        ConfigError: it knows no such teleoperator, or not those fields.
    """

    def __init__(self, options: LeRobotOptions) -> None:
        """Make the teleoperator; nothing is opened."""
        self._options = options
        self._teleoperator = _make(options)

    @property
    def address(self) -> str:
        """Nothing has to be told."""
        return ""

    def open(self) -> None:
        """Connect. A calibration has to exist: nobody is there to answer LeRobot's questions."""
        try:
            self._teleoperator.connect(calibrate=False)
        except Exception as error:
            # Every teleoperator has errors of its own.
            raise Refusal(f"{self._options.type} of LeRobot cannot connect ({error})") from error

    def read(self, now_ns: int) -> Reading:
        """Ask for an action."""
        if not self._teleoperator.is_connected:
            return lost(f"{self._options.type} of LeRobot is not connected")
        try:
            action = self._teleoperator.get_action()
        except Exception as error:
            self.close()
            return lost(f"{self._options.type} of LeRobot has gone ({error})")
        controls = {}
        for name, value in action.items():
            with contextlib.suppress(TypeError, ValueError):
                controls[str(name)] = float(value)
        controls = {name: value for name, value in controls.items() if math.isfinite(value)}
        return Reading(connected=True, heard_ns=now_ns, controls=controls)

    def show(self, status: Status) -> None:
        """It shows nothing."""

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(Exception):
            if self._teleoperator.is_connected:
                self._teleoperator.disconnect()


def _make(options: LeRobotOptions) -> Any:  # noqa: ANN401
    from lerobot import teleoperators
    from lerobot.teleoperators.config import TeleoperatorConfig
    from lerobot.teleoperators.utils import make_teleoperator_from_config
    from lerobot.utils.import_utils import register_third_party_plugins

    where = "device 'lerobot'"
    # A name is known once its module was imported; what needs a vendor's library stays unknown without it.
    for module in pkgutil.iter_modules(teleoperators.__path__):
        if module.ispkg:
            with contextlib.suppress(Exception):
                importlib.import_module(f"{teleoperators.__name__}.{module.name}")
    register_third_party_plugins()
    known = TeleoperatorConfig.get_known_choices()
    if options.type not in known:
        raise ConfigError(
            f"LeRobot knows no teleoperator {options.type!r} here",
            where=where,
            expected="one of " + ", ".join(sorted(known)),
            mend="correct the name, or install its plug-in or the library that it needs",
        )
    try:
        return make_teleoperator_from_config(known[options.type](**options.config))
    except ImportError as error:
        raise ConfigError(
            f"LeRobot's {options.type} needs a library that is not installed ({error})",
            where=where,
            expected="the extra of LeRobot that it names",
            mend="install it",
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{options.type} refuses its configuration ({type(error).__name__}: {error})",
            where=where,
            expected="the fields of LeRobot's configuration",
            mend="correct options.config in the mapping",
        ) from error
