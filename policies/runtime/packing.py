"""Observations and chunks in frames: bit for bit what they were, for the wire and for journals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.runtime.frames import Frame, FrameError

_TERM, _IMAGE, _IMAGE_STAMP = "term/", "image/", "image_stamp/"


def pack_observation(observation: Observation, *, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Name an observation's arrays for a frame; its stamps travel as fields.

    Args:
        observation: terms and images.
        prefix: of the names, where a frame holds several observations.

    Returns:
        `term/<name>`, `image/<camera>` and, where it has one of its own, `image_stamp/<camera>`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    arrays |= {f"{prefix}{_TERM}{name}": value for name, value in observation.values.items()}
    arrays |= {f"{prefix}{_IMAGE}{name}": image for name, image in observation.images.items()}
    stamps = observation.image_stamps_ns
    return arrays | {f"{prefix}{_IMAGE_STAMP}{name}": np.array([at_ns]) for name, at_ns in stamps.items()}


def unpack_observation(
    frame: Frame, *, stamp_ns: int, received_steady_ns: int, prefix: str = ""
) -> Observation:
    """Take an observation out of a frame.

    Args:
        frame: holds the arrays of `pack_observation`.
        stamp_ns: when it was captured.
        received_steady_ns: when this process received it, steady clock.
        prefix: as given to `pack_observation`.

    Returns:
        The observation.

    Raises:
        FrameError: a term is no vector of float64, an image no (H, W, 3) of uint8, or its stamp no int64.
    """
    values, images, image_stamps_ns = {}, {}, {}
    for whole, array in frame.arrays.items():
        if not whole.startswith(prefix):
            continue
        name = whole.removeprefix(prefix)
        if name.startswith(_TERM):
            if array.ndim != 1 or array.dtype != np.float64:
                raise FrameError(f"{name} is {array.dtype} {array.shape}, expected a vector of float64")
            values[name.removeprefix(_TERM)] = array
        elif name.startswith(_IMAGE):
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
                raise FrameError(f"{name} is {array.dtype} {array.shape}, expected (H, W, 3) of uint8")
            images[name.removeprefix(_IMAGE)] = array
        elif name.startswith(_IMAGE_STAMP):
            if array.shape != (1,) or array.dtype != np.int64:
                raise FrameError(f"{name} is {array.dtype} {array.shape}, expected one int64")
            image_stamps_ns[name.removeprefix(_IMAGE_STAMP)] = int(array[0])
    return Observation(values, stamp_ns, received_steady_ns, images, image_stamps_ns)


def pack_chunk(chunk: ActionChunk) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a chunk apart for a frame.

    Args:
        chunk: the chunk.

    Returns:
        Fields and arrays.
    """
    fields = {
        "command_kind": chunk.kind.value,
        "names": list(chunk.names),
        "start_ns": chunk.start_ns,
        "step_ns": chunk.step_ns,
        "valid_for_s": chunk.valid_for_s,
        "source": chunk.source,
        "observed_ns": chunk.observed_ns,
    }
    arrays = {"values": np.asarray(chunk.values, np.float64)}
    if chunk.proposals is not None:
        arrays["proposals"] = np.asarray(chunk.proposals, np.float64)
    return fields, arrays


def unpack_chunk(frame: Frame) -> ActionChunk:
    """Put a chunk together again.

    Args:
        frame: holds what `pack_chunk` gave.

    Returns:
        The chunk.

    Raises:
        FrameError: something is missing, of another type, or does not fit together.
    """
    names, values = frame.fields.get("names"), frame.arrays.get("values")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FrameError(f"{frame.kind}: names is no list of texts")
    if values is None or values.dtype != np.float64:
        raise FrameError(f"{frame.kind}: no values of float64")
    proposals = frame.arrays.get("proposals")
    if proposals is not None and (proposals.dtype != np.float64 or proposals.shape[1:] != values.shape):
        raise FrameError(f"{frame.kind}: proposals of shape {proposals.shape} beside values {values.shape}")
    try:
        return ActionChunk(
            kind=CommandKind(frame.text("command_kind")),
            names=tuple(names),
            values=values,
            start_ns=frame.integer("start_ns"),
            step_ns=frame.integer("step_ns", low=1),
            valid_for_s=frame.number("valid_for_s"),
            source=frame.text("source"),
            proposals=proposals,
            observed_ns=None if frame.fields.get("observed_ns") is None else frame.integer("observed_ns"),
        )
    except ConfigError as error:
        raise FrameError(f"{frame.kind}: {error.what}, expected {error.expected}") from error
    except ValueError as error:
        raise FrameError(f"{frame.kind}: {error}") from error
