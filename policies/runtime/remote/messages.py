"""What client and server of a remote policy agree on beside frames: numbers, prefixes, random states.

Every `act`, `chunk` and `refusal` carries `age_s`, the age of its observation when it was sent, and
`deadline_s`, for how long an answer is still of use. Both are durations: the clocks of two computers
need not agree.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from policies.runtime.frames import Frame, FrameError

# The version of this protocol.
PROTOCOL = 2
# Close codes (RFC 6455, 7.4): try again later; what was sent makes no sense; the server has a fault.
BUSY, WRONG, BROKEN = 1013, 1008, 1011
# Prefix of the arrays of a recurrent state.
STATE = "state/"


def quiet_logger() -> logging.Logger:
    """A logger for the library's own words; what matters is told in ours."""
    logger = logging.getLogger("reflexarc.remote")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return logger


def past_prefix(index: int) -> str:
    """Prefix of the arrays of an earlier observation, the oldest having index 0."""
    return f"past/{index}/"


def plain_generator(rng: np.random.Generator) -> dict[str, Any]:
    """The whole state of a generator in whole numbers, so that noise is the same on both computers."""
    state: Any = rng.bit_generator.state
    inner = state["state"]
    return {
        "state": int(inner["state"]),
        "inc": int(inner["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def load_generator(frame: Frame) -> np.random.Generator:
    """Make the generator that a frame describes.

    Args:
        frame: holds what `plain_generator` gave, in the field `rng`.

    Returns:
        The generator (PCG64, as `numpy.random.default_rng` makes it).

    Raises:
        FrameError: it describes none.
    """
    given = frame.fields.get("rng")
    limits = {"state": 1 << 128, "inc": 1 << 128, "has_uint32": 2, "uinteger": 1 << 32}
    if not isinstance(given, dict) or set(given) != set(limits):
        raise FrameError(f"{frame.kind}: rng describes no generator")
    for name, limit in limits.items():
        if type(given[name]) is not int or not 0 <= given[name] < limit:
            raise FrameError(f"{frame.kind}: rng.{name} is out of range")
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": given["state"], "inc": given["inc"]},
        "has_uint32": given["has_uint32"],
        "uinteger": given["uinteger"],
    }
    return np.random.Generator(bits)
