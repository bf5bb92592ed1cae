"""`reflexarc export`: write policy folders and schemas from their sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reflexarc.commands import Command, Example
from reflexarc.output import Output

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class RaptorPublishedExport:
    """Where to write."""

    # The policy folder to write; files of the same names are replaced.
    folder: Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class SchemaExport:
    """Where to write."""

    # The repository; the schemas lie beside the cards that name them.
    root: Annotated[Path, tyro.conf.arg(help_behavior_hint="(default: this installation)")] = _ROOT
    # Write nothing; exit with 1 when a file on disk is not what would be written.
    check: bool = False


COMMANDS: Mapping[str, Command] = {
    "raptor-published": Command(
        summary="Write the published RAPTOR policy, from the foundation-policy wheel, as a policy folder.",
        config="reflexarc.export:RaptorPublishedExport",
        run="reflexarc.export:export_raptor_published",
        examples=(
            Example("reflexarc export raptor-published /tmp/raptor", "safetensors, ONNX and card"),
            Example(
                "reflexarc export raptor-published policies/raptor/published",
                "again in place, after a new version of the wheel",
            ),
        ),
    ),
    "schema": Command(
        summary="Write the JSON schemas of robot and policy cards, which editors use.",
        config="reflexarc.export:SchemaExport",
        run="reflexarc.export:export_schemas",
        examples=(
            Example("reflexarc export schema", "after a change of the card classes"),
            Example("reflexarc export schema --check", "are the committed files up to date?"),
        ),
    ),
}


def export_raptor_published(config: RaptorPublishedExport, output: Output) -> int:
    """Convert the published RAPTOR policy.

    Args:
        config: where to.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: the wheel is missing or holds something else.
    """
    from policies.raptor.convert import convert_published

    with output.progress("converting"):
        card = convert_published(config.folder)
    output.result({"folder": config.folder, "name": card.name, "files": dict(card.files)})
    if not output.json:
        output.console.print(f"{card.name}: {len(card.files)} weights file(s) and card in {config.folder}")
    return 0


def schema_texts() -> dict[str, str]:
    """Compose the schemas.

    Returns:
        Path in the repository to the file's text.
    """
    from hardware.robot import RobotCard
    from hardware.schema import json_schema
    from policies.card import PolicyCard

    classes = {
        "hardware/cards/robot-card.schema.json": RobotCard,
        "policies/policy-card.schema.json": PolicyCard,
    }
    return {path: json.dumps(json_schema(cls), indent=2) + "\n" for path, cls in classes.items()}


def export_schemas(config: SchemaExport, output: Output) -> int:
    """Write or compare the schemas.

    Args:
        config: where, and which of the two.
        output: where the result goes.

    Returns:
        0; 1 when `check` finds a file that differs.
    """
    states = {}
    for relative, text in schema_texts().items():
        path = config.root / relative
        is_same = path.exists() and path.read_text(encoding="utf-8") == text
        if not is_same and not config.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        states[relative] = "up to date" if is_same else ("out of date" if config.check else "written")
    is_ok = "out of date" not in states.values()
    output.result({"ok": is_ok, "files": states})
    if not output.json:
        for relative, state in states.items():
            output.console.print(f"{relative}: {state}")
        if not is_ok:
            output.console.print("to mend: run `reflexarc export schema` and commit the files")
    return 0 if is_ok else 1
