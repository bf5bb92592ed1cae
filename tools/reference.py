"""Writes the reference tables in docs/ from the code, so that they cannot say anything else.

A page holds blocks like this one; what is between the marks is replaced:

    <!-- begin: fields hardware.robot:RobotCard -->
    <!-- end -->

Run it with the Python of `.venv` after a change of a card, a node's settings, a launch argument, an option
or a result; `tests/test_docs.py` fails until then.

    .venv/bin/python tools/reference.py          write
    .venv/bin/python tools/reference.py --check  say what would change; exit with 1 when something would
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import comparison_tables
import results_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs/results"
_BEGIN = "<!-- begin: "
_BLOCK = re.compile(rf"({_BEGIN}(?P<what>[^\n]+?) -->\n)(?:(?!{_BEGIN}).)*?(<!-- end -->)", re.DOTALL)
_WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number", Any: "anything"}
_MISSING = dataclasses.MISSING
# Stands for a new line in a cell.
_BREAK = "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare the pages.

    Args:
        arguments: the command line; None: that of the process.

    Returns:
        0; 1 when `--check` finds a page that is not up to date.
    """
    parser = argparse.ArgumentParser(description="Write the reference tables in docs/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 on a difference")
    check = parser.parse_args(arguments).check
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = fill(text)
        if wanted != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(wanted, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date' if check else 'written'}")
    return 1 if check and stale else 0


def pages() -> list[Path]:
    """The README and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fill(text: str) -> str:
    """Replace what is between the marks of every block.

    Args:
        text: a page.

    Returns:
        The page with its tables up to date.

    Raises:
        ValueError: a block has a beginning and no end.
    """
    whole = {match.start() for match in _BLOCK.finditer(text)}
    for begun in re.finditer(re.escape(_BEGIN), text):
        if begun.start() not in whole:
            line = text[begun.start() :].partition("\n")[0]
            raise ValueError(f"{line}: no line '<!-- end -->' before the next block; add one below it")
    return _BLOCK.sub(lambda m: f"{m[1]}\n{block(m['what'])}\n\n{m[3]}", text)


def block(what: str) -> str:
    """Make one table.

    Args:
        what: a maker's name and what it is to be made of.

    Returns:
        Markdown.
    """
    maker, *words = what.split()
    return _MAKERS[maker](*words)


# --- the tables ------------------------------------------------------------------------------


def fields(target: str) -> str:
    """The fields of a dataclass, with the sentences above them in its source."""
    cls = _load(target)
    hints = get_type_hints(cls)
    sentences = comments(cls)
    rows = []
    for field in dataclasses.fields(cls):
        default = _default(field)
        needed = "needed" if default is _MISSING else _value(default)
        rows.append((f"`{field.name}`", _type(hints[field.name]), needed, sentences[field.name]))
    return table(("field", "type", "default", "what it is"), rows)


def settings(node: str) -> str:
    """The parameters of a node."""
    module = importlib.import_module(f"reflexarc_ros.{node}")
    cls = next(
        c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__
        and getattr(c, "settings", ())
    )  # fmt: skip
    rows = []
    for s in cls.settings:
        meaning = s.description
        if s.minimum is not None or s.maximum is not None:
            meaning += f" From {s.minimum:g} to {s.maximum:g}."
        rows.append((f"`{s.name}`", _type(_type_of(s.default)), _value(s.default), meaning))
    return table(("parameter", "type", "default", "what it does"), rows)


def arguments() -> str:
    """The launch arguments of all systems, beside each other."""
    from reflexarc_ros.bringup import SYSTEMS

    merged: dict[str, dict[str, Any]] = {}
    for name, system in SYSTEMS.items():
        for argument in system.arguments:
            merged.setdefault(argument.name, {})[name] = argument
    rows = []
    for name, found in merged.items():
        first = next(iter(found.values()))
        choices = f" One of {', '.join(f'`{c}`' for c in first.choices)}." if first.choices else ""
        defaults = (_value(found[system].default) if system in found else "–" for system in SYSTEMS)
        rows.append((f"`{name}`", *defaults, first.description + choices))
    return table(("argument", *(f"`{name}`" for name in SYSTEMS), "what it does"), rows)


def options(*path: str) -> str:
    """The options of a command, as its `--help` has them."""
    from reflexarc.cli import VERBS
    from reflexarc.commands import Group, resolve

    verb = VERBS[path[0]]
    command = verb.load()[path[1]] if isinstance(verb, Group) else verb
    cls = resolve(command.config)
    hints = get_type_hints(cls, include_extras=True)
    sentences = comments(cls)
    rows = []
    for field in dataclasses.fields(cls):
        kind, notes = _annotated(hints[field.name])
        default = _default(field)
        hint = next((n.help_behavior_hint for n in notes if getattr(n, "help_behavior_hint", None)), "")
        is_positional = any("positional" in repr(note).lower() for note in notes)
        option = field.name.replace("_", "-")
        if is_positional:
            name = f"`{field.name.upper()}`"
        elif kind is bool:
            name = f"`--no-{option}`" if default is True else f"`--{option}`"
        else:
            name = f"`--{option}`"
        shown = "needed" if default is _MISSING else "" if kind is bool else _value(default)
        if hint:
            shown = str(hint).strip("()").removeprefix("default: ")
        rows.append((name, "flag" if kind is bool else _type(kind), shown, sentences[field.name]))
    return table(("option", "type", "default", "what it does"), rows)


def rules() -> str:
    """The gate's rules, and for which kinds of command each is in force."""
    from hardware.gate_rules import RULES

    found: dict[tuple[str, str, str], set[Any]] = {}
    for kind, some in RULES.items():
        for rule in some:
            sentence = " ".join((inspect.getdoc(rule.make) or "").split("\n\n")[0].split())
            found.setdefault((rule.stage.value, rule.name, sentence), set()).add(kind)
    stages = list(dict.fromkeys(stage for stage, _, _ in found))
    rows = []
    for stage in stages:
        for (of, name, sentence), kinds in found.items():
            if of == stage:
                rows.append((stage, f"`{name}`", sentence, *("●" if kind in kinds else "" for kind in RULES)))
    return table(("stage", "rule", "what has to hold", *(kind.value for kind in RULES)), rows)


def times() -> str:
    """Who acts when, on the robots that come with Reflexarc."""
    from reflexarc_ros.supervisor_node import SupervisorNode

    from hardware.cards import load_robot_card
    from hardware.gate_rules import GateConfig
    from policies.card import load_policy_card

    names = ("quadrotor_twin", "so101_twin")
    robots = [load_robot_card(name) for name in names]
    specs = [next(iter(card.commands.values())) for card in robots]
    pilots = [load_policy_card(ROOT / "policies" / name) for name in ("raptor/published", "bc/pick_cube")]
    gate = GateConfig()
    rates = [next(iter(card.observations.values())).rate_hz for card in robots]
    state_s = [max(spec.timeout_s, 3.0 / rate) for spec, rate in zip(specs, rates, strict=True)]
    heartbeat_s = next(s.default for s in SupervisorNode.settings if s.name == "heartbeat_timeout_s")
    rows: list[tuple[str, str, list[float]]] = [
        (
            "policy",
            "refuses an observation older than `max_open_loop_s`",
            [p.max_open_loop_s for p in pilots],
        ),
        ("gate", "refuses a command that answers data older than `max_age_s`", [s.max_age_s for s in specs]),
        ("gate", "refuses a stamp further ahead of the clock than", [gate.future_tolerance_s] * 2),
        ("gate", "safe action: no accepted command for `timeout_s`", [s.timeout_s for s in specs]),
        ("gate", "safe action: the robot's state is older than", state_s),
        (
            "gate",
            "safe action: the state is bit-identical for `frozen_after_s`",
            [c.frozen_after_s for c in robots],
        ),
        ("gate", "safe action: the data clock goes back by more than", [gate.clock_back_tolerance_s] * 2),
        ("gate", "safe action: the data clock stands still for", [gate.clock_stop_s] * 2),
        ("gate", "trusts a clock again after it has run on for", [gate.clock_recover_s] * 2),
        ("gate", "emergency stop: an engaged operator link is silent for", [gate.operator_timeout_s] * 2),
        ("robot", "safe action: no gated command for `robot_timeout_s`", [s.robot_timeout_s for s in specs]),
        ("supervisor", "kills a process that is silent for `heartbeat_timeout_s`", [heartbeat_s] * 2),
    ]
    cells = [
        (who, what, *(f"{1e3 * v:g} ms" if v else "not judged" for v in values)) for who, what, values in rows
    ]
    return table(("who", "does what", *(f"`{name}`" for name in names)), cells)


def results() -> str:
    """What the files in docs/results say, one line a figure, with the command that measures it again."""
    return table(("what", "figure", "command", "file"), list(results_table.rows(RESULTS)))


def figures(*files: str) -> str:
    """The main figures of some files, one line a command."""
    found: dict[str, list[str]] = {}
    for what, figure, command, file in results_table.rows(RESULTS, only_main=True):
        if any(f"[{name}.json]" in file for name in files):
            found.setdefault(command, []).append(f"{what}: {figure}")
    return table(("command", "what it measured"), [(c, _BREAK.join(lines)) for c, lines in found.items()])


def policies() -> str:
    """RAPTOR's policies side by side, as they were evaluated."""
    heads, rows = comparison_tables.policies(RESULTS)
    return table(heads, rows)


def interventions() -> str:
    """Policies that learned with and without interventions."""
    return table(*comparison_tables.interventions(RESULTS))


def students() -> str:
    """What different trainings of RAPTOR's student gave."""
    heads, rows = comparison_tables.students(RESULTS)
    return table(heads, rows)


def goals() -> str:
    """Policies that learned with and without a goal."""
    return table(*comparison_tables.imitation(RESULTS, "goals"))


def retrieval() -> str:
    """Policies that learned from few demonstrations, and from what was retrieved beside them."""
    return table(*comparison_tables.imitation(RESULTS, "retrieval"))


def choices(name: str) -> str:
    """Diffusion policies with one choice changed, as a file of results says."""
    return table(*comparison_tables.choices(RESULTS, name))


def machines() -> str:
    """The machines on which the results were measured that depend on one."""
    return table(
        ("file", "machine before (demo: after) the measurement"), list(results_table.machines(RESULTS))
    )


_MAKERS: Mapping[str, Callable[..., str]] = {
    maker.__name__: maker
    for maker in (
        fields,
        settings,
        arguments,
        options,
        rules,
        times,
        results,
        figures,
        policies,
        students,
        interventions,
        goals,
        retrieval,
        choices,
        machines,
    )
}


# --- helpers ---------------------------------------------------------------------------------


def comments(cls: type) -> dict[str, str]:
    """The sentence above each field of a dataclass; one above several fields in a row is for all of them.

    Args:
        cls: the dataclass; what it inherits counts too.

    Returns:
        Field name to sentence.
    """
    bases = [base for base in reversed(cls.__mro__[1:]) if dataclasses.is_dataclass(base)]
    inherited = {name: sentence for base in bases for name, sentence in comments(base).items()}
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    last = ""
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = []
        at = node.lineno - 2
        while lines[at].strip().startswith("#"):
            above.insert(0, lines[at].strip().lstrip("# ").rstrip())
            at -= 1
        last = " ".join(above) or last
        found[node.target.id] = last
    return inherited | found


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Keep what Markdown would take for a column or a tag."""
    parts = text.replace("|", "\\|").split("`")
    whole = "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))
    return whole.replace(_BREAK, "<br>")


def _load(target: str) -> Any:  # noqa: ANN401
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _default(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401
    return field.default if field.default_factory is _MISSING else field.default_factory()


def _annotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401
    notes = tuple(getattr(hint, "__metadata__", ()))
    return (get_args(hint)[0] if notes else hint), notes


def _type_of(value: Any) -> Any:  # noqa: ANN401
    return tuple[type(value[0]), ...] if isinstance(value, list | tuple) and value else type(value)


def _type(kind: Any) -> str:  # noqa: ANN401
    origin, args = get_origin(kind), get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in args if a is not type(None)))
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is not None and len(args) == 2:
        return f"name to {_type(args[1])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in kind)
    if isinstance(kind, type) and issubclass(kind, Path):
        return "path"
    return f"[{kind.__name__}](#{kind.__name__.lower()})"


def _value(value: Any) -> str:  # noqa: ANN401
    if value is None or value == "" or (isinstance(value, tuple | list | dict) and not value):
        return "none"
    if isinstance(value, enum.Enum):
        return f"`{value.value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if dataclasses.is_dataclass(value):
        return f"a `{type(value).__name__}` of defaults"
    if isinstance(value, tuple | list):
        return " ".join(f"`{item}`" for item in value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def blocks(text: str) -> Iterator[str]:
    """What every block of a page is made of."""
    return (m["what"] for m in _BLOCK.finditer(text))


if __name__ == "__main__":
    sys.exit(main())
