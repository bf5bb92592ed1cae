"""Protects what a user reads: links, paths, commands and snippets work, tables are those of the code, and
every verb, option, parameter, launch argument, topic, service and check is there.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *reference.pages())
}
WRITTEN_BY_US = [name for name in PAGES if name != "CONTRIBUTING.md"]
CLI, ROS, ROBOT_CARDS = PAGES["docs/cli.md"], PAGES["docs/ros2.md"], PAGES["docs/robot-cards.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def code_lines(text: str) -> Iterator[str]:
    """Every line of code: fenced, indented or in backticks."""
    for _, body in FENCE.findall(text):
        yield from body.splitlines()
    rest = FENCE.sub("", text)
    for line in rest.splitlines():
        if line.startswith("    ") or line.startswith("       "):
            yield line.strip()
    yield from re.findall(r"`([^`\n]+)`", rest)


def fenced(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links and paths ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[name])):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        page = (ROOT / name).parent / path if path else ROOT / name
        if not page.exists() or (anchor and anchor not in slugs(page.read_text(encoding="utf-8"))):
            wrong.append(target)
    assert not wrong


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_is_named_exists(name: str) -> None:
    tracked = {
        line.split("/")[0]
        for line in subprocess.run(
            ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
    }
    wrong = []
    for span in re.findall(r"`([^`\s]+)`", FENCE.sub("", PAGES[name])):
        is_example = re.search(r"[<>*…]|-v\d+$", span) or any(part.isupper() for part in Path(span).parts)
        if "/" in span and span.split("/")[0] in tracked and not is_example and not (ROOT / span).exists():
            wrong.append(span)
    assert not wrong


def test_the_picture_is_small_and_a_picture() -> None:
    picture = ROOT / "docs/images/twin.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 500_000


def test_the_readme_keeps_its_order() -> None:
    text = PAGES["README.md"]
    marks = (
        "# Reflexarc",
        "make demo",
        "make test",
        "![",
        "| feature | works | in work | not run on hardware |",
    )
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


# --- tables ------------------------------------------------------------------------------------


def test_generated_tables_are_those_of_the_code() -> None:
    stale = [
        str(page.relative_to(ROOT))
        for page in reference.pages()
        if reference.fill(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    assert not stale, "to mend: .venv/bin/python tools/reference.py"


def test_a_stale_table_is_noticed() -> None:
    assert "quadrotor" in reference.fill("<!-- begin: arguments -->\nold\n<!-- end -->")


def test_every_command_has_its_options_on_the_page() -> None:
    from reflexarc.cli import VERBS
    from reflexarc.commands import Group

    wanted = set()
    for name, verb in VERBS.items():
        wanted |= (
            {f"options {name} {c}" for c in verb.load()} if isinstance(verb, Group) else {f"options {name}"}
        )
    assert wanted == set(reference.blocks(CLI))


def test_every_node_has_its_parameters_on_the_page() -> None:
    from reflexarc_ros.start import NODES

    assert {f"settings {node}" for node in NODES} | {"arguments"} == set(reference.blocks(ROS))


def test_every_check_of_the_doctor_is_on_the_page() -> None:
    from reflexarc.doctor import CHECKS

    assert re.findall(r"^\| `([a-z-]+)` \| ", CLI.split("## doctor")[1].split("## bench")[0], re.MULTILINE)[
        -len(CHECKS) :
    ] == list(CHECKS)


def test_every_topic_and_service_is_on_the_page() -> None:
    from reflexarc_ros.chunks import ChunkCodec
    from reflexarc_ros.flight_services import FLIGHT_SERVICES
    from reflexarc_ros.messages import observation_topics

    from hardware.cards import card_names, load_robot_card

    rows = dict(re.findall(r"^\| `([^`]+)` \| ([\w/]+) \|", ROS.split("## Topics")[1], re.MULTILINE))
    for card in map(load_robot_card, card_names()):
        # No ROS robot stands behind the tasks of others.
        if card.driver == "gym":
            continue
        for topic in observation_topics(card):
            assert rows[topic.topic].split("/")[1] == topic.message_type.__name__
        for spec in card.commands.values():
            message = ChunkCodec(spec.kind, spec.names).message_type.__name__
            assert re.search(rf"^\| `gate/command` \|.*/{message}\b", ROS, re.MULTILINE)
    for source in (ROOT / "ros2_ws/src/reflexarc_ros/reflexarc_ros").glob("*_node.py"):
        text = source.read_text(encoding="utf-8")
        for service in re.findall(r'create_service\((\w+), "~/(\w+)"', text):
            assert rows[f"{source.stem}/{service[1]}"].endswith(f"/{service[0]}")
    for service, kind in FLIGHT_SERVICES.items():
        assert rows[f"robot_node/{service}"].endswith(f"/{kind.__name__}")


def test_every_result_has_a_command_and_a_row() -> None:
    import results_table

    files = {path.name for path in (ROOT / "docs/results").glob("*.json")}
    assert files <= set(results_table.COMMANDS)
    for name in files:
        assert f"({name})" in PAGES["docs/results/README.md"]
        assert not re.search(r'"/(home|work|root|tmp)/', (ROOT / "docs/results" / name).read_text("utf-8"))


def test_results_are_read_from_their_files(tmp_path: Path) -> None:
    import results_table

    machine_speed = {"name": "quadrotor 100 Hz", "ros_p50_ms": 1.5, "ros_p99_ms": 2.25, "cost_p50_ms": 0.75}
    (tmp_path / "loop.json").write_text(json.dumps({"rows": [machine_speed]}), encoding="utf-8")
    rows = list(results_table.rows(tmp_path))
    assert [row[1] for row in rows] == ["p50 1.50 ms, p99 2.25 ms", "p50 0.75 ms"]
    assert {row[2] for row in rows} == {"`reflexarc bench loop`"}


# --- commands ----------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every command line of ours that a reader can copy, without what is around it."""
    found = set()
    for name in WRITTEN_BY_US:
        for line in code_lines(PAGES[name]):
            line = re.sub(r"^(\$ |ROS_DOMAIN_ID=\d+ |env .* (?=reflexarc))", "", line.strip())
            line = re.sub(r" {2,}#.*$| > \S+$", "", line)
            if line.startswith("reflexarc ") and "…" not in line:
                found.add(line)
    return sorted(found)


@pytest.mark.parametrize("line", commands())
def test_every_command_line_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from reflexarc_ros import bringup

    from reflexarc.cli import VERBS, main
    from reflexarc.commands import Group, parse

    words = shlex.split(line)[1:]
    if words[0].isupper() or words[0] == "--help":
        return
    verb = VERBS[words[0]]
    path = words[:1]
    if isinstance(verb, Group):
        if len(words) == 1:
            assert main(words) == 0
            return
        if words[1].isupper():
            return
        path, verb = words[:2], verb.load()[words[1]]
    if "--help" in words or words == path:
        return
    given = ["/tmp" if word.isupper() else word for word in words[len(path) :]]
    settings, _ = parse(path, verb, given)
    if path == ["up"] and settings.name is not None and not settings.name.isupper():
        arguments = bringup.parse_arguments(settings.name, settings.arguments)
        known = {argument.name: argument for argument in bringup.SYSTEMS[settings.name].arguments}
        for name, value in arguments.items():
            assert not known[name].choices or value in known[name].choices


def test_the_lines_that_are_tested_are_really_there() -> None:
    """The reader of pages finds the commands; else the test above would protect nothing."""
    lines = commands()
    assert len(lines) > 40
    assert "reflexarc up quadrotor reference:=figure_eight" in lines


def test_every_launch_line_names_a_launch_file_and_its_arguments() -> None:
    from reflexarc_ros.bringup import SYSTEMS

    lines = [
        line.strip()
        for name in WRITTEN_BY_US
        for line in code_lines(PAGES[name])
        if "ros2 launch reflexarc" in line
    ]
    assert lines
    for line in lines:
        words = line.split("ros2 launch reflexarc ", 1)[1].split()
        assert (ROOT / "launch" / words[0]).exists()
        known = {a.name for a in SYSTEMS[words[0].removesuffix(".launch.py")].arguments}
        assert {w.partition(":=")[0] for w in words[1:] if ":=" in w} <= known


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    used = {
        word
        for line in code_lines(PAGES[name])
        for word in re.findall(r"(?:^|&& |`)make ([a-z-]+)", line.strip())
    }
    assert used <= targets


# --- snippets ----------------------------------------------------------------------------------


def example_card() -> dict:
    (text,) = fenced(ROBOT_CARDS, "yaml")
    return yaml.safe_load(text)


def test_the_example_card_loads_and_drives_the_example_of_the_gate(tmp_path: Path) -> None:
    (tmp_path / "my_arm.yaml").write_text(fenced(ROBOT_CARDS, "yaml")[0], encoding="utf-8")
    (code,) = fenced(ROBOT_CARDS, "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"# {done.stdout.strip()}" in code


def _joints(card: dict) -> dict:
    return card["commands"]["joints"]


FAULTS = {
    "no `latency`": lambda c: c.pop("latency"),
    "`jerk` left out of `base`": lambda c: _joints(c)["limits"]["base"].pop("jerk"),
    "`unit: deg`": lambda c: c["observations"]["joint_position"].update(unit="deg"),
    "`safe_action: stop`": lambda c: _joints(c).update(safe_action="stop"),
    "`max_age: 1` beside `max_age_s`": lambda c: _joints(c).update(max_age=1),
    "`lower: 4` above `upper: 3.1`": lambda c: _joints(c)["limits"]["base"].update(lower=4),
}


def test_the_errors_on_the_page_are_those_of_the_code() -> None:
    from hardware import schema
    from hardware.errors import ConfigErrors
    from hardware.robot import RobotCard

    table = ROBOT_CARDS.split("### What you see when something is wrong")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| (.+?) \| `(my_arm.+)` \|$", table, re.MULTILINE))
    assert set(shown) == set(FAULTS)
    for what, spoil in FAULTS.items():
        card = copy.deepcopy(example_card())
        spoil(card)
        with pytest.raises(ConfigErrors) as raised:
            schema.parse(RobotCard, card, where="my_arm.yaml")
        (finding,) = raised.value.findings
        assert str(finding) == shown[what]


def test_the_example_controllers_are_some() -> None:
    from hardware import schema
    from policies.bc.policy import BcOptions
    from policies.controller import ControllerConfig

    plain, asking = (
        schema.parse(ControllerConfig, yaml.safe_load(text), where="controller.yaml")
        for text in fenced(PAGES["docs/policy-cards.md"], "yaml")
    )
    schema.parse(BcOptions, dict(plain.options), where="options")
    assert asking.goal["cube_position"].unit == "m"


def test_the_example_node_publishes_what_the_gate_reads() -> None:
    from rclpy.serialization import serialize_message
    from reflexarc_ros.chunks import ChunkCodec
    from sensor_msgs.msg import JointState

    from hardware.cards import load_robot_card
    from hardware.chunk import ActionChunk

    (code,) = fenced(ROS, "python")
    names: dict = {}
    exec(code.split("rclpy.init()")[0], names)
    sent: list = []
    operator = SimpleNamespace(goal=[], out=SimpleNamespace(publish=sent.append))
    spec = load_robot_card("so101_twin").commands["joints"]
    state = JointState(name=list(spec.names), position=[0.1] * 6)
    state.header.stamp.sec = 7
    names["Operator"].answer(operator, state)
    chunk = ChunkCodec(spec.kind, spec.names).decode(bytes(serialize_message(sent[0])), source="operator")
    assert isinstance(chunk, ActionChunk)
    assert chunk.names == spec.names
    assert (chunk.start_ns, chunk.valid_for_s, len(chunk.values)) == (7_000_000_000, pytest.approx(0.1), 1)
    assert chunk.values[0].tolist() == pytest.approx([0.3, *[0.1] * 5])
