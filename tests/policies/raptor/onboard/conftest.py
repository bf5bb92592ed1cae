"""The published policy as C, compiled once and callable from Python."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from onboard_c import Config, FloatPointer, library  # noqa: E402

from policies.raptor import PUBLISHED  # noqa: E402
from policies.raptor.export_c import export_c  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler: apt install build-essential")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `reflexarc export c` writes for the published policy."""
    folder = tmp_path_factory.mktemp("export")
    export_c(PUBLISHED, folder)
    return folder


@pytest.fixture(scope="session")
def policy_c(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The exported policy as a library."""
    out = tmp_path_factory.mktemp("library") / "raptor.so"
    loaded = library([exported / "raptor_policy.c"], out, [exported])
    loaded.raptor_config_by_count.restype = loaded.raptor_config_by_time.restype = Config
    loaded.raptor_self_test.restype = loaded.raptor_effort.restype = ctypes.c_float
    loaded.raptor_effort.argtypes = [ctypes.c_float]
    loaded.raptor_motor_order_ok.restype = ctypes.c_bool
    loaded.raptor_control.argtypes = [ctypes.c_void_p, ctypes.POINTER(Config), ctypes.c_uint64] + [
        FloatPointer
    ] * 3
    return loaded
