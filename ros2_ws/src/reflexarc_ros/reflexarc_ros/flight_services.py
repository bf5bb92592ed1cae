"""Arming, take-off and landing as services, and poses from outside: on a thread of their own.

A service answers when what was asked for has happened, or says why it has not, which may take seconds. The
node's own thread hands commands over meanwhile, and poses go on reaching a vehicle that lands while the node
is being stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from hardware.errors import Refusal
from reflexarc_ros.external_pose import PoseInput

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import RobotNode
    from reflexarc_ros.vehicle_drive import VehicleDrive

# The services of robot_node that vehicles have, and their types.
FLIGHT_SERVICES = {"arm": SetBool, "take_off": Trigger, "land": Trigger}
_POLL_S = 0.02
_DISARM_TIMEOUT_S = 3.0
# How many services may wait at the same time.
_AT_ONCE = 3


class FlightServices:
    """Offers `~/arm`, `~/take_off` and `~/land` of a node, and listens to the external pose.

    Args:
        node: whose services they are.
        drive: does what they ask for.
        pose: takes poses from outside.
    """

    def __init__(self, node: RobotNode, drive: VehicleDrive, pose: PoseInput) -> None:
        """Begin to answer."""
        self._log, self._drive = node.get_logger(), drive
        self._take_off_height_m = lambda: float(node.setting("take_off_height_m"))
        name = node.get_fully_qualified_name()
        # The process's own arguments name the robot's node; these two have names of their own.
        space = {
            "namespace": node.get_namespace(),
            "context": node.context,
            "use_global_arguments": False,
        }
        # One that waits for a landing must not hold up another that is to disarm.
        together = ReentrantCallbackGroup()
        self._node = rclpy.create_node(f"{node.get_name()}_flight", **space)
        answers = {"arm": self._arm, "take_off": self._take_off, "land": self._land}
        for service, kind in FLIGHT_SERVICES.items():
            self._node.create_service(
                kind, f"{name}/{service}", self._answering(service, answers[service]), callback_group=together
            )
        self._pose_node = rclpy.create_node(f"{node.get_name()}_pose", **space)
        pose.subscribe(self._pose_node, node.resolve_topic_name(pose.topic) if pose.topic else "")
        self._running = True
        self._threads = [
            self._spin(self._node, MultiThreadedExecutor(_AT_ONCE, context=node.context)),
            self._spin(self._pose_node, EventsExecutor(context=node.context)),
        ]

    def close(self) -> None:
        """Withdraw everything."""
        self._running = False
        for thread in self._threads:
            thread.join(2.0)
        self._node.destroy_node()
        self._pose_node.destroy_node()

    def _spin(self, node: Node, executor: Any) -> threading.Thread:  # noqa: ANN401
        """Serve a node in a thread."""
        executor.add_node(node)

        def serve() -> None:
            try:
                while self._running:
                    executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                pass
            finally:
                executor.remove_node(node)
                executor.shutdown()

        thread = threading.Thread(target=serve, name=node.get_name(), daemon=True)
        thread.start()
        return thread

    def _answering(self, service: str, answer: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
        """Wrap a handler: what it says is the answer, what it refuses too."""

        def call(request: Any, response: Any) -> Any:  # noqa: ANN401
            try:
                response.message = answer(request)
                response.success = True
            except Refusal as error:
                response.success, response.message = False, str(error)
            self._log.info(f"{service}: {response.message}")
            return response

        return call

    # --- the services ------------------------------------------------------------------------

    def _arm(self, request: SetBool.Request) -> str:
        drive = self._drive
        if not request.data:
            drive.disarm()
            self._wait(lambda: not drive.status.armed, _DISARM_TIMEOUT_S, "the firmware did not disarm")
            return "disarmed"
        drive.arm()
        self._wait(lambda: drive.status.armed, drive.arm_timeout_s, "the firmware did not arm")
        return "armed"

    def _take_off(self, request: Trigger.Request) -> str:
        drive, height_m = self._drive, self._take_off_height_m()
        drive.take_off(height_m)
        began_s = time.monotonic()
        self._wait(lambda: not drive.is_climbing, drive.take_off_timeout_s + 1.0, "the vehicle did not climb")
        if not drive.is_airborne:
            raise Refusal(f"the take-off ended early: {self._why()}")
        return f"{height_m:g} m up after {time.monotonic() - began_s:.1f} s, ready for commands"

    def _land(self, request: Trigger.Request) -> str:
        drive = self._drive
        drive.land("asked for")
        began_s = time.monotonic()
        self._wait(lambda: not drive.status.armed, drive.land_timeout_s, "the vehicle is still armed")
        return f"landed and disarmed after {time.monotonic() - began_s:.1f} s"

    def _wait(self, is_there: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_there():
            if time.monotonic() >= deadline_s or not self._running:
                why = self._why()
                raise Refusal(f"{otherwise} within {timeout_s:g} s" + (f": {why}" if why else ""))
            time.sleep(_POLL_S)

    def _why(self) -> str:
        """What the vehicle says about itself."""
        status = self._drive.status
        problem = str(getattr(self._drive.robot, "problem", ""))
        blockers = "; ".join(status.arming_blockers)
        return problem or self._drive.safe_stopped or blockers or f"mode {status.mode}"
