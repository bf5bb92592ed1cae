"""A new episode begins for everybody at once: nobody acts meanwhile, and nobody remembers the last one."""

import time

import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
from reflexarc_ros.runner import SystemRunner
from std_srvs.srv import Trigger

from hardware import load_robot_card
from reflexarc.demos.observer import Observer
from sim.twin.trace import Trace

pytestmark = pytest.mark.ros
CARD = load_robot_card("so101_twin")


def episode_runs(observer, number):
    status = observer.status("supervisor_node")
    return status.message == "all active" and status.values.get("episode") == str(number)


def test_the_supervisor_resets_the_robot_between_two_episodes(tmp_path, domain_id, client):
    path = tmp_path / "arm.npz"
    lines, seen = [], []
    runner = SystemRunner(
        "arm",
        {"trace": str(path)},
        on_line=lambda n, line: lines.append(f"[{n}] {line}"),
        domain_id=domain_id,
    )
    with runner, Observer(CARD, namespace="so101", domain_id=domain_id) as observer:

        def watch():
            message = observer.status("robot_node").message
            if not seen or seen[-1] != message:
                seen.append(message)

        def wait(is_there, timeout_s=90.0):
            assert observer.wait_for(is_there, timeout_s=timeout_s, every=watch), "\n".join(lines)

        wait(lambda: episode_runs(observer, 0))
        end_s = time.monotonic() + 2.5
        wait(lambda: time.monotonic() > end_s)
        stamp_ns = observer.latest.stamp_ns
        # Asked twice at once, it begins one.
        ask = client.node.create_client(Trigger, "/so101/supervisor_node/new_episode")
        client.call(GetParameters, "/so101/supervisor_node/get_parameters", GetParameters.Request())
        asked = [ask.call_async(Trigger.Request()) for _ in range(2)]
        wait(lambda: all(future.done() for future in asked))
        answers = [future.result() for future in asked]
        assert [answer.success for answer in answers] == [True, False], answers
        wait(lambda: episode_runs(observer, 1))
        first = Trace.load(path)
        end_s = time.monotonic() + 1.5
        wait(lambda: time.monotonic() > end_s)
        assert episode_runs(observer, 1)
        assert observer.latest.stamp_ns > stamp_ns
        assert "inactive" in seen
    second = Trace.load(path)
    # Time went on, the trace began anew, and the cube lies somewhere else.
    assert second.time_ns[0] >= first.time_ns[-1]
    assert len(first.command_values) > 50
    assert np.linalg.norm(first.qpos[0, 6:8] - second.qpos[0, 6:8]) > 0.005
