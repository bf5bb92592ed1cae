"""The system `quadrotor`: the twin, or a vehicle behind a flight controller, which may be a simulated one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.reference import as_points, make_program, make_trajectory
from policies.card import Binding, bind
from policies.controller import base_card
from policies.planning import Ability, load_course, make_course
from reflexarc_ros.peers import find_peer
from reflexarc_ros.recorder_system import RECORD, with_recorder
from reflexarc_ros.system import (
    COMMON,
    Argument,
    NodeSpec,
    Robot,
    System,
    between,
    find_policy,
    find_robot,
    make_specs,
    read_seed,
    refuse_for_hardware,
    split,
    to_number,
    twin_parameters,
)
from reflexarc_ros.teleop_system import TELEOP, find_mapping, teleop_parameters

# The policy that is flown where the user names none, by what the vehicle can be told.
DEFAULT_POLICIES = {
    CommandKind.MOTOR: "raptor/reflexarc",
    CommandKind.RATES_THRUST: "tracking/rates",
    CommandKind.REFERENCE: "reference/stream",
}
# A simulated flight controller whose name begins like this flies RAPTOR by itself, from references.
_ONBOARD = "raptor_"
# Landing included.
_STOP_S = 60.0
_ARGUMENTS = (
    *COMMON,
    Argument(
        "policy",
        "",
        "Policy folder or controller file; empty: what suits the robot"
        f" ({', '.join(DEFAULT_POLICIES.values())}). Where RAPTOR flies onboard: which one.",
    ),
    Argument(
        "airframe",
        "",
        "Airframe of the twin or of a simulated vehicle (crazyflie, x500_real, ...); empty: as on the card.",
    ),
    Argument("rate", "0", "Rate of the loop in Hz; 0: as on the card."),
    Argument(
        "reference",
        "hover",
        "What to fly; waypoints stops at each of them, minimum_snap flies through them without a stop.",
        ("hover", "figure_eight", "waypoints", "minimum_snap"),
    ),
    Argument("program", "", "Parts flown in order, e.g. 'hover 10; figure_eight 5.5 22'; empty: none."),
    Argument("height", "1.0", "Flying height in metres; a vehicle takes off to it."),
    Argument("period", "10.0", "Time for one loop of the figure eight, in seconds."),
    Argument(
        "waypoints",
        "0,0,1; 1,0,1; 1,1,1; 0,0,1",
        "x,y,z of each waypoint in metres, in turn; or a YAML file: 'waypoints: [[0, 0, 1], [1, 0, 1]]'.",
    ),
    Argument("speed", "1.0", "Mean speed of minimum_snap between waypoints, in m/s."),
    Argument("gust", "", "A gust in the twin: start_s,duration_s,fx,fy,fz (newtons); empty: none."),
    *TELEOP,
    *RECORD,
)
_DEFAULTS = {a.name: a.default for a in _ARGUMENTS}


def _build(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    robot = find_robot(arguments, twin_card="quadrotor_twin")
    rate_hz = between(arguments, "rate", 0, 2000)
    reference = _reference(arguments, robot)
    peer = find_peer(robot.card)
    policy, onboard = _policies(robot, arguments["policy"], peer)
    binding = _bind(policy, robot)
    refuse_for_hardware(robot, arguments, _DEFAULTS, "pace", "latency", "cameras", "headless", "gust")
    if arguments["airframe"]:
        from sim.quadrotor.airframes import load_airframe

        load_airframe(arguments["airframe"])
        if not (robot.is_twin or peer):
            refuse_for_hardware(robot, arguments, _DEFAULTS, "airframe")
    parameters: dict[str, dict[str, Any]] = {
        "gate_node": {**robot.shared, "rate_hz": rate_hz, "interface": binding.interface_name},
        "policy_node": {
            **robot.shared,
            "rate_hz": rate_hz,
            "policy": str(policy),
            "seed": read_seed(arguments),
            "airframe": arguments["airframe"],
            "inference": arguments["inference"],
            "journal": arguments["journal"],
        },
        **_leader(arguments, robot, binding.interface_name, reference),
        # Who makes the time does not listen to its own clock.
        "robot_node": {
            **robot.shared,
            "use_sim_time": False,
            "rate_hz": rate_hz,
            "interface": binding.interface_name,
            "airframe": arguments["airframe"],
            "gust": _gust(arguments),
            "take_off_height_m": reference["height_m"],
            **twin_parameters(arguments),
        },
    }
    leader = "teleop_node" if arguments["teleop"] else "reference_node"
    managed = ["gate_node", "policy_node", leader, "robot_node"]
    if peer:
        parameters["peer_node"] = {
            "card": robot.card_path,
            "airframe": arguments["airframe"],
            "policy": onboard,
            "trace_path": _truth(arguments["trace"]),
        }
        managed.insert(0, "peer_node")
    stop_s = NodeSpec.stop_s if robot.is_twin else _STOP_S
    managed, parameters = with_recorder(robot, managed, parameters, arguments)
    return make_specs(robot, managed, parameters, arguments, stop_s=stop_s)


def _leader(
    arguments: Mapping[str, str], robot: Robot, interface: str, reference: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Who says where to fly: a program, or an operator in its place."""
    begin = "activation" if robot.is_twin else "airborne"
    mapping = find_mapping(arguments, robot, interface)
    if not mapping:
        return {
            "reference_node": {
                **robot.shared,
                **reference,
                "airframe": arguments["airframe"],
                "begin": begin,
            }
        }
    return {
        "teleop_node": {
            **teleop_parameters(arguments, robot, mapping),
            "interface": interface,
            "begin": begin,
            "height_m": reference["height_m"],
        }
    }


def _bind(policy: Path, robot: Robot) -> Binding:
    return bind(base_card(policy), robot.card)


def _policies(robot: Robot, name: str, peer: str) -> tuple[Path, str]:
    """The policy of policy_node, and that of a simulated flight controller that flies one (or empty)."""
    kinds = [spec.kind for spec in robot.card.commands.values()]
    suited = [DEFAULT_POLICIES[kind] for kind in kinds if kind in DEFAULT_POLICIES]
    if not name and not suited:
        raise ConfigError(
            f"the robot {robot.card.name!r} is commanded by {', '.join(kind.value for kind in kinds)}",
            where="argument 'robot'",
            expected="a quadrotor: one of " + ", ".join(kind.value for kind in DEFAULT_POLICIES),
            mend="choose another robot, or the system that it belongs to",
        )
    if not name:
        return find_policy(suited[0]), ""
    policy = find_policy(name)
    kind = base_card(policy).action.kind
    if peer.startswith(_ONBOARD) and kind is CommandKind.MOTOR and kind not in kinds:
        return find_policy(DEFAULT_POLICIES[CommandKind.REFERENCE]), str(policy)
    return policy, ""


def _reference(arguments: Mapping[str, str], robot: Robot) -> dict[str, Any]:
    """The parameters of reference_node, made once so that what cannot be flown is refused now."""
    program = split(arguments["program"], ";")
    name = "program" if program else arguments["reference"]
    height_m, period_s = between(arguments, "height", 0.2, 20), between(arguments, "period", 1, 120)
    speed_m_s, waypoints = between(arguments, "speed", 0.05, 20), _waypoints(arguments["waypoints"])
    if name == "program":
        make_program(program, height_m=height_m)
    elif name == "minimum_snap":
        ability = Ability.of(robot.card, arguments["airframe"])
        make_course(as_points(waypoints), speed_m_s=speed_m_s, height_m=height_m, ability=ability)
    else:
        make_trajectory(name, height_m=height_m, period_s=period_s, waypoints=waypoints)
    return {
        "reference": name,
        "height_m": height_m,
        "period_s": period_s,
        "speed_m_s": speed_m_s,
        "waypoints": waypoints,
        **({"program": program} if program else {}),
    }


def _waypoints(text: str) -> list[float]:
    """The numbers of waypoints that are typed, or in a file."""
    if text.endswith((".yaml", ".yml")):
        return [number for point in load_course(text).waypoints for number in point]
    return [to_number("waypoints", n) for p in split(text, ";") for n in split(p, ",")]


def _gust(arguments: Mapping[str, str]) -> list[float]:
    gust = [to_number("gust", part) for part in split(arguments["gust"], ",")] or [0.0]
    if arguments["gust"] and len(gust) != 5:
        raise ConfigError(
            f"gust is {arguments['gust']!r}",
            where="bring-up",
            expected="five numbers: start_s,duration_s,fx,fy,fz",
            mend="correct the value",
        )
    return gust


def _truth(trace: str) -> str:
    """Where a simulated vehicle writes what it truly did, beside what was measured."""
    return str(Path(trace).with_suffix(".truth.npz")) if trace else ""


QUADROTOR = System(
    "quadrotor",
    "A quadrotor flown by RAPTOR or another policy: the twin, Betaflight, PX4 or a Crazyflie.",
    _ARGUMENTS,
    _build,
)
