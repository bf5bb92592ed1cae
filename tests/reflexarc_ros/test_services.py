"""Protects service calls: no answer is lost while discovery is under way, and nothing is asked twice."""

import time

import pytest
from rcl_interfaces.srv import GetParameters
from rclpy.task import Future
from reflexarc_ros.services import ServiceCaller
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros


class Server:
    """A server's side of two clients: it drops the first answers, not knowing the reader yet."""

    def __init__(self, *, dropped):
        self.dropped, self.asked, self.made, self.forgotten = dropped, [], [], 0

    def create_client(self, kind, name):
        self.made.append((kind, name))
        return Client(self, kind)


class Client:
    def __init__(self, server, kind):
        self.server, self.kind = server, kind

    def service_is_ready(self):
        return True

    def call_async(self, request):
        future = Future()
        self.server.asked.append(self.kind)
        if len(self.server.asked) > self.server.dropped:
            future.set_result(self.kind.Response())
        return future

    def remove_pending_request(self, future):
        self.server.forgotten += 1


@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_the_question_is_asked_once_and_after_an_answered_greeting(dropped):
    server = Server(dropped=dropped)
    caller = ServiceCaller(server, Trigger, "robot_node/land")
    assert isinstance(caller.call(Trigger.Request(), spin=time.sleep, timeout_s=30), Trigger.Response)
    assert server.asked == [GetParameters] * (dropped + 1) + [Trigger]
    assert server.forgotten == dropped


def test_the_greeting_is_announced_after_the_question():
    server = Server(dropped=0)
    ServiceCaller(server, Trigger, "robot_node/land")
    assert server.made == [(Trigger, "robot_node/land"), (GetParameters, "robot_node/get_parameters")]


def test_a_server_that_never_answers_is_not_asked_for_anything_with_consequences():
    server = Server(dropped=10**9)
    caller = ServiceCaller(server, Trigger, "robot_node/land")
    assert caller.call(Trigger.Request(), spin=time.sleep, timeout_s=0.7) is None
    assert Trigger not in server.asked


def test_a_real_service_answers_and_one_that_is_not_there_does_not(client):
    node = client.node
    node.create_service(Trigger, "~/bell", lambda _, response: Trigger.Response(success=True, message="rung"))
    bell = ServiceCaller(node, Trigger, "test_client/bell")
    assert bell.call(Trigger.Request(), spin=time.sleep, timeout_s=30).message == "rung"
    whistle = ServiceCaller(node, Trigger, "test_client/whistle")
    assert whistle.call(Trigger.Request(), spin=time.sleep, timeout_s=0.3) is None
