"""`reflexarc vehicle`: arm, disarm, take off and land a running vehicle, where there is no `ros2` command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from reflexarc.graph import find_namespace
from reflexarc.imports import add_ros_package
from reflexarc.output import Output

_SUFFIX = "/robot_node/arm"
# What is asked for: the service, and what a SetBool service is told.
_SERVICES: dict[str, tuple[str, bool | None]] = {
    "arm": ("arm", True),
    "disarm": ("arm", False),
    "take-off": ("take_off", None),
    "land": ("land", None),
}


@dataclass(frozen=True)
class VehicleConfig:
    """What to ask for."""

    # What the vehicle is to do.
    request: Annotated[Literal["arm", "disarm", "take-off", "land"], tyro.conf.Positional]
    # Its namespace; none: the only vehicle there is in this ROS domain.
    namespace: str = ""
    # How long to look for it, and how long to wait for the answer, seconds.
    search_s: float = 5.0
    timeout_s: float = 60.0


def run(config: VehicleConfig, output: Output) -> int:
    """Ask the vehicle and print its answer.

    Args:
        config: what to ask for.
        output: where the answer goes.

    Returns:
        0 when it has happened, 1 when it was refused or not answered.

    Raises:
        ConfigError: no vehicle, or several and none chosen; an rclpy that cannot load, an RMW_IMPLEMENTATION
            or a ROS_DOMAIN_ID that is none.
    """
    from reflexarc.checks import ports, ros

    ros.require_rmw(os.environ)
    ports.require_domain(os.environ)
    add_ros_package()
    from reflexarc_ros.bringup import environment

    os.environ.update(environment())
    import rclpy
    from reflexarc_ros.services import ServiceCaller
    from std_srvs.srv import SetBool, Trigger

    service, value = _SERVICES[config.request]
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("reflexarc_vehicle", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        namespace = _find(node, config, executor)
        kind = Trigger if value is None else SetBool
        request = Trigger.Request() if value is None else SetBool.Request(data=value)
        answer = ServiceCaller(node, kind, f"{namespace}/robot_node/{service}").call(
            request,
            spin=lambda timeout_s: executor.spin_once(timeout_sec=timeout_s),
            timeout_s=config.timeout_s,
        )
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    success = answer is not None and bool(answer.success)
    message = f"no answer within {config.timeout_s:g} s" if answer is None else str(answer.message)
    output.result({"ok": success, "vehicle": namespace, "request": config.request, "message": message})
    if not output.json:
        output.console.print(f"{namespace}: {message}", markup=False)
    return 0 if success else 1


def _find(node: Any, config: VehicleConfig, executor: Any) -> str:  # noqa: ANN401
    """The vehicle's namespace."""

    def names() -> list[str]:
        executor.spin_once(timeout_sec=0.1)
        return [name for name, _ in node.get_service_names_and_types()]

    return find_namespace(
        names,
        _SUFFIX,
        wanted=config.namespace,
        search_s=config.search_s,
        what="vehicle",
        expected="a running system with a flight controller",
        mend="start one (reflexarc up quadrotor robot:=px4_peer), or set ROS_DOMAIN_ID to its domain",
    )
