"""Find and load robot cards."""

from __future__ import annotations

import difflib
from pathlib import Path

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard

_FOLDER = Path(__file__).parent


def card_names() -> tuple[str, ...]:
    """The names of the cards in this folder."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_robot_card(name_or_path: str | Path) -> RobotCard:
    """Load a robot card.

    Args:
        name_or_path: a name from `card_names`, or the path of a YAML file.

    Returns:
        The card, validated.

    Raises:
        ConfigError: there is no such card, or it has faults (all are listed).
    """
    path = Path(name_or_path)
    if path.suffix != ".yaml":
        path = _FOLDER / f"{name_or_path}.yaml"
        if not path.exists():
            near = difflib.get_close_matches(str(name_or_path), card_names(), n=1)
            raise ConfigError(
                f"there is no robot card {str(name_or_path)!r}",
                where="robot",
                expected="one of " + ", ".join(card_names()) + ", or the path of a card",
                mend=f"did you mean {near[0]!r}?" if near else "correct the name",
            )
    return schema.load(RobotCard, path)
