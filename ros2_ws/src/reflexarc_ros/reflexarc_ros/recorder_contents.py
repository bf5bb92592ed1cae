"""What goes into an episode beside its messages: cards, parameters, calibration, versions."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.controller import base_card
from policies.provenance import versions
from recording.criteria import CRITERIA_FILE, Criteria, dump_criteria
from recording.episode import ROBOT_CARD

_PACKAGES = ("mcap", "numpy", "lerobot", "torch", "mujoco", "onnxruntime")


def attachments(
    card: RobotCard,
    *,
    criteria: Criteria,
    parameters: str,
    policy: str,
    calibration: Sequence[str],
    where: str,
) -> dict[str, bytes]:
    """Read the files that belong to every episode.

    Args:
        card: of the robot.
        criteria: by what the episodes are judged.
        parameters: of the system, JSON.
        policy: a policy folder or controller file, whose card goes in; empty: none.
        calibration: paths of files that go in as they are; empty ones are passed over.
        where: who asks, for the messages.

    Returns:
        The files by their name in the episode.

    Raises:
        ConfigError: a file cannot be read, or two of calibration have the same name.
    """
    found = {
        ROBOT_CARD: schema.dump(card).encode(),
        CRITERIA_FILE: dump_criteria(criteria),
        "parameters.json": parameters.encode(),
    }
    if policy:
        found["policy_card.yaml"] = schema.dump(base_card(Path(policy))).encode()
    return found | calibration_files(calibration, f"{where}: parameter 'calibration'")


def calibration_files(paths: Sequence[str], where: str) -> dict[str, bytes]:
    """Read the files of calibration that belong to every episode.

    Args:
        paths: of the files; empty ones are passed over.
        where: who asks, for the messages.

    Returns:
        The files by their name in the episode.

    Raises:
        ConfigError: a file cannot be read, or two have the same name.
    """
    found: dict[str, bytes] = {}
    for path in map(Path, filter(None, paths)):
        inside = f"calibration/{path.name}"
        if inside in found:
            raise ConfigError(
                f"two calibration files are called {path.name}",
                where=where,
                expected="a name of its own for every file: that is how it lies in the episode",
                mend="rename one of the two",
            )
        found[inside] = _read(path, where)
    return found


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})",
            where=where,
            expected="a file that goes into the episodes",
            mend="correct the path",
        ) from error


def installed_versions() -> dict[str, str]:
    """Look up the versions of what is installed of the packages that shape an episode."""
    return versions([name for name in _PACKAGES if importlib.util.find_spec(name) is not None])
