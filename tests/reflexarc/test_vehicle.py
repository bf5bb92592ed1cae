"""Protects `reflexarc vehicle`: it finds the vehicle, asks it, and tells what it answers."""

import json
import threading

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from reflexarc_ros.domain import OwnDomain
from std_srvs.srv import SetBool, Trigger

from reflexarc import cli

pytestmark = pytest.mark.ros


@pytest.fixture
def domain(monkeypatch):
    with OwnDomain() as own:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(own.id))
        yield own.id


@pytest.fixture
def vehicles(domain):
    """Stand-ins for vehicles' services, in a thread; keeps what was asked."""
    context = rclpy.Context()
    context.init(domain_id=domain)
    executor = SingleThreadedExecutor(context=context)
    nodes, asked, running = [], [], threading.Event()

    def answer(name, *, success=True, message="done"):
        def call(request, response):
            asked.append((name, getattr(request, "data", None)))
            response.success, response.message = success, message
            return response

        return call

    def add(namespace, **arm):
        node = rclpy.create_node("robot_node", namespace=f"/{namespace}", context=context)
        node.create_service(SetBool, "~/arm", answer(f"{namespace} arm", **arm))
        for name in ("take_off", "land"):
            node.create_service(Trigger, f"~/{name}", answer(f"{namespace} {name}"))
        nodes.append(node)
        executor.add_node(node)

    def spin():
        while not running.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield add, asked
    running.set()
    thread.join()
    executor.shutdown()
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_the_only_vehicle_is_asked_and_its_answer_told(vehicles, capsys):
    add, asked = vehicles
    add("px4")
    assert cli.main(["vehicle", "take-off", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "ok": True,
        "vehicle": "/px4",
        "request": "take-off",
        "message": "done",
    }
    assert cli.main(["vehicle", "disarm"]) == 0
    assert "/px4: done" in capsys.readouterr().out
    assert asked == [("px4 take_off", None), ("px4 arm", False)]


def test_a_refusal_is_told_with_its_reason_and_exit_code_1(vehicles, capsys):
    add, _ = vehicles
    add("betaflight", success=False, message="it will not arm: RXLOSS: it receives no radio control")
    assert cli.main(["vehicle", "arm"]) == 1
    assert "RXLOSS: it receives no radio control" in capsys.readouterr().out


def test_of_several_vehicles_one_must_be_chosen(vehicles, capsys):
    add, asked = vehicles
    add("left")
    add("right")
    assert cli.main(["vehicle", "land", "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["what"] == "there are 2 vehicles: /left, /right"
    assert cli.main(["vehicle", "land", "--namespace", "right"]) == 0
    assert asked == [("right land", None)]


def test_without_a_vehicle_it_says_how_to_start_one(domain, capsys):
    assert cli.main(["vehicle", "arm", "--search-s", "0.3", "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["what"] == "there is no vehicle"
    assert error["where"] == f"ROS domain {domain}"
