"""Talks to a robot's operator over ROS 2: finds the robot, brings teleop_node up, knows what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from reflexarc_ros import qos
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.teleop import Operator, load_mapping, make_device
from reflexarc.graph import find_namespace

_NODE = "teleop_node"
_GATE = "/gate_node/reset_estop"
_POLL_S = 0.02
_ANSWER_S, _COME_UP_S = 10.0, 60.0
# rcl_interfaces: the value is true or false.
_BOOL = 1


class TeleopClient:
    """One robot with its operator, seen from outside; a context manager.

    Args:
        namespace: of the robot; empty: the only one in this ROS domain.
        search_s: how long to look for it.

    Raises:
        ConfigError: on entry: there is none, or there are several and none was chosen.
    """

    def __init__(self, namespace: str, *, search_s: float) -> None:
        """Join the graph."""
        self._wanted, self._search_s = namespace, search_s
        self._context = rclpy.Context()
        # The words of this process are not ROS's.
        self._context.init(args=[])
        self._node = rclpy.create_node("reflexarc_teleop", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self._running = True
        self._thread = threading.Thread(target=self._spin, name="teleop-client", daemon=True)
        self.namespace = ""
        # What teleop_node said last: its values on /diagnostics, and its message.
        self.status: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        """Find the robot."""
        self._thread.start()
        try:
            self.namespace = find_namespace(
                self._services,
                _GATE,
                wanted=self._wanted,
                search_s=self._search_s,
                what="robot",
                expected="a running system",
                mend="start one (reflexarc up arm policy:=none), or set ROS_DOMAIN_ID to its domain",
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_for_operator(self, timeout_s: float) -> bool:
        """Whether a teleop_node runs for the robot.

        Args:
            timeout_s: how long to look for it.

        Returns:
            Whether it was found.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if f"{self.namespace}/{_NODE}/change_state" in self._services():
                return True
        return False

    def release_stop(self) -> tuple[bool, str]:
        """Release the gate's emergency stop; gives whether it was done, and the answer in words."""
        answer = self._call(Trigger, _GATE, Trigger.Request())
        if answer is None:
            return False, "the gate does not answer"
        return bool(answer.success), f"emergency stop {answer.message}"

    def parameters(self, device: str, options: str) -> dict[str, Any]:
        """Make the parameters of a teleop_node that joins, and see that its mapping fits the robot.

        Args:
            device: a device, or the YAML file of a mapping.
            options: of the device, JSON.

        Returns:
            Names and values.

        Raises:
            ConfigError: the gate does not answer, the mapping does not fit, or the robot is a vehicle whose
                reference somebody else gives.
        """
        from reflexarc_ros.teleop_node import read_options

        names = ("card", "interface", "use_sim_time")
        answer = self._call(GetParameters, "/gate_node/get_parameters", GetParameters.Request(names=names))
        if answer is None:
            raise ConfigError(
                f"the gate of {self.namespace} does not answer",
                where="reflexarc teleop",
                expected="its parameters",
                mend="try again when the system is up",
            )
        values = dict(zip(names, answer.values, strict=True))
        card = load_robot_card(values["card"].string_value)
        interface = values["interface"].string_value or next(iter(card.commands))
        mapping = load_mapping(device if device.endswith(".yaml") else f"{device}_{card.kind}")
        if Operator(mapping, card, interface).binding.vehicle is not None:
            raise ConfigError(
                f"{self.namespace} is a vehicle: something else gives its reference already",
                where=f"reflexarc teleop {device}",
                expected="an operator from the start",
                mend=f"reflexarc up quadrotor teleop:={device}",
            )
        make_device(mapping, read_options(options, "reflexarc teleop")).close()
        is_simulated = values["use_sim_time"].type == _BOOL and values["use_sim_time"].bool_value
        return {
            "card": values["card"].string_value,
            "interface": interface,
            "mapping": device if device.endswith(".yaml") else mapping.name,
            "options": options,
            "use_sim_time": is_simulated,
        }

    def activate(self, is_alive: Callable[[], bool]) -> None:
        """Bring teleop_node up.

        Args:
            is_alive: whether its process lives.

        Raises:
            ConfigError: it does not come up.
        """
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            if not self._change(transition, is_alive):
                raise ConfigError(
                    f"teleop_node of {self.namespace} does not come up",
                    where="reflexarc teleop",
                    expected="a node that accepts its parameters",
                    mend="see what it says above",
                )

    def deactivate(self) -> None:
        """Let the operator leave on purpose."""
        self._change(Transition.TRANSITION_DEACTIVATE, lambda: True)

    def _change(self, transition: int, is_alive: Callable[[], bool]) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self._call(ChangeState, f"/{_NODE}/change_state", request, _COME_UP_S, is_alive)
        return answer is not None and bool(answer.success)

    def _call(
        self,
        kind: Any,  # noqa: ANN401
        service: str,
        request: Any,  # noqa: ANN401
        timeout_s: float = _ANSWER_S,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> Any:  # noqa: ANN401
        """The answer of a service, or None."""
        client = self._node.create_client(kind, f"{self.namespace}{service}")
        deadline_s = time.monotonic() + timeout_s
        while not client.service_is_ready():
            if time.monotonic() > deadline_s or not is_alive():
                return None
            time.sleep(_POLL_S)
        future = client.call_async(request)
        while not future.done():
            if time.monotonic() > deadline_s or not is_alive():
                return None
            time.sleep(_POLL_S)
        return future.result()

    def _services(self) -> list[str]:
        time.sleep(_POLL_S)
        return [name for name, _ in self._node.get_service_names_and_types()]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.namespace}/{_NODE}".lstrip("/"):
                words = status.message.partition(": ")[2] or status.message
                self.status = {**{v.key: v.value for v in status.values}, "message": words}

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)
