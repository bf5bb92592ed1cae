"""One description per system: which nodes, with which parameters, under which conditions.

`launch/*.launch.py` turns it into a standard launch description; `reflexarc up` runs the very same
description with the wheels alone.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import policies
from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.reference import make_program, make_trajectory
from policies.card import bind, load_policy_card
from policies.controller import base_folder

PACKAGE = "reflexarc_ros"
# SCHED_FIFO priorities of the control path: who is nearer to the robot goes first.
_PRIORITIES = {"robot_node": 40, "gate_node": 35, "policy_node": 30}
_POLICIES = Path(policies.__file__).parent


@dataclass(frozen=True)
class Argument:
    """One argument of a system, given as `name:=value`."""

    # Its name.
    name: str
    # The value when it is not given.
    default: str
    # What it does, in a sentence.
    description: str
    # The allowed values, where they can be listed.
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeSpec:
    """One process."""

    # ROS package, executable and node name.
    package: str
    executable: str
    name: str
    # Absolute namespace.
    namespace: str
    # Parameters by name.
    parameters: Mapping[str, Any]
    # Topic remappings.
    remappings: tuple[tuple[str, str], ...] = ()
    # Whether the process is started anew when it ends by itself.
    respawn: bool = True


@dataclass(frozen=True)
class System:
    """A robot with its gate, policy, reference and supervisor."""

    # The name after `reflexarc up`, and of the launch file.
    name: str
    # One sentence for people.
    description: str
    # What can be chosen.
    arguments: tuple[Argument, ...]
    # From complete arguments to nodes.
    build: Callable[[Mapping[str, str]], tuple[NodeSpec, ...]] = field(repr=False)


def environment() -> dict[str, str]:
    """What every process of a system needs in its environment, unless the user has set it.

    Returns:
        Names and values: discovery and transport stay on this machine, one thread for linear algebra.
    """
    profiles = str(Path(__file__).parent / "config" / "fastdds.xml")
    defaults = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        # Fast DDS 2 (Jazzy) reads the one, Fast DDS 3 (Kilted) the other.
        "FASTRTPS_DEFAULT_PROFILES_FILE": profiles,
        "FASTDDS_DEFAULT_PROFILES_FILE": profiles,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_COLORIZED_OUTPUT": "0",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def parameter_words(spec: NodeSpec) -> list[str]:
    """Give a node's parameters as words of its command line, as JSON, which is YAML: a text stays a text.

    Args:
        spec: the node.

    Returns:
        `-p name:=value` for each parameter; no file is left behind.
    """
    return [w for name, value in spec.parameters.items() for w in ("-p", f"{name}:={json.dumps(value)}")]


def parse_arguments(system: str, words: Sequence[str]) -> dict[str, str]:
    """Read `name:=value` words.

    Args:
        system: a key of `SYSTEMS`.
        words: as typed.

    Returns:
        The given arguments.

    Raises:
        ConfigError: an unknown system, or a word that is not `name:=value`.
    """
    _system(system)
    given: dict[str, str] = {}
    for word in words:
        name, mark, value = word.partition(":=")
        if not mark or not name:
            raise ConfigError(
                f"{word!r} is not an argument",
                where=f"reflexarc up {system}",
                expected="name:=value",
                mend="write for instance robot:=twin",
            )
        given[name] = value
    return given


def nodes(system: str, arguments: Mapping[str, str] | None = None) -> tuple[NodeSpec, ...]:
    """Describe the processes of a system; everything is checked here, before any of them starts.

    Args:
        system: a key of `SYSTEMS`.
        arguments: the given arguments; the others take their defaults.

    Returns:
        The processes in the order of their start.

    Raises:
        ConfigError: an unknown system, argument or value, a faulty card, or a policy that does not
            fit the robot.
    """
    found = _system(system)
    given = dict(arguments or {})
    known = {a.name: a for a in found.arguments}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                f"unknown argument {name!r}",
                where=f"system {system!r}",
                expected="one of " + ", ".join(known),
                mend="correct the name",
            )
        choices = known[name].choices
        if choices and value not in choices:
            raise ConfigError(
                f"{name} is {value!r}",
                where=f"system {system!r}",
                expected="one of " + ", ".join(choices),
                mend="choose one of these",
            )
    return found.build({a.name: given.get(a.name, a.default) for a in found.arguments})


def _system(name: str) -> System:
    if name not in SYSTEMS:
        raise ConfigError(
            f"there is no system {name!r}",
            where="bring-up",
            expected="one of " + ", ".join(SYSTEMS),
            mend="correct the name",
        )
    return SYSTEMS[name]


def _number(arguments: Mapping[str, str], name: str) -> float:
    return _to_number(name, arguments[name])


def _to_number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{name} is {text!r}", where="bring-up", expected="a number", mend="correct the value"
        )
    return number


def _between(arguments: Mapping[str, str], name: str, lower: float, upper: float) -> float:
    number = _number(arguments, name)
    if not lower <= number <= upper:
        raise ConfigError(
            f"{name} is {arguments[name]!r}",
            where="bring-up",
            expected=f"a number from {lower:g} to {upper:g}",
            mend="correct the value",
        )
    return number


def _seed(arguments: Mapping[str, str]) -> int:
    number = _between(arguments, "seed", 0, 2**31)
    if number != int(number):
        raise ConfigError(
            f"seed is {arguments['seed']!r}",
            where="bring-up",
            expected="a whole number",
            mend="correct the value",
        )
    return int(number)


def _flag(arguments: Mapping[str, str], name: str) -> bool:
    return arguments[name] == "true"


def _words(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _check_display(arguments: Mapping[str, str]) -> None:
    host, _, number = os.environ.get("DISPLAY", "").rpartition(":")
    socket = Path(f"/tmp/.X11-unix/X{number.split('.')[0]}")
    if not _flag(arguments, "headless") and number and host in ("", "unix") and not socket.exists():
        raise ConfigError(
            f"DISPLAY is {os.environ['DISPLAY']!r}, and no X server is there",
            where="headless:=false",
            expected="a running X server",
            mend="run with headless:=true, or correct DISPLAY",
        )
    if not _flag(arguments, "headless") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ConfigError(
            "there is no display for the live viewer",
            where="headless:=false",
            expected="a running X or Wayland session (DISPLAY or WAYLAND_DISPLAY)",
            mend="run with headless:=true, or log in with a screen",
        )


def check_graphics() -> None:
    """Refuse a MUJOCO_GL that names a library which is not there: MuJoCo loads it when it is imported.

    Raises:
        ConfigError: it cannot be loaded.
    """
    backend = os.environ.get("MUJOCO_GL")
    if not backend:
        return
    try:
        importlib.import_module("mujoco")
    except (AttributeError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"MUJOCO_GL is {backend!r}, and that OpenGL library cannot be loaded ({error})",
            where="environment",
            expected="egl, or osmesa with the Debian package libosmesa6",
            mend="unset MUJOCO_GL, or install what reflexarc doctor names",
        ) from error


def _common(arguments: Mapping[str, str], twin_card: str) -> tuple[str, str, dict[str, Any]]:
    """Card, policy path and the parameters that all nodes share; fails where card and policy do not fit."""
    _check_display(arguments)
    check_graphics()
    name = arguments["robot"]
    card_path = twin_card if name == "twin" else name
    card = load_robot_card(card_path)
    folder = Path(arguments["policy"])
    if not folder.is_absolute() and not folder.exists():
        folder = _POLICIES / folder
    if not folder.exists():
        raise ConfigError(
            f"there is no policy {arguments['policy']!r}",
            where="argument 'policy'",
            expected="a policy folder or a controller file",
            mend="give its path; policies that come with Reflexarc: "
            + ", ".join(
                sorted(str(p.parent.relative_to(_POLICIES)) for p in _POLICIES.glob("*/*/card.yaml"))
            ),
        )
    bind(load_policy_card(base_folder(folder)), card)
    is_twin = card.driver == "twin"
    shared = {"card": card_path, "pace": arguments["pace"], "use_sim_time": is_twin}
    return str(folder), arguments["namespace"] or card.name, shared


_COMMON = (
    Argument("robot", "twin", "twin, or the name or path of a robot card."),
    Argument("namespace", "", "ROS namespace of the robot; empty: the card's name."),
    Argument(
        "pace", "real_time", "Real time, or lockstep: seeded and bit-reproducible.", ("real_time", "lockstep")
    ),
    Argument(
        "clock",
        "/clock",
        "Topic of the twin's clock; give each twin its own where several share a graph, e.g. clock:=clock.",
    ),
    Argument(
        "realtime",
        "true",
        "Whether robot, gate and policy ask for the real-time scheduler (real time only).",
        ("true", "false"),
    ),
    Argument("seed", "0", "Seed of the twin and the policy."),
    Argument(
        "latency", "none", "Latency that the twin adds: none, or as on the robot card.", ("none", "card")
    ),
    Argument("cameras", "false", "Whether the twin renders and publishes its cameras.", ("true", "false")),
    Argument("headless", "true", "Whether to go without the live viewer.", ("true", "false")),
    Argument("trace", "", "File for the twin's trace, written when it stops; empty: none."),
)


def _quadrotor(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    policy, namespace, shared = _common(arguments, "quadrotor_twin")
    rate_hz = _between(arguments, "rate", 0, 2000)
    if arguments["airframe"]:
        from sim.quadrotor.airframes import load_airframe

        load_airframe(arguments["airframe"])
    gust = [_to_number("gust", part) for part in _words(arguments["gust"], ",")] or [0.0]
    if arguments["gust"] and len(gust) != 5:
        raise ConfigError(
            f"gust is {arguments['gust']!r}",
            where="bring-up",
            expected="five numbers: start_s,duration_s,fx,fy,fz",
            mend="correct the value",
        )
    managed = ["gate_node", "policy_node", "reference_node", "robot_node"]
    program = _words(arguments["program"], ";")
    height_m, period_s = _between(arguments, "height", 0.2, 20), _between(arguments, "period", 1, 120)
    waypoints = [
        _to_number("waypoints", n) for p in _words(arguments["waypoints"], ";") for n in _words(p, ",")
    ]
    # Made here once, so that a reference that cannot be flown is refused before anything starts.
    if program:
        make_program(program, height_m=height_m)
    else:
        make_trajectory(arguments["reference"], height_m=height_m, period_s=period_s, waypoints=waypoints)
    parameters: dict[str, dict[str, Any]] = {
        "gate_node": {**shared, "rate_hz": rate_hz},
        "policy_node": {
            **shared,
            "rate_hz": rate_hz,
            "policy": policy,
            "seed": _seed(arguments),
        },
        "reference_node": {
            **shared,
            "reference": "program" if program else arguments["reference"],
            "height_m": height_m,
            "period_s": period_s,
            "waypoints": waypoints,
            **({"program": program} if program else {}),
        },
        "robot_node": {
            **_unclocked(shared),
            "rate_hz": rate_hz,
            "airframe": arguments["airframe"],
            "gust": gust,
            **_twin_parameters(arguments),
        },
    }
    return _specs(namespace, managed, parameters, arguments)


def _arm(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    policy, namespace, shared = _common(arguments, "so101_twin")
    managed = ["gate_node", "policy_node", "robot_node"]
    parameters: dict[str, dict[str, Any]] = {
        "gate_node": dict(shared),
        "policy_node": {**shared, "policy": policy, "seed": _seed(arguments)},
        "robot_node": {**_unclocked(shared), **_twin_parameters(arguments)},
    }
    return _specs(namespace, managed, parameters, arguments)


def _priority(name: str) -> dict[str, int]:
    priority = _PRIORITIES.get(name)
    return {} if priority is None else {"realtime_priority": priority}


def _unclocked(shared: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the node that makes the time: it does not listen to its own clock."""
    return {**shared, "use_sim_time": False}


def _twin_parameters(arguments: Mapping[str, str]) -> dict[str, Any]:
    return {
        "seed": _seed(arguments),
        "latency": arguments["latency"],
        "cameras": _flag(arguments, "cameras"),
        "view": not _flag(arguments, "headless"),
        "trace_path": arguments["trace"],
    }


def _specs(
    namespace: str,
    managed: list[str],
    parameters: Mapping[str, dict[str, Any]],
    arguments: Mapping[str, str],
) -> tuple[NodeSpec, ...]:
    namespace = "/" + namespace.strip("/")
    clock = arguments["clock"]
    remappings = () if clock == "/clock" else (("/clock", clock),)
    if _flag(arguments, "realtime"):
        parameters = {n: {**p, **_priority(n)} for n, p in parameters.items()}
    supervisor = NodeSpec(
        PACKAGE, "supervisor_node", "supervisor_node", namespace, {"managed": managed}, respawn=False
    )
    return (*(NodeSpec(PACKAGE, n, n, namespace, parameters[n], remappings) for n in managed), supervisor)


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "quadrotor",
            "A quadrotor flown at motor level by RAPTOR or another recurrent policy.",
            (
                *_COMMON,
                Argument("policy", "raptor/published", "Policy folder or controller file."),
                Argument(
                    "airframe", "", "Airframe of the twin (crazyflie, x500_real, ...); empty: as on the card."
                ),
                Argument("rate", "0", "Rate of the loop in Hz; 0: as on the card."),
                Argument("reference", "hover", "What to fly.", ("hover", "figure_eight", "waypoints")),
                Argument(
                    "program", "", "Parts flown in order, e.g. 'hover 10; figure_eight 5.5 22'; empty: none."
                ),
                Argument("height", "1.0", "Flying height in metres."),
                Argument("period", "10.0", "Time for one loop of the figure eight, in seconds."),
                Argument(
                    "waypoints", "0,0,1; 1,0,1; 1,1,1; 0,0,1", "x,y,z of each waypoint in metres, in turn."
                ),
                Argument(
                    "gust", "", "A gust in the twin: start_s,duration_s,fx,fy,fz (newtons); empty: none."
                ),
            ),
            _quadrotor,
        ),
        System(
            "arm",
            "An SO-101 arm that picks cubes with a chunked behaviour-cloning policy.",
            (*_COMMON, Argument("policy", "bc/pick_cube", "Policy folder or controller file.")),
            _arm,
        ),
    )
}
