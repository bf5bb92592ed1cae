"""Lockstep over ROS 2 and lockstep in one process are the same run: ROS adds nothing but the wire."""

import time

import numpy as np
import pytest
from reflexarc_ros.runner import SystemRunner

from hardware.cards.library import load_robot_card
from hardware.reference import FigureEight, Hover, sequence
from policies.controller import load_controller
from policies.raptor import PUBLISHED
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin
from sim.twin.trace import Trace

STEPS = 400
# Lockstep time begins here (robot_node).
START_NS = 1_000_000_000

pytestmark = pytest.mark.ros


def fly_over_ros(path, domain_id, lines):
    arguments = {
        "pace": "lockstep",
        "seed": "3",
        "reference": "figure_eight",
        "period": "5.5",
        "latency": "none",
        "trace": str(path),
    }
    with SystemRunner(
        "quadrotor",
        arguments,
        on_line=lambda name, line: lines.append(f"[{name}] {line}"),
        domain_id=domain_id,
    ):
        deadline_s = time.monotonic() + 60.0
        while not any("all active" in line for line in lines) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        time.sleep(5.0)
    return Trace.load(path)


def test_the_same_seed_gives_the_same_commands_as_in_one_process(tmp_path, domain_id):
    lines = []
    over_ros = fly_over_ros(tmp_path / "ros.npz", domain_id, lines)
    count = len(over_ros.command_values)
    assert count >= STEPS, "\n".join(lines)

    card = load_robot_card("quadrotor_twin")
    twin = QuadrotorTwin(card, seed=3, latency=NONE, start_ns=START_NS)
    centre = (0.0, 0.0, 1.0)
    take_off = Hover(centre, start_m=(0.0, 0.0, 0.0), duration_s=5.0)
    run_lockstep(
        twin,
        load_controller(PUBLISHED, card, steady_clock=lambda: 0),
        make_gate(card),
        # The first two observations meet a gate that has not given the motors away yet.
        steps=count + 3,
        reference=sequence([take_off, FigureEight(centre, 5.5)]),
    )
    in_process = twin.trace()
    assert len(in_process.command_values) >= count
    assert np.array_equal(over_ros.command_time_ns, in_process.command_time_ns[:count])
    assert over_ros.command_values.tobytes() == in_process.command_values[:count].tobytes()
