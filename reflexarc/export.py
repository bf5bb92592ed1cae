"""`reflexarc export`: write policy folders and schemas from their sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reflexarc.commands import Command, Example
from reflexarc.eval import find_policy
from reflexarc.output import Output

_ROOT = Path(__file__).parents[1]
_PUBLISHED = _ROOT / "policies" / "raptor" / "published"
_PUBLISHED_HINT = "(default: the published policy)"


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


@dataclass(frozen=True)
class CExport:
    """Which policy, and where to."""

    # The folder to write; files of the same names are replaced.
    out: Path
    # METHOD/NAME of one that comes with Reflexarc, or a policy folder.
    policy: Annotated[Path, tyro.conf.arg(help_behavior_hint=_PUBLISHED_HINT)] = _PUBLISHED


@dataclass(frozen=True)
class Px4Export:
    """Which policy, and where to."""

    # METHOD/NAME of one that comes with Reflexarc, or a policy folder.
    policy: Annotated[Path, tyro.conf.arg(help_behavior_hint=_PUBLISHED_HINT)] = _PUBLISHED
    # The file to write.
    out: Path = Path("policy.tar")


@dataclass(frozen=True)
class NumpyExport:
    """Which policy, and where to."""

    # METHOD/NAME of one that comes with Reflexarc, or a policy folder.
    policy: Annotated[Path, tyro.conf.arg(help_behavior_hint=_PUBLISHED_HINT)] = _PUBLISHED
    # The file to write; the policy's name and `.npz` in the current folder when absent.
    out: Path | None = None


COMMANDS: Mapping[str, Command] = {
    "c": Command(
        summary="Write a RAPTOR policy as C99 for flight controllers, with its test and timing harness.",
        config="reflexarc.export:CExport",
        run="reflexarc.export:export_raptor_c",
        examples=(
            Example("reflexarc export c --out /tmp/raptor", "the published policy"),
            Example("reflexarc export c --policy outputs/raptor --out firmware/raptor", "one of your own"),
        ),
        details="raptor_policy.h and raptor_policy.c are what flies: no heap, no global state, hexadecimal "
        "floats. raptor_test.c reproduces the policy's recorded example on whatever processor it runs on; "
        "raptor_timing.c measures a call. `reflexarc bench onboard` compiles and runs both.",
    ),
    "px4": Command(
        summary="Write a RAPTOR policy as the policy.tar that PX4's own RAPTOR mode loads.",
        config="reflexarc.export:Px4Export",
        run="reflexarc.export:export_raptor_px4",
        examples=(
            Example("reflexarc export px4 --out policy.tar", "the published policy"),
            Example("reflexarc export px4 --policy outputs/raptor", "one of your own, to ./policy.tar"),
        ),
        details="Copy it to raptor/policy.tar on the vehicle's storage (by MAVLink FTP to "
        "/fs/microsd/raptor on hardware) and restart the module.",
    ),
    "numpy": Command(
        summary="Write a RAPTOR policy's weights as a plain npz file.",
        config="reflexarc.export:NumpyExport",
        run="reflexarc.export:export_raptor_numpy",
        examples=(
            Example("reflexarc export numpy", "the published policy, to ./raptor-published.npz"),
            Example("reflexarc export numpy --policy outputs/raptor --out weights.npz", "one of your own"),
        ),
        details="Nine float32 arrays under their names in an rl-tools checkpoint, below actor/layers: "
        "0/weights/parameters and so on. docs/onboard.md has the equations.",
    ),
    "lerobot-card": Command(
        summary="Make a folder that LeRobot saved a base policy of ours: write its card.",
        config="reflexarc.lerobot_card:LeRobotCardExport",
        run="reflexarc.lerobot_card:export_lerobot_card",
        examples=(
            Example(
                "reflexarc export lerobot-card outputs/train/checkpoints/last/pretrained_model"
                " --robot so101_twin --fps 30",
                "joint positions and cameras, by their names",
            ),
            Example(
                "reflexarc export lerobot-card outputs/mine --robot so101_twin --fps 25"
                " --feature observation.state=joint_position,joint_velocity"
                " observation.images.top=camera:front",
                "inputs that are called or made up otherwise",
            ),
            Example(
                "reflexarc export lerobot-card outputs/smolvla --robot so101_twin --fps 30 --degrees"
                ' --instruction "pick up the cube"',
                "one that was trained in degrees, and is told what to do",
            ),
        ),
        details="Nothing in LeRobot's files is changed. The policy is loaded once to prove that it fits; "
        "where it does not, the folder stays as it was. Then `reflexarc eval arm FOLDER`, or policy:=FOLDER.",
    ),
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


def export_raptor_c(config: CExport, output: Output) -> int:
    """Write a policy as C99.

    Args:
        config: which and where to.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: the folder holds no sound RAPTOR policy.
    """
    from policies.raptor.export_c import HARNESS, SOURCES, export_c

    files = export_c(find_policy(config.policy, where="reflexarc export c"), config.out)
    output.result({"folder": config.out, "files": files, "flies": SOURCES, "harness": HARNESS})
    if not output.json:
        output.console.print(f"{', '.join(files)} in {config.out}", soft_wrap=True)
        output.console.print(
            f"test them in {config.out}: gcc -std=c99 -O2 raptor_policy.c raptor_test.c -lm && ./a.out",
            soft_wrap=True,
        )
    return 0


def export_raptor_px4(config: Px4Export, output: Output) -> int:
    """Write a policy as PX4's archive.

    Args:
        config: which and where to.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: the folder holds no sound RAPTOR policy, or one that PX4's module cannot load.
    """
    from policies.raptor.export_files import export_px4

    path = export_px4(find_policy(config.policy, where="reflexarc export px4"), config.out)
    output.result({"file": path, "bytes": path.stat().st_size})
    if not output.json:
        output.console.print(f"{path}: copy it to raptor/policy.tar on the vehicle's storage", soft_wrap=True)
    return 0


def export_raptor_numpy(config: NumpyExport, output: Output) -> int:
    """Write a policy's weights as npz.

    Args:
        config: which and where to.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: the folder holds no sound RAPTOR policy.
    """
    import numpy as np

    from policies.card import load_policy_card
    from policies.raptor.export_files import export_numpy

    folder, out = find_policy(config.policy, where="reflexarc export numpy"), config.out
    if out is None:
        out = Path(f"{load_policy_card(folder).name}.npz")
    path = export_numpy(folder, out)
    with np.load(path) as arrays:
        shapes = {name: list(arrays[name].shape) for name in arrays.files}
    output.result({"file": path, "arrays": shapes})
    if not output.json:
        output.console.print(f"{path}: {', '.join(shapes)}", soft_wrap=True)
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
