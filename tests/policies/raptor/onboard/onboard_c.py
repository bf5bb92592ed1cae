"""The exported C from Python: structures, pointers and a compiler call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.raptor import onboard_build

HERE = Path(__file__).parent
ONBOARD = Path(onboard_build.__file__).parent / "onboard"
SHARED = ("-O2", "-shared", "-fPIC")
FloatPointer = ctypes.POINTER(ctypes.c_float)


class Config(ctypes.Structure):
    """`raptor_config`."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("native_ns", "call_ns", "slack_ns", "period")]


class Vehicle(ctypes.Structure):
    """`raptor_vehicle`."""

    _fields_ = [
        ("position", ctypes.c_float * 3),
        ("orientation", ctypes.c_float * 4),
        ("linear_velocity", ctypes.c_float * 3),
        ("angular_velocity", ctypes.c_float * 3),
    ]


class Reference(ctypes.Structure):
    """`raptor_reference`."""

    _fields_ = [
        ("position", ctypes.c_float * 3),
        ("linear_velocity", ctypes.c_float * 3),
        ("yaw", ctypes.c_float),
    ]


def pointer(array: np.ndarray) -> ctypes.Array:
    """A C pointer to a float32 array, or to a copy of any other one."""
    return np.ascontiguousarray(array, np.float32).ctypes.data_as(FloatPointer)


def library(sources: Sequence[Path], out: Path, folders: Sequence[Path]) -> ctypes.CDLL:
    """Compile C sources into a shared library and load it."""
    includes = [f"-I{folder}" for folder in folders]
    onboard_build.compile_host(
        folders[0], [str(source) for source in sources], out, compiler="gcc", options=(*SHARED, *includes)
    )
    return ctypes.CDLL(str(out))
