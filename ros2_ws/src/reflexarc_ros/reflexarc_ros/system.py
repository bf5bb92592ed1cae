"""What systems are made of: arguments, processes, and what the processes of all have in common."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import policies
from hardware.cards import load_robot_card
from hardware.drivers import TWIN
from hardware.errors import ConfigError
from hardware.ranges import is_ros_name
from hardware.robot import RobotCard

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
    # How long it may take to end when it is asked to: a vehicle lands first.
    stop_s: float = 8.0


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


def to_number(name: str, text: str) -> float:
    """Read a number.

    Args:
        name: of the argument, for the message.
        text: as typed.

    Returns:
        The number.

    Raises:
        ConfigError: it is none, or not finite.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{name} is {text!r}", where="bring-up", expected="a number", mend="correct the value"
        )
    return number


def between(arguments: Mapping[str, str], name: str, lower: float, upper: float) -> float:
    """Read an argument that is a number within bounds; raises ConfigError where it is not."""
    number = to_number(name, arguments[name])
    if not lower <= number <= upper:
        raise ConfigError(
            f"{name} is {arguments[name]!r}",
            where="bring-up",
            expected=f"a number from {lower:g} to {upper:g}",
            mend="correct the value",
        )
    return number


def read_seed(arguments: Mapping[str, str]) -> int:
    """Read the seed; raises ConfigError where it is no whole number of zero or more."""
    number = between(arguments, "seed", 0, 2**31)
    if number != int(number):
        raise ConfigError(
            f"seed is {arguments['seed']!r}",
            where="bring-up",
            expected="a whole number",
            mend="correct the value",
        )
    return int(number)


def is_true(arguments: Mapping[str, str], name: str) -> bool:
    """Read an argument that is true or false."""
    return arguments[name] == "true"


def split(text: str, separator: str) -> list[str]:
    """Take a list apart, without what is empty."""
    return [part.strip() for part in text.split(separator) if part.strip()]


def _check_display(arguments: Mapping[str, str]) -> None:
    host, _, number = os.environ.get("DISPLAY", "").rpartition(":")
    socket = Path(f"/tmp/.X11-unix/X{number.split('.')[0]}")
    if not is_true(arguments, "headless") and number and host in ("", "unix") and not socket.exists():
        raise ConfigError(
            f"DISPLAY is {os.environ['DISPLAY']!r}, and no X server is there",
            where="headless:=false",
            expected="a running X server",
            mend="run with headless:=true, or correct DISPLAY",
        )
    if not is_true(arguments, "headless") and not (
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


@dataclass(frozen=True)
class Robot:
    """The robot of a system."""

    # Its card, and how the nodes find it.
    card: RobotCard
    card_path: str
    # Absolute namespace of its nodes.
    namespace: str
    # The parameters that all nodes share.
    shared: Mapping[str, Any]

    @property
    def is_twin(self) -> bool:
        """Whether its time is simulated."""
        return self.card.driver == TWIN


def find_robot(arguments: Mapping[str, str], *, twin_card: str) -> Robot:
    """Find the robot that the arguments name.

    Args:
        arguments: complete.
        twin_card: the card that `twin` stands for.

    Returns:
        The robot.

    Raises:
        ConfigError: there is no such card, or it has faults; a library or a display is missing.
    """
    _check_display(arguments)
    check_graphics()
    path = twin_card if arguments["robot"] == "twin" else arguments["robot"]
    card = load_robot_card(path)
    shared = {"card": path, "pace": arguments["pace"], "use_sim_time": card.driver == TWIN}
    return Robot(card, path, _namespace(arguments["namespace"], card), shared)


def _namespace(given: str, card: RobotCard) -> str:
    """The namespace that is asked for, or the robot's name; raises ConfigError where ROS takes neither."""
    name = (given or card.name).strip("/")
    if not is_ros_name(name):
        raise ConfigError(
            f"the namespace {given!r}" if given else f"the name {card.name!r}, which is the namespace too,",
            where="argument 'namespace'" if given else f"robot card {card.name!r}",
            expected="letters, digits and underscores, in parts that begin with no digit and are joined by /",
            mend="choose another one, such as namespace:=drone_1",
        )
    return "/" + name


def find_policy(name: str) -> Path:
    """Find a policy folder or a controller file, by path or by METHOD/NAME of those that come with Reflexarc.

    Args:
        name: as typed.

    Returns:
        Its path.

    Raises:
        ConfigError: there is none.
    """
    folder = Path(name)
    if not folder.is_absolute() and not folder.exists():
        folder = _POLICIES / folder
    if not name or not folder.exists():
        known = sorted(str(p.parent.relative_to(_POLICIES)) for p in _POLICIES.glob("*/*/card.yaml"))
        raise ConfigError(
            f"there is no policy {name!r}",
            where="argument 'policy'",
            expected="a policy folder or a controller file",
            mend="give its path; policies that come with Reflexarc: " + ", ".join(known),
        )
    return folder


COMMON = (
    Argument("robot", "twin", "twin, or the name or path of a robot card (betaflight_sitl, px4, ...)."),
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
    Argument(
        "cameras",
        "false",
        "Whether the twin renders and publishes its cameras; for a policy with images it always does.",
        ("true", "false"),
    ),
    Argument("headless", "true", "Whether to go without the live viewer.", ("true", "false")),
    Argument("trace", "", "File for the trace of the robot, written when it stops; empty: none."),
    Argument(
        "inference",
        "auto",
        "Where the policy thinks: within the control step, in a thread, or by what a warm-up finds.",
        ("auto", "step", "thread"),
    ),
    Argument(
        "journal",
        "",
        "Folder for what the policy saw and answered, for `reflexarc replay`; empty: none.",
    ),
)


def refuse_for_hardware(
    robot: Robot, arguments: Mapping[str, str], known: Mapping[str, str], *names: str
) -> None:
    """Refuse arguments that only a twin understands.

    Args:
        robot: the robot.
        arguments: complete.
        known: the defaults by name.
        names: the arguments of twins.

    Raises:
        ConfigError: one of them was given another value than its default, and the robot is no twin.
    """
    given = [name for name in names if arguments[name] != known[name]]
    if given and not robot.is_twin:
        raise ConfigError(
            f"{given[0]}:={arguments[given[0]]} with the robot {robot.card.name!r}",
            where="bring-up",
            expected=f"a twin: the driver {robot.card.driver!r} knows nothing of it",
            mend="leave it out, or run with robot:=twin",
        )


def twin_parameters(arguments: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of robot_node that come from the common arguments."""
    return {
        "seed": read_seed(arguments),
        "latency": arguments["latency"],
        "cameras": is_true(arguments, "cameras"),
        "view": not is_true(arguments, "headless"),
        "trace_path": arguments["trace"],
    }


def make_specs(
    robot: Robot,
    managed: Sequence[str],
    parameters: Mapping[str, dict[str, Any]],
    arguments: Mapping[str, str],
    *,
    stop_s: float = NodeSpec.stop_s,
) -> tuple[NodeSpec, ...]:
    """Describe the processes of a system, and the supervisor that brings them up.

    Args:
        robot: the robot.
        managed: the nodes in the order of their start.
        parameters: of each.
        arguments: complete.
        stop_s: how long the system may take to end.

    Returns:
        The processes, the supervisor last.
    """
    clock = arguments["clock"]
    remappings = () if clock == "/clock" else (("/clock", clock),)
    if is_true(arguments, "realtime"):
        parameters = {n: {**p, **_priority(n)} for n, p in parameters.items()}
    made = [
        NodeSpec(PACKAGE, n, n, robot.namespace, parameters[n], remappings, stop_s=stop_s) for n in managed
    ]
    supervisor = NodeSpec(
        PACKAGE,
        "supervisor_node",
        "supervisor_node",
        robot.namespace,
        {"managed": list(managed)},
        respawn=False,
    )
    return (*made, supervisor)


def _priority(name: str) -> dict[str, int]:
    priority = _PRIORITIES.get(name)
    return {} if priority is None else {"realtime_priority": priority}
