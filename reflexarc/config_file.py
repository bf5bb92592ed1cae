"""Settings of a command from a YAML file: its own, or the `training.yaml` that an earlier training wrote."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import yaml

from hardware.errors import ConfigError


def words_of(path: Path, kind: type[Any], method: str) -> list[str]:
    """Turn a file of settings into the words that say the same on the command line.

    Args:
        path: a mapping of settings by name; or a `training.yaml`, whose `config` is one.
        kind: the dataclass of the settings.
        method: what is trained, as in the `method` of a `training.yaml`.

    Returns:
        Options and their values.

    Raises:
        ConfigError: no such file, no mapping, a setting that there is not, or a training of another method.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _bad(
            path, f"cannot be read ({error})", "a YAML file of settings", "correct the path"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("config"), dict):
        if found.get("method") != method:
            raise _bad(
                path,
                f"it is a training of {found.get('method')!r}",
                f"one of {method!r}",
                f"reflexarc train {found.get('method')} --config {path.name}",
            )
        found = found["config"]
    if not isinstance(found, dict) or not found:
        raise _bad(path, "it holds no settings", "a mapping such as `steps: 4000`", "write one")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    words: list[str] = []
    for key, value in found.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            raise _bad(
                path,
                f"there is no setting {key!r}",
                f"one like {near[0]!r}" if near else "settings that --help lists",
                "correct the name, or take the line away",
            )
        words += _option(path, name, value, fields[name].default)
    return words


def _option(path: Path, name: str, value: object, default: object) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise _bad(path, f"{name} is {value!r}", "true or false", f"correct {name}")
        if value == default:
            return []
        return [option if value else f"--no-{option[2:]}"]
    if isinstance(value, dict):
        raise _bad(path, f"{name} is a mapping", "a value or a list", f"correct {name}")
    return [option, *(str(item) for item in (value if isinstance(value, list) else [value]))]


def _bad(path: Path, what: str, expected: str, mend: str) -> ConfigError:
    return ConfigError(what, where=str(path), expected=expected, mend=mend)
