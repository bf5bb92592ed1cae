"""Lockstep over ROS 2 is seeded and bit-reproducible, and is the very run that one process gives."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reflexarc_ros.runner import SystemRunner
from reflexarc_ros.twin_drive import LOCKSTEP_START_NS, TwinDrive
from rosgraph_msgs.msg import Clock

import policies
from hardware import load_robot_card
from hardware.reference import make_trajectory
from policies.controller import load_controller
from recording import Episode
from recording.folder import finished
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin
from sim.twin.trace import Trace

STEPS = 300
POLICIES = Path(policies.__file__).parent
EIGHT = {"reference": "figure_eight", "period": "5.5"}

pytestmark = pytest.mark.ros


def run_over_ros(system, arguments, domain_id, client, path):
    """Run in lockstep for at least STEPS steps; returns what the twin recorded."""
    lines, ticks = [], []
    # Never taken back: a thread waits on it, and the client ends with the test.
    client.node.create_subscription(Clock, "/clock", lambda m: ticks.append(m.clock), 10)
    with SystemRunner(
        system,
        {"pace": "lockstep", "trace": str(path), **arguments},
        on_line=lambda n, line: lines.append(f"[{n}] {line}"),
        domain_id=domain_id,
    ) as runner:
        # Lockstep runs as fast as the machine can: one tick a step.
        deadline_s = time.monotonic() + 240.0
        while len(ticks) < STEPS + 50 and time.monotonic() < deadline_s:
            assert runner.is_running, "\n".join(lines)
            time.sleep(0.05)
    trace = Trace.load(path)
    assert len(trace.time_ns) >= STEPS, "\n".join(lines)
    return trace


def assert_same(one, other):
    n = min(len(one.command_values), len(other.command_values))
    assert n > 0.5 * STEPS
    assert np.array_equal(one.command_time_ns[:n], other.command_time_ns[:n])
    assert one.command_values[:n].tobytes() == other.command_values[:n].tobytes()


def burn(seconds):
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


def test_same_seed_same_commands_bit_for_bit_even_beside_busy_loops(tmp_path, domain_id, client):
    arguments = {**EIGHT, "latency": "card"}
    first = run_over_ros("quadrotor", {**arguments, "seed": "3"}, domain_id, client, tmp_path / "first.npz")
    busy = [multiprocessing.get_context("spawn").Process(target=burn, args=(40.0,)) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        second = run_over_ros(
            "quadrotor", {**arguments, "seed": "3"}, domain_id, client, tmp_path / "second.npz"
        )
    finally:
        for process in busy:
            process.kill()
            process.join()
    other = run_over_ros("quadrotor", {**arguments, "seed": "4"}, domain_id, client, tmp_path / "other.npz")
    assert_same(first, second)
    m = min(len(first.command_values), len(other.command_values))
    assert first.command_values[:m].tobytes() != other.command_values[:m].tobytes()
    # The vehicle really flies: it has left the ground.
    assert first.qpos[:, 2].max() > 0.5


@pytest.mark.parametrize("system", ["quadrotor", "arm"])
def test_ros_and_one_process_give_the_same_commands_bit_for_bit(tmp_path, domain_id, client, system):
    across = run_over_ros(
        system,
        {"seed": "5", **(EIGHT if system == "quadrotor" else {})},
        domain_id,
        client,
        tmp_path / "trace.npz",
    )
    if system == "quadrotor":
        card, folder = load_robot_card("quadrotor_twin"), "raptor/reflexarc"
        twin = QuadrotorTwin(card, seed=5, latency=NONE, start_ns=LOCKSTEP_START_NS)
        reference = make_trajectory("figure_eight", height_m=1.0, period_s=5.5, waypoints=[])
    else:
        card, folder = load_robot_card("so101_twin"), "bc/pick_cube/controller.yaml"
        twin = ArmTwin(card, seed=5, latency=NONE, start_ns=LOCKSTEP_START_NS)
        reference = None
    controller = load_controller(POLICIES / folder, card, steady_clock=time.monotonic_ns)
    controller.reset(5)
    with twin:
        run_lockstep(twin, controller, make_gate(card), steps=STEPS, reference=reference)
        assert_same(across, twin.trace())


def test_a_recording_misses_no_step_however_late_its_recorder_is(tmp_path, domain_id):
    """The recorder stands still again and again: the twin waits for it, in its own time nothing happens."""
    lines = []
    with SystemRunner(
        "arm",
        {"pace": "lockstep", "record": str(tmp_path), "record_begin": "activation"},
        on_line=lambda n, line: lines.append(f"[{n}] {line}"),
        domain_id=domain_id,
    ) as runner:

        def wait_for(is_there):
            deadline_s = time.monotonic() + 120.0
            while not is_there():
                assert runner.is_running, "\n".join(lines)
                assert time.monotonic() < deadline_s, "\n".join(lines)
                time.sleep(0.02)

        def size():
            return sum(path.stat().st_size for path in tmp_path.glob("episode_*"))

        wait_for(lambda: any("begins" in line for line in lines))
        for _ in range(4):
            before = size()
            wait_for(lambda before=before: size() > before + 20_000)
            os.kill(runner.pid("recorder_node"), signal.SIGSTOP)
            time.sleep(0.4)
            os.kill(runner.pid("recorder_node"), signal.SIGCONT)
        before = size()
        wait_for(lambda: size() > before + 20_000)
    episode = Episode.open(finished(tmp_path)[0])
    for topic in ("joint_states", "cube_pose", "command/policy", "gate/command", "policy/base/action"):
        stamps_ns = np.array([message.stamp_ns for message in episode.raw_messages((topic,))])
        assert len(stamps_ns) > 200, topic
        assert set(np.diff(np.unique(stamps_ns))) == {20_000_000}, topic


class OneRobot:
    """What a drive asks of its node, with a recorder that is as far behind as a test says."""

    def __init__(self):
        self.is_lockstep, self.settings, self.lag_steps, self.published, self.warnings = True, (), 0, 0, []
        self.is_deaf = False
        self.values = {"latency": "none", "seed": 0, "interface": "", "view": False, "liveness_s": 0.2}
        self.settings = [SimpleNamespace(name=name) for name in self.values]

    def setting(self, name):
        return self.values[name]

    def publish(self, observation):
        self.published += 1

    def publish_clock(self, now_ns):
        pass

    def offer_images(self):
        pass

    def check_publishers(self, steady_ns):
        pass

    def recorder_lag_ns(self, stamp_ns):
        return self.lag_steps * 20_000_000

    def has_deaf_recorder(self):
        return self.is_deaf

    def get_logger(self):
        return SimpleNamespace(warning=self.warnings.append)

    def get_fully_qualified_name(self):
        return "/so101/robot_node"


def test_the_twin_waits_for_a_recorder_and_gives_it_up_in_the_end():
    node = OneRobot()
    drive = TwinDrive(node, load_robot_card("so101_twin"))
    drive.connect()
    drive.start()

    def answer():
        from reflexarc_ros.chunks import Nothing

        drive.take(Nothing(drive.robot.read().stamp_ns), time.monotonic_ns())

    answer()
    assert node.published == 2
    node.lag_steps = 51
    answer()
    answer()
    assert node.published == 2, "the recorder is behind: the next step waits"
    drive.watch()
    assert node.published == 2
    node.lag_steps = 50
    drive.heard()
    assert node.published == 3
    # One that never comes back costs liveness_s once.
    node.lag_steps = 51
    answer()
    assert node.published == 3
    deadline_s = time.monotonic() + 30.0
    while node.published == 3 and time.monotonic() < deadline_s:
        drive.watch()
    assert node.published == 4
    assert "has not caught up within 0.2 s" in node.warnings[0]
    answer()
    assert node.published == 5
    assert len(node.warnings) == 1
    # Until it has caught up.
    node.lag_steps = 0
    answer()
    node.lag_steps = 51
    answer()
    assert node.published == 6
    drive.close()


def test_the_first_step_waits_until_every_recorder_hears_it_but_not_for_ever():
    from reflexarc_ros.chunks import Nothing

    node = OneRobot()
    node.is_deaf = True
    drive = TwinDrive(node, load_robot_card("so101_twin"))
    drive.connect()
    drive.start()
    first_ns = drive.robot.read().stamp_ns
    drive.take(Nothing(first_ns), time.monotonic_ns())
    assert drive.robot.read().stamp_ns == first_ns, "a recorder was matched late: nothing moves yet"
    # It is asked for again, as whenever nobody answers a first step.
    published = node.published
    drive.watch()
    assert node.published == published + 1
    node.is_deaf = False
    drive.take(Nothing(first_ns), time.monotonic_ns())
    assert drive.robot.read().stamp_ns > first_ns
    drive.close()
    # One that never hears costs half of liveness_s.
    node.is_deaf = True
    drive = TwinDrive(node, load_robot_card("so101_twin"))
    drive.connect()
    drive.start()
    deadline_s = time.monotonic() + 30.0
    while drive.robot.read().stamp_ns == first_ns and time.monotonic() < deadline_s:
        drive.take(Nothing(first_ns), time.monotonic_ns())
    assert drive.robot.read().stamp_ns > first_ns
    drive.close()
