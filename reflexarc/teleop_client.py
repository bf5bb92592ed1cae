"""Talks to a robot's operator over ROS 2: finds the robot, brings teleop_node up, knows what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from reflexarc_ros import qos
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.teleop import Operator, load_mapping, make_device, mapping_name
from reflexarc.graph_client import GraphClient

_NODE = "teleop_node"
_RESET = "gate_node/reset_estop"
_ANSWER_S, _COME_UP_S = 10.0, 60.0
# rcl_interfaces: the value is true or false.
_BOOL = 1


class TeleopClient(GraphClient):
    """One robot with its operator, seen from outside; a context manager.

    Args:
        namespace: of the robot; empty: the only one in this ROS domain.
        search_s: how long to look for it.

    Raises:
        ConfigError: on entry: there is none, or there are several and none was chosen.
    """

    def __init__(self, namespace: str, *, search_s: float) -> None:
        """Join the graph."""
        super().__init__(
            "reflexarc_teleop",
            f"/{_RESET}",
            namespace=namespace,
            search_s=search_s,
            what="robot",
            expected="a running system",
            mend="start one (reflexarc up arm policy:=none), or set ROS_DOMAIN_ID to its domain",
        )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        # What teleop_node said last: its values on /diagnostics, and its message.
        self.status: Mapping[str, str] = {}

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
        answer = self._call(Trigger, _RESET, Trigger.Request(), timeout_s=_ANSWER_S)
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
        from reflexarc_ros.teleop_options import read_options

        names = ("card", "interface", "use_sim_time")
        request = GetParameters.Request(names=names)
        answer = self._call(GetParameters, "gate_node/get_parameters", request, timeout_s=_ANSWER_S)
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
        mapping = load_mapping(mapping_name(device, card))
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
        service = f"{_NODE}/change_state"
        answer = self._call(ChangeState, service, request, timeout_s=_COME_UP_S, is_alive=is_alive)
        return answer is not None and bool(answer.success)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.namespace}/{_NODE}".lstrip("/"):
                words = status.message.partition(": ")[2] or status.message
                self.status = {**{v.key: v.value for v in status.values}, "message": words}
