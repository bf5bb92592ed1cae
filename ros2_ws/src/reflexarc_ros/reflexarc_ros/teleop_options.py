"""The options of an operator's device, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hardware.errors import ConfigError


def read_options(text: str, where: str) -> Mapping[str, Any]:
    """Read the options of a device.

    Args:
        text: a JSON object; empty: none.
        where: who asks, for the message.

    Returns:
        Names and values.

    Raises:
        ConfigError: it is something else.
    """
    try:
        options = json.loads(text or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ConfigError(
            f"options is {text!r}",
            where=where,
            expected='a JSON object, for instance {"port": 8766}',
            mend="correct the parameter",
        )
    return options
