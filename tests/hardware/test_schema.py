"""Protects cards on disk: every fault of a file is named at once, by place, with how to mend it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest
import yaml

from hardware import schema
from hardware.cards import card_names, load_robot_card
from hardware.cards import library as card_library
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Wheel:
    radius_m: float
    spokes: int = 0

    def __post_init__(self) -> None:
        if self.radius_m <= 0:
            raise ConfigError(
                f"radius_m {self.radius_m} is not positive",
                where="wheel",
                expected="a positive number",
                mend="measure it",
            )


@dataclass(frozen=True)
class Cart:
    name: str
    colour: Colour
    wheels: Mapping[str, Wheel]
    tags: tuple[str, ...] = ()
    is_fast: bool = False
    load_kg: float | None = None
    notes: Any = None
    extra: Mapping[str, float] = field(default_factory=dict)


GOOD = """
name: tumbrel
colour: red
wheels:
  left: {radius_m: 0.4, spokes: 12}
  right: {radius_m: 1}
tags: [old, wooden]
load_kg: 80
notes: {any: [thing, 1]}
"""


def load(tmp_path, text, cls=Cart):
    path = tmp_path / "cart.yaml"
    path.write_text(text, encoding="utf-8")
    return schema.load(cls, path)


def findings(tmp_path, text):
    with pytest.raises(ConfigErrors) as error:
        load(tmp_path, text)
    lines = str(error.value).replace(str(tmp_path), "").splitlines()
    assert lines[0] == f"/cart.yaml: {len(error.value.findings)} finding(s)"
    assert len(lines) == 1 + len(error.value.findings)
    return [line.removeprefix("  - /cart.yaml: ") for line in lines[1:]]


def test_a_good_file_becomes_the_card(tmp_path):
    card = load(tmp_path, GOOD)
    assert card == Cart(
        name="tumbrel",
        colour=Colour.RED,
        wheels={"left": Wheel(0.4, 12), "right": Wheel(1.0)},
        tags=("old", "wooden"),
        load_kg=80.0,
        notes={"any": ["thing", 1]},
    )
    assert isinstance(card.wheels["right"].radius_m, float)


def test_what_is_dumped_is_read_again(tmp_path):
    card = load(tmp_path, GOOD)
    text = schema.dump(card)
    assert "is_fast" not in text
    assert load(tmp_path, text) == card


def test_the_order_of_a_mapping_is_kept(tmp_path):
    card = load(tmp_path, GOOD.replace("left:", "zeta:"))
    assert list(card.wheels) == ["zeta", "right"]


def test_every_fault_is_named_at_once(tmp_path):
    text = """
colour: green
wheels: {left: {radius_m: wide, spokes: 1.5, hub: 1}}
tags: old
is_fast: 1
speed: 3
"""
    assert findings(tmp_path, text) == [
        "unknown field 'speed'. Expected one of name, colour, wheels, tags, is_fast, load_kg, notes, extra. "
        "To mend: correct the name or remove the line.",
        "the field 'name' is missing. Expected text. To mend: add 'name'.",
        "colour: 'green' is not valid here. Expected one of red, blue. To mend: correct the value.",
        "wheels.left: unknown field 'hub'. Expected one of radius_m, spokes. "
        "To mend: correct the name or remove the line.",
        "wheels.left.radius_m: 'wide' is not valid here. Expected a finite number. "
        "To mend: correct the value.",
        "wheels.left.spokes: 1.5 is not valid here. Expected a whole number. To mend: correct the value.",
        "tags: 'old' is not valid here. Expected a list. To mend: correct the value.",
        "is_fast: 1 is not valid here. Expected true or false. To mend: correct the value.",
    ]


def test_a_cards_own_check_is_reported_with_its_place(tmp_path):
    assert findings(tmp_path, GOOD.replace("0.4", "-0.4")) == [
        "wheels.left (wheel): radius_m -0.4 is not positive. Expected a positive number. To mend: measure it."
    ]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "true", "[1.0]", "null"])
def test_what_is_no_finite_number_is_refused(tmp_path, number):
    (finding,) = findings(tmp_path, GOOD.replace("0.4", number))
    assert finding.startswith("wheels.left.radius_m: ")
    assert "Expected a finite number" in finding


def test_a_number_that_yaml_takes_for_text_says_how_to_write_it(tmp_path):
    (finding,) = findings(tmp_path, GOOD.replace("0.4", "4e-1"))
    assert finding == (
        "wheels.left.radius_m: '4e-1' is not valid here. Expected a finite number. To mend: write it as a "
        "number: without quotes, and with a point before an exponent (1.0e-3)."
    )
    assert load(tmp_path, GOOD.replace("0.4", "4.0e-1")).wheels["left"].radius_m == 0.4


def test_a_name_that_yaml_takes_for_a_value_says_so(tmp_path):
    (finding,) = findings(tmp_path, GOOD + "extra: {on: 1.0}\n")
    assert finding == (
        "extra: the name True is not text. Expected names. To mend: put it in quotes (YAML reads on, off, "
        "yes, no and numbers as values)."
    )


def test_a_key_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, GOOD + "extra: {a: 1.0, a: 2.0}\n")
    assert "not YAML (the key 'a' comes twice" in str(error.value)
    assert "line 10" in str(error.value)


def test_yaml_merges_may_override(tmp_path):
    text = GOOD.replace("left: {", "left: &wheel {").replace("{radius_m: 1}", "{<<: *wheel, radius_m: 1}")
    assert load(tmp_path, text).wheels["right"] == Wheel(1.0, 12)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (finding,) = findings(tmp_path, text)
    assert "Expected a mapping (Cart)" in finding


def test_broken_yaml_is_said_to_be_so(tmp_path):
    for text in ("a: [1", "a: {b: 1", "? [1]\n: 2\n"):
        with pytest.raises(ConfigError, match=r"cart.yaml: not YAML \(.*line.*mend the line it names"):
            load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError) as error:
        schema.load(Cart, tmp_path / "none.yaml")
    assert str(error.value) == (
        f"{tmp_path / 'none.yaml'}: the file cannot be read (No such file or directory). "
        "Expected a YAML card. To mend: give the path of an existing card."
    )


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "cart.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"the file cannot be read \(it is not UTF-8 text\)"):
        schema.load(Cart, path)


def test_loading_runs_no_code(tmp_path):
    with pytest.raises(ConfigError, match="not YAML"):
        load(tmp_path, "name: !!python/object/apply:os.system ['true']\n")


def test_the_json_schema_accepts_what_the_loader_accepts():
    described = schema.json_schema(Cart)
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    good = {"name": "a", "colour": "red", "wheels": {"left": {"radius_m": 1.0}}, "load_kg": None}
    assert validator.is_valid(good)
    for bad in (
        {**good, "colour": "green"},
        {**good, "wheels": {"left": {}}},
        {**good, "speed": 1},
        {**good, "tags": "old"},
        {**good, "load_kg": "heavy"},
        {key: value for key, value in good.items() if key != "name"},
    ):
        assert not validator.is_valid(bad)


@pytest.mark.parametrize("name", card_names())
def test_the_cards_that_come_with_the_house_are_good_and_survive_a_round_trip(name, tmp_path):
    card = load_robot_card(name)
    path = tmp_path / "again.yaml"
    path.write_text(schema.dump(card), encoding="utf-8")
    assert load_robot_card(path) == card


def test_a_card_of_an_earlier_version_is_read_its_chain_is_that_of_the_only_tool(tmp_path):
    card = load_robot_card("so101_twin")
    data = yaml.safe_load(schema.dump(card))
    data["kinematics"] = data.pop("tools")["arm"]["chain"]
    path = tmp_path / "earlier.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert load_robot_card(path) == card
    # A fault in it is named by where it is now.
    del data["kinematics"][0]["origin_m"]
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tools\.arm\.chain\[0\]: the field 'origin_m' is missing"):
        load_robot_card(path)
    # Both at once is no card of any version.
    path.write_text(yaml.safe_dump({**data, "tools": {}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown field 'kinematics'"):
        load_robot_card(path)


def test_the_schema_beside_the_cards_is_the_one_of_the_code():
    import json

    folder = card_library._FOLDER
    written = json.loads((folder / "robot-card.schema.json").read_text(encoding="utf-8"))
    assert written == schema.json_schema(RobotCard)


def test_an_unknown_card_is_named_beside_those_that_exist():
    with pytest.raises(
        ConfigError, match="there is no robot card 'toaster'. Expected one of .*quadrotor_twin"
    ):
        load_robot_card("toaster")
    with pytest.raises(ConfigError, match="did you mean 'px4_peer'"):
        load_robot_card("px4_pier")
