"""Cards on disk: frozen dataclass trees to and from YAML, with every fault of a file reported at once.

The same dataclasses yield the JSON schema that editors use (`json_schema`). Only the shapes that
cards need are supported: scalars, enums, tuples, string-keyed mappings, dataclasses and optionals. A
dataclass with a static method `from_earlier` also reads what earlier versions wrote.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from hardware.errors import ConfigError, ConfigErrors

_SCALARS: dict[Any, tuple[str, str]] = {
    str: ("string", "text"),
    bool: ("boolean", "true or false"),
    int: ("integer", "a whole number"),
    float: ("number", "a finite number"),
}


def load[T](cls: type[T], path: Path | str) -> T:
    """Read one card.

    Args:
        cls: the dataclass that the file describes.
        path: the YAML file.

    Returns:
        The card, validated whole (each dataclass's `__post_init__` included).

    Raises:
        ConfigError: the file is missing or is not YAML.
        ConfigErrors: one line for every unknown, missing or ill-typed field.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"the file cannot be read ({why})",
            where=str(path),
            expected="a YAML card",
            mend="give the path of an existing card",
        ) from error
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(
            f"not YAML ({problem})", where=str(path), expected="a YAML mapping", mend="mend the line it names"
        ) from error
    return parse(cls, data, where=str(path))


def parse[T](cls: type[T], data: object, *, where: str) -> T:
    """Build a card from what a YAML file held.

    Args:
        cls: the dataclass to build.
        data: the parsed YAML.
        where: the file name, for the messages.

    Returns:
        The card.

    Raises:
        ConfigErrors: one line for every fault found.
    """
    findings: list[ConfigError] = []
    card = _build(cls, data, where, findings)
    if findings:
        raise ConfigErrors(findings, where=where)
    return typing.cast(T, card)


def dump(card: object) -> str:
    """Write a card as YAML, in field order, without the fields that hold their default.

    Args:
        card: a dataclass that `load` can read.

    Returns:
        The YAML text.
    """
    return yaml.safe_dump(_plain(card), sort_keys=False, allow_unicode=True, width=110)


def json_schema(cls: type) -> dict[str, Any]:
    """Describe a card to editors and validators (JSON Schema draft 2020-12).

    Args:
        cls: the dataclass of the card.

    Returns:
        The schema, self-contained.
    """
    schema = _schema(cls)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cls.__name__, **schema}


def _build(kind: Any, data: object, where: str, findings: list[ConfigError]) -> Any:  # noqa: ANN401
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        return _build(next(a for a in args if a is not type(None)), data, where, findings)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), data, where, findings)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            findings.append(_wrong(data, where, "a list"))
            return None
        return tuple(_build(args[0], item, f"{where}[{i}]", findings) for i, item in enumerate(data))
    if origin in (dict, Mapping):
        if not isinstance(data, dict):
            findings.append(_wrong(data, where, "a mapping of names"))
            return None
        for key in data:
            if not isinstance(key, str):
                findings.append(
                    ConfigError(
                        f"the name {key!r} is not text",
                        where=where,
                        expected="names",
                        mend="put it in quotes (YAML reads on, off, yes, no and numbers as values)",
                    )
                )
        return {str(key): _build(args[1], value, f"{where}.{key}", findings) for key, value in data.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(data)
        except ValueError:
            findings.append(_wrong(data, where, "one of " + ", ".join(str(m.value) for m in kind)))
            return None
    return _build_scalar(kind, data, where, findings)


def _build_scalar(kind: Any, data: object, where: str, findings: list[ConfigError]) -> Any:  # noqa: ANN401
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if kind is float and is_number and math.isfinite(typing.cast(float, data)):
        return float(typing.cast(float, data))
    if kind is int and isinstance(data, int) and not isinstance(data, bool):
        return data
    if kind in (str, bool) and isinstance(data, kind):
        return data
    findings.append(_wrong(data, where, _SCALARS[kind][1], mend=_mend_scalar(kind, data)))
    return None


def _mend_scalar(kind: Any, data: object) -> str:  # noqa: ANN401
    if kind in (int, float) and isinstance(data, str):
        try:
            float(data)
        except ValueError:
            pass
        else:
            return "write it as a number: without quotes, and with a point before an exponent (1.0e-3)"
    return "correct the value"


def _build_dataclass(cls: type, data: object, where: str, findings: list[ConfigError]) -> Any:  # noqa: ANN401
    if not isinstance(data, dict):
        findings.append(_wrong(data, where, f"a mapping ({cls.__name__})"))
        return None
    from_earlier = getattr(cls, "from_earlier", None)
    if from_earlier is not None:
        data = typing.cast(dict[Any, Any], from_earlier(data))
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = get_type_hints(cls)
    before = len(findings)
    for key in data:
        if key not in fields:
            findings.append(
                ConfigError(
                    f"unknown field {key!r}",
                    where=where,
                    expected="one of " + ", ".join(fields),
                    mend="correct the name or remove the line",
                )
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name in data:
            values[name] = _build(
                hints[name],
                data[name],
                f"{where}: {name}" if ":" not in where else f"{where}.{name}",
                findings,
            )
        elif required:
            findings.append(
                ConfigError(
                    f"the field {name!r} is missing",
                    where=where,
                    expected=_describe(hints[name]),
                    mend=f"add {name!r}",
                )
            )
    if len(findings) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        findings.append(
            ConfigError(
                error.what, where=f"{where} ({error.where})", expected=error.expected, mend=error.mend
            )
        )
        return None


def _wrong(data: object, where: str, expected: str, *, mend: str = "correct the value") -> ConfigError:
    return ConfigError(f"{data!r} is not valid here", where=where, expected=expected, mend=mend)


class _Loader(yaml.SafeLoader):
    """YAML in which a key may come once: of two limits for one joint, neither would be known to count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} comes twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _describe(kind: Any) -> str:  # noqa: ANN401
    if kind in _SCALARS:
        return _SCALARS[kind][1]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(m.value) for m in kind)
    return "a list" if get_origin(kind) is tuple else "a mapping"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value):
        result = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if field.init and (default is dataclasses.MISSING or item != default):
                result[field.name] = _plain(item)
        return result
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _schema(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(a) if a is not type(None) else {"type": "null"} for a in args]}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [m.value for m in kind]}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = [f for f in dataclasses.fields(kind) if f.init]
        required = [
            f.name
            for f in fields
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {f.name: _schema(hints[f.name]) for f in fields},
            "additionalProperties": False,
        }
        return schema | ({"required": required} if required else {})
    return {"type": _SCALARS[kind][0]}
