"""Protects the runtime over ROS 2: what was published in real time comes out of the journal bit for bit, and
a policy server that dies, lies or dawdles stops the arm within its limits and says why.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from reflexarc_ros import qos
from reflexarc_ros.chunks import ChunkCodec
from reflexarc_ros.runner import SystemRunner
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from hardware.cards import load_robot_card
from policies.bc.policy import PICK_CUBE
from policies.policy import ActContext
from policies.registry import load_policy
from policies.runtime.frames import Frame, decode, encode
from policies.runtime.journal_file import JournalReader
from policies.runtime.packing import pack_chunk, unpack_observation
from policies.runtime.remote import PolicyServer, ServerConfig, new_token
from policies.runtime.remote.messages import PROTOCOL, plain_generator
from policies.runtime.replay import load_for, replay
from tests.reflexarc_ros.conftest import Client, wait_for

pytestmark = pytest.mark.ros
JOINTS = load_robot_card("so101_twin").commands["joints"]


@contextlib.contextmanager
def arm(arguments, domain_id):
    lines = []
    with SystemRunner(
        "arm", arguments, on_line=lambda name, line: lines.append(f"[{name}] {line}"), domain_id=domain_id
    ) as runner:
        runner.lines = lines
        yield runner
    assert not any("Traceback" in line for line in lines), "\n".join(lines)


def until(condition, runner, timeout_s=90.0):
    assert wait_for(condition, timeout_s), "\n".join(runner.lines)


@pytest.fixture
def watcher(domain_id):
    made = Client(domain_id, "/so101")
    yield made
    made.close()


def test_what_was_published_in_real_time_comes_out_of_the_journal_again(domain_id, watcher, tmp_path):
    published = {}
    codec = ChunkCodec(JOINTS.kind, JOINTS.names)

    def note(raw):
        published[codec.decode(raw, source="policy").start_ns] = raw

    watcher.node.create_subscription(
        JointTrajectory, "command/policy", note, qos.command(None, None), raw=True
    )
    arguments = {"journal": str(tmp_path), "inference": "thread", "seed": "3"}
    with arm(arguments, domain_id) as runner:
        until(lambda: len(published) > 60, runner)
        assert any("it thinks in a thread of its own" in line for line in runner.lines)
        # A second activation is a second journal; a process that is killed leaves what is on the disk.
        time.sleep(0.6)
        os.kill(runner.pid("policy_node"), signal.SIGKILL)
        until(lambda: len(list(tmp_path.glob("policy_000001.mcap*"))) == 1, runner)
        before = len(published)
        until(lambda: len(published) > before + 30, runner)
    encoded = {}
    complete = []
    for path in sorted(tmp_path.glob("policy_*.mcap*")):
        journal = JournalReader(path)
        controller = load_for(journal, None, steady_clock=time.monotonic_ns)
        report = replay(
            journal,
            controller,
            on_step=lambda step, chunk: chunk is None or encoded.update({chunk.start_ns: chunk}),
        )
        controller.close()
        complete.append(report.is_complete)
        assert report.is_identical, report.first_difference
        assert report.commands > 20
    assert complete == [False, True]
    # Every published command that the journals hold; that of the killed process may lack its last chunk.
    compared = [stamp for stamp in published if stamp in encoded]
    assert len(compared) > 60
    for stamp in compared:
        # The numbers on the wire; what CDR leaves between them to align them is anybody's.
        was, again = codec.decode(published[stamp], source="policy"), encoded[stamp]
        assert was.values.tobytes() == again.values.tobytes()
        assert (was.names, was.end_ns) == (again.names, again.end_ns)
    last = json.loads(
        subprocess.run(
            [sys.executable, "-m", "reflexarc", "replay", str(sorted(tmp_path.glob("*.mcap"))[-1]), "--json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert last["ok"]
    assert last["differences"] == 0


# --- a policy server -----------------------------------------------------------------------------


class Moody:
    """The cloned policy, that can be told to take 500 ms longer."""

    def __init__(self):
        self._policy = load_policy(PICK_CUBE)
        self.card, self.state, self.slow, self.asked = self._policy.card, {}, False, 0
        self.heard = ""

    def load_state(self, state):
        pass

    def reset(self, seed=None):
        pass

    def act(self, observation, *, context):
        self.asked += 1
        self.heard = context.instruction
        if self.slow:
            time.sleep(0.5)
        return self._policy.act(observation, context=context)


@contextlib.contextmanager
def lying(port, card):
    """A server that says hello as it should and answers with noise, some of it well-formed."""
    import yaml
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    from hardware import schema

    random = np.random.default_rng(1)
    policy = load_policy(PICK_CUBE)

    def answer(frame):
        if random.random() < 0.3:
            return random.bytes(200)
        seen = unpack_observation(frame, stamp_ns=frame.fields["stamp_ns"], received_steady_ns=0)
        chunk = policy.act(seen, context=ActContext(now_ns=0))
        values = random.uniform(-30.0, 30.0, chunk.values.shape)
        fields, arrays = pack_chunk(chunk.with_values(values * (np.nan if random.random() < 0.2 else 1.0)))
        rng = plain_generator(np.random.default_rng(1))
        times = {"number": frame.fields["number"], "age_s": 0.0, "deadline_s": 0.1, "rng": rng}
        return encode(Frame("chunk", {**fields, **times}, arrays))

    def session(connection):
        with contextlib.suppress(ConnectionClosed):
            plain = yaml.safe_load(schema.dump(card))
            connection.send(encode(Frame("hello", {"protocol": PROTOCOL, "card": plain})))
            for data in connection:
                frame = decode(data)
                if frame.kind == "act":
                    connection.send(answer(frame))

    with serve(session, "127.0.0.1", port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield


def test_a_policy_server_killed_lying_or_slow_is_no_danger(domain_id, watcher, tmp_path):
    token = tmp_path / "token"
    new_token(token)
    server = subprocess.Popen(
        [sys.executable, "-m", "reflexarc", "serve", "policy", "bc/pick_cube", "--json", "--port", "0",
         "--token-file", str(token)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = json.loads(server.stdout.readline())["url"]
    port = int(url.rsplit(":", 1)[1])
    Path(tmp_path / "remote.yaml").write_text(
        f"schema: reflexarc/controller/1\nbase: {url}\n"
        "options: {token_file: token, deadline_s: 0.4}\nschedule: {blend_s: 0.08, interpolation: linear}\n"
    )
    speeds, told, healths = [], [], []
    watcher.node.create_subscription(
        JointState, "joint_states", lambda message: speeds.append(max(map(abs, message.velocity))), qos.SENSOR
    )

    def on_diagnostics(message):
        for status in message.status:
            if status.name.endswith("policy_node"):
                told.append(status.message)
                healths.append({value.key: value.value for value in status.values})

    watcher.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos.DIAGNOSTICS)

    def told_since(mark, text):
        return lambda: any(text in message for message in told[mark:])

    try:
        arguments = {
            "policy": str(tmp_path / "remote.yaml"),
            "inference": "thread",
            "instruction": "pick up the cube",
        }
        with arm(arguments, domain_id) as runner:

            def passes():
                return sum("commands pass again" in line for line in runner.lines)

            until(lambda: passes() >= 1, runner)
            until(lambda: max(speeds, default=0.0) > 0.1, runner)
            # Killed: its last chunk ends, the gate holds, the node says why.
            mark, stops = len(told), sum("safe action: staleness" in line for line in runner.lines)
            server.kill()
            server.wait()
            until(told_since(mark, "is not connected"), runner)
            until(told_since(mark, "cannot be reached"), runner)
            until(lambda: sum("safe action: staleness" in x for x in runner.lines) > stops, runner)
            assert wait_for(lambda: max(speeds[-10:]) < 0.05, 30.0)
            # In its place one that lies.
            card = load_policy(PICK_CUBE).card
            mark = len(told)
            with lying(port, card):
                until(told_since(mark, "sent something wrong"), runner)
                time.sleep(1.0)
            # A true one again, which then takes half a second more than it should.
            moody = Moody()
            with PolicyServer(
                moody,
                token=token.read_text().strip(),
                config=ServerConfig(port=port),
                steady_clock=time.monotonic_ns,
            ):
                until(lambda: moody.asked > 5, runner)
                # It is told what is to be done, also when somebody says something else.
                assert moody.heard == "pick up the cube"
                said = watcher.node.create_publisher(String, "instruction", qos.LATCHED)
                said.publish(String(data="push left"))
                until(lambda: moody.heard == "push left", runner)
                mark, stops = len(told), sum("safe action: staleness" in line for line in runner.lines)
                moody.slow = True
                until(told_since(mark, "has not answered within 0."), runner)
                until(lambda: sum("safe action: staleness" in x for x in runner.lines) > stops, runner)
                before, moody.slow = passes(), False
                until(lambda: passes() > before, runner)
                assert runner.restarts("policy_node") == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    limit = max(limit.velocity for limit in JOINTS.limits.values())
    # The joints follow their commands with servos that overshoot; these turn at 4.7 rad/s at most.
    assert max(speeds) < 1.5 * limit
    assert healths[-1]["inference"] == "thread"
