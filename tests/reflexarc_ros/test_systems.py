"""Whole systems: they come up, survive what can happen to processes and wires, and leave nothing behind."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from reflexarc_ros.bringup import SYSTEMS, nodes, parse_arguments
from reflexarc_ros.runner import SystemRunner

import hardware.cards
from hardware import ConfigError
from reflexarc.benches.faults import FaultsBench, measure


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize(
    ("system", "arguments", "text"),
    [
        ("submarine", {}, "there is no system 'submarine'"),
        ("quadrotor", {"colour": "red"}, "unknown argument 'colour'"),
        ("quadrotor", {"pace": "slow"}, "pace is 'slow'. Expected one of real_time, lockstep"),
        ("quadrotor", {"robot": "no_such_card"}, "there is no robot card 'no_such_card'"),
        ("quadrotor", {"robot": "so101_twin"}, "the robot 'so101' is commanded by joint_position"),
        ("quadrotor", {"policy": "raptor/none"}, "there is no policy 'raptor/none'"),
        ("quadrotor", {"airframe": "zeppelin"}, "zeppelin"),
        ("quadrotor", {"rate": "often"}, "rate is 'often'"),
        ("quadrotor", {"policy": "bc/pick_cube"}, "the policy was made for robots of kind 'arm'"),
        ("arm", {"policy": "raptor/published"}, "the policy was made for robots of kind 'quadrotor'"),
        ("quadrotor", {"headless": "false"}, "there is no display for the live viewer"),
        (
            "quadrotor",
            {"namespace": "my drone"},
            "the namespace 'my drone'. Expected letters, digits and",
        ),
        ("quadrotor", {"namespace": "drone/2nd"}, "the namespace 'drone/2nd'. Expected letters"),
        ("arm", {"namespace": "a//b"}, "argument 'namespace': the namespace 'a//b'. Expected letters"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(monkeypatch, system, arguments, text):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError) as raised:
        nodes(system, arguments)
    assert text in str(raised.value)
    assert "To mend" in str(raised.value)


@pytest.mark.parametrize("name", ["drone_1", "/fleet/drone_1", "fleet/drone_1/"])
def test_a_namespace_that_ros_takes_is_taken(name):
    assert {spec.namespace for spec in nodes("quadrotor", {"namespace": name})} == {"/" + name.strip("/")}


def test_a_robot_whose_name_is_no_namespace_needs_one(tmp_path):
    card = yaml.safe_load((Path(hardware.cards.__path__[0]) / "quadrotor_twin.yaml").read_text())
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(card | {"name": "my drone"}))
    with pytest.raises(ConfigError) as raised:
        nodes("quadrotor", {"robot": str(path)})
    assert "the name 'my drone', which is the namespace too" in str(raised.value)
    assert nodes("quadrotor", {"robot": str(path), "namespace": "mine"})[0].namespace == "/mine"


def test_arguments_are_written_name_equals_value():
    assert parse_arguments("quadrotor", ["robot:=twin", "rate:=400"]) == {"robot": "twin", "rate": "400"}
    with pytest.raises(ConfigError, match="'twin' is not an argument. Expected name:=value"):
        parse_arguments("quadrotor", ["twin"])


def test_every_system_describes_its_arguments():
    for system in SYSTEMS.values():
        assert all(a.description.endswith(".") for a in system.arguments)
        specs = nodes(system.name, {})
        assert specs[-1].name == "supervisor_node"
        assert specs[-1].parameters["managed"][-1] == "robot_node"


def abandoned():
    """Shared-memory segments of Fast DDS whose owner is gone: nobody holds their lock."""
    found = set()
    for name in os.listdir("/dev/shm"):
        if name.startswith("fastrtps_") and name.endswith("_el"):
            with contextlib.suppress(FileNotFoundError), open(f"/dev/shm/{name}") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                found.add(name)
    return found


@pytest.mark.ros
def test_a_killed_policy_comes_back_and_nothing_is_left_behind(domain_id):
    before = abandoned()
    lines = []
    runner = SystemRunner(
        "quadrotor",
        {"height": "1.5"},
        on_line=lambda n, line: lines.append(f"[{n}] {line}"),
        domain_id=domain_id,
    )
    with runner:
        assert wait_for(lambda: any("all active" in line for line in lines)), "\n".join(lines)
        assert wait_for(lambda: any("commands pass again" in line for line in lines)), "\n".join(lines)
        pids = [runner.pid(spec.name) for spec in runner.specs]
        os.kill(runner.pid("policy_node"), signal.SIGKILL)
        assert wait_for(lambda: sum("commands pass again" in line for line in lines) >= 2), "\n".join(lines)
        assert runner.restarts("policy_node") == 1
        assert any("safe action" in line for line in lines)
    assert not runner.is_running
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert not any("Traceback" in line for line in lines), "\n".join(lines)
    assert abandoned() <= before, "shared memory was left behind"


@pytest.mark.ros
def test_a_stopped_process_is_killed_and_replaced(domain_id):
    lines = []
    with SystemRunner(
        "quadrotor", {}, on_line=lambda n, line: lines.append(f"[{n}] {line}"), domain_id=domain_id
    ) as runner:
        assert wait_for(lambda: any("commands pass again" in line for line in lines)), "\n".join(lines)
        os.kill(runner.pid("policy_node"), signal.SIGSTOP)
        assert wait_for(lambda: runner.restarts("policy_node") == 1), "\n".join(lines)
        assert any("has been silent" in line for line in lines)
        assert wait_for(lambda: sum("commands pass again" in line for line in lines) >= 2), "\n".join(lines)


@pytest.mark.ros
def test_all_twelve_faults_over_ros_end_in_the_safe_action_and_the_vehicle_flies_again():
    """The bench itself fails where a fault is not answered, or the vehicle does not follow again."""
    report = measure(FaultsBench(repeats=1), lambda done, total: None)
    assert len(report.rows) == 12
