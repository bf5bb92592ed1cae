"""Protects `ros2 launch`: it offers the arguments of `reflexarc up`, starts the same nodes with parameters of
the same types, starts a lost node anew, and stops when nothing is left to mend.

`launch` is on no package index, so a stand-in that only remembers takes its place here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from reflexarc_ros.bringup import SYSTEMS, nodes
from reflexarc_ros.launch_description import describe
from reflexarc_ros.runner import PARENT_VARIABLE

from hardware.errors import ConfigError


@dataclass
class Argument:
    name: str
    default_value: str
    description: str
    choices: list[str] | None


class Remembers:
    """Keeps what it was made with."""

    def __init__(self, **given: Any) -> None:
        self.given = given


@pytest.fixture(autouse=True)
def _launch(monkeypatch: pytest.MonkeyPatch) -> None:
    def module(name: str, **members: Any) -> None:
        made = ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)

    module("launch", LaunchDescription=lambda entities: entities)
    module("launch.actions", DeclareLaunchArgument=Argument, OpaqueFunction=Remembers, Shutdown=Remembers)
    module("launch_ros")
    module("launch_ros.actions", Node=Remembers)


def start(system: str, **given: str) -> dict[str, dict[str, Any]]:
    """The node actions by executable, as the launch service would make them."""
    *arguments, opaque = describe(system)
    values = {argument.name: argument.default_value for argument in arguments} | given
    context = SimpleNamespace(launch_configurations=values)
    actions = opaque.given["function"](context, *opaque.given["args"])
    return {action.given["executable"]: action.given for action in actions}


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_every_argument_is_declared(system: str) -> None:
    *declared, _ = describe(system)
    wanted = [(a.name, a.default, a.description, list(a.choices) or None) for a in SYSTEMS[system].arguments]
    assert [(a.name, a.default_value, a.description, a.choices) for a in declared] == wanted


def test_nodes_are_those_of_bringup() -> None:
    given = {"program": "hover 10; figure_eight 5.5 22", "gust": "1,2,0.5,0,0", "rate": "200"}
    wanted = nodes("quadrotor", given)
    made = start("quadrotor", **given)
    assert list(made) == [spec.executable for spec in wanted]
    for spec in wanted:
        action = made[spec.executable]
        assert (action["package"], action["name"]) == (spec.package, spec.name)
        assert (action["namespace"], action["respawn"]) == (spec.namespace, spec.respawn)


def test_parameters_keep_their_types() -> None:
    given = {"program": "hover 10; figure_eight 5.5 22", "seed": "7"}
    for spec in nodes("quadrotor", given):
        words = start("quadrotor", **given)[spec.executable]["ros_arguments"]
        assert set(words[::2]) == {"-p"}
        read = dict(word.split(":=", 1) for word in words[1::2])
        parameters = {name: yaml.safe_load(value) for name, value in read.items()}
        assert parameters == dict(spec.parameters)
        assert {n: type(v) for n, v in parameters.items()} == {n: type(v) for n, v in spec.parameters.items()}


def test_nodes_end_with_the_launcher_and_stay_on_this_machine() -> None:
    environment = start("quadrotor")["gate_node"]["additional_env"]
    assert PARENT_VARIABLE in environment
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_a_lost_node_comes_back_and_the_system_goes_on() -> None:
    action = start("quadrotor")["policy_node"]
    assert action["respawn"]
    ended = SimpleNamespace(returncode=-9)
    assert action["on_exit"](ended, SimpleNamespace(is_shutdown=False)) is None


@pytest.mark.parametrize(
    ("node", "code"), [("policy_node", 2), ("supervisor_node", 1), ("supervisor_node", -9)]
)
def test_what_cannot_be_mended_stops_the_system(node: str, code: int) -> None:
    action = start("quadrotor")[node]
    with pytest.raises(RuntimeError, match=f"{node} ended with exit code {code}; stopping the system"):
        action["on_exit"](SimpleNamespace(returncode=code), SimpleNamespace(is_shutdown=False))


def test_a_supervisor_that_was_asked_to_end_ends_the_system_in_order() -> None:
    action = start("quadrotor")["supervisor_node"]
    shutdown = action["on_exit"](SimpleNamespace(returncode=0), SimpleNamespace(is_shutdown=False))
    assert shutdown.given == {"reason": "supervisor_node ended"}


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    action = start("quadrotor")["supervisor_node"]
    assert action["on_exit"](SimpleNamespace(returncode=1), SimpleNamespace(is_shutdown=True)) is None


def test_bad_input_stops_before_any_node_starts() -> None:
    with pytest.raises(ConfigError, match="airframe"):
        start("quadrotor", airframe="no_such_airframe")


def test_a_vehicle_is_given_the_time_to_land_and_brings_its_simulated_flight_controller() -> None:
    made = start("quadrotor", robot="px4_peer")
    assert next(iter(made)) == "peer_node"
    assert float(made["robot_node"]["sigterm_timeout"]) >= 30.0
    assert float(made["peer_node"]["sigterm_timeout"]) >= 30.0
    assert float(start("quadrotor")["robot_node"]["sigterm_timeout"]) < 30.0
