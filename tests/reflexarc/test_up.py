"""Protects `reflexarc up`: the lists, bad input before anything starts, the logs, and every way to stop."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reflexarc import cli
from reflexarc.checks import ports
from reflexarc.imports import GUARD
from reflexarc.output import Output
from reflexarc.up import Log

ROOT = Path(__file__).parents[2]


def nodes_of(pid):
    """The processes that a command line has started."""
    mark = f"REFLEXARC_PARENT={pid}\0".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def test_systems_and_their_arguments_are_listed(run_cli):
    text = run_cli("up").stdout
    assert "quadrotor  A quadrotor flown by RAPTOR or another policy" in text
    assert re.search(r"robot:=\s+twin, or the name or path of a robot card", text)
    assert "arm  An SO-101 arm" in text

    document = json.loads(run_cli("up", "--json").stdout)
    systems = {system["name"]: system for system in document["systems"]}
    assert {"quadrotor", "arm"} <= set(systems)
    pace = next(a for a in systems["quadrotor"]["arguments"] if a["name"] == "pace")
    assert pace["default"] == "real_time"
    assert pace["choices"] == ["real_time", "lockstep"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["submarine"], "there is no system 'submarine'"),
        (["quadrotor", "robot"], "'robot' is not an argument"),
        (["quadrotor", "robott:=twin"], "unknown argument 'robott'"),
        (["quadrotor", "pace:=warp"], "pace is 'warp'"),
        (["quadrotor", "robot:=heron"], "there is no robot card 'heron'"),
        (["quadrotor", "policy:=none/such"], "there is no policy 'none/such'"),
        (["quadrotor", "robot:=so101_twin"], "the robot 'so101' is commanded by joint_position"),
    ],
)
def test_bad_input_exits_with_2_before_anything_starts(capsys, words, what):
    assert cli.main(["up", *words, "--json"]) == 2
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert what in [error["what"] for error in errors]
    assert all(error["mend"] for error in errors)
    assert nodes_of(os.getpid()) == []


def test_no_display_is_bad_input(capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["up", "quadrotor", "headless:=false"]) == 2
    text = capsys.readouterr().err
    assert "error: there is no display for the live viewer" in text
    assert "run with headless:=true" in text


def test_card_with_faults_is_bad_input(capsys, robots, edit):
    card = robots / "quadrotor_twin.yaml"
    edit(card, lambda data: data["latency"]["command"].update(mean_s=0.5))
    assert cli.main(["up", "quadrotor", f"robot:={card}"]) == 2
    assert "ms old at the motor (p99, latency card)" in capsys.readouterr().err
    edit(card, lambda data: data.pop("commands"))
    assert cli.main(["up", "quadrotor", f"robot:={card}"]) == 2
    assert "the field 'commands' is missing" in capsys.readouterr().err


def test_policy_with_another_hash_is_bad_input(capsys, policy_root):
    weights = policy_root / "raptor" / "published" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert cli.main(["up", "quadrotor", f"policy:={weights.parent}"]) == 2
    assert "the weights file 'model.safetensors' has SHA-256" in capsys.readouterr().err


def test_rclpy_that_cannot_load_is_bad_input(run_cli):
    done = run_cli("up", "quadrotor", env={GUARD: "1", "LD_LIBRARY_PATH": None})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: rclpy cannot load: librcl_action.so is not on the loader's path")
    assert f"env -u {GUARD} -u LD_LIBRARY_PATH reflexarc" in done.stderr


@pytest.mark.parametrize("words", [("up", "quadrotor"), ("vehicle", "arm"), ("demo", "--headless")])
def test_a_middleware_that_is_not_there_is_bad_input(run_cli, words):
    done = run_cli(*words, env={"RMW_IMPLEMENTATION": "rmw_nope_cpp"})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: RMW_IMPLEMENTATION is 'rmw_nope_cpp', which is not installed")
    assert "expected  rmw_fastrtps_cpp, or another ROS middleware" in done.stderr
    assert "to mend   unset RMW_IMPLEMENTATION, or install that middleware" in done.stderr


@pytest.mark.parametrize("words", [("up", "quadrotor"), ("vehicle", "arm")])
@pytest.mark.parametrize("domain_id", ["500", "-1", "1.5"])
def test_a_domain_that_is_none_is_bad_input(run_cli, words, domain_id):
    done = run_cli(*words, env={"ROS_DOMAIN_ID": domain_id})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: ROS_DOMAIN_ID is {domain_id!r}; a domain is a whole number from 0")
    assert "to mend   set ROS_DOMAIN_ID to a number from 0 to 101, or unset it" in done.stderr


def test_a_card_with_numbers_and_names_that_cannot_be_is_bad_input(capsys, robots, edit):
    card = robots / "quadrotor_twin.yaml"

    def spoil(data):
        data["observations"]["position"]["topic"] = "my odom"
        data["observations"]["orientation"]["rate_hz"] = 0
        data["commands"]["motors"]["rate_hz"] = 1e308

    edit(card, spoil)
    assert cli.main(["up", "quadrotor", f"robot:={card}"]) == 2
    text = " ".join(capsys.readouterr().err.split())
    for told in (
        "the topic 'my odom' is not a ROS name",
        "quadrotor_twin.yaml: observations.position (topic)",
        "rate_hz 0.0 is not positive",
        "quadrotor_twin.yaml: observations.orientation (observations)",
        "rate_hz 1e+308 is too large",
        "quadrotor_twin.yaml: commands.motors (commands)",
    ):
        assert told in text


def test_busy_ports_are_bad_input(capsys, monkeypatch, hold, domain):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    for number in range(25):
        hold(ports.discovery_port(domain, number))
    assert cli.main(["up", "quadrotor"]) == 2
    text = capsys.readouterr().err
    assert f"error: 25 of the 32 discovery ports of ROS domain {domain}" in text
    assert f"(pid {os.getpid()}); a system needs 8" in text
    assert "to mend   end these processes or choose another ROS_DOMAIN_ID" in text
    monkeypatch.setenv("ROS_DOMAIN_ID", "twelve")
    assert cli.main(["up", "quadrotor"]) == 2
    assert "error: ROS_DOMAIN_ID is 'twelve'" in capsys.readouterr().err
    assert nodes_of(os.getpid()) == []


def test_log_lines_have_prefix_and_colour():
    plain = Log(["gate_node", "robot"], Output(), colour=False)
    assert plain.format("robot", "up") == "    robot | up"
    assert plain.format("gate_node", "up") == "gate_node | up"
    colour = Log(["gate_node", "robot"], Output(), colour=True)
    assert colour.format("gate_node", "up") == "\033[36mgate_node |\033[0m up"
    assert colour.format("robot", "[WARN] x") == "\033[35m    robot |\033[0m \033[33m[WARN] x\033[0m"
    machine = Log(["robot"], Output(json=True), colour=True)
    assert json.loads(machine.format("robot", 'say "ä"')) == {"node": "robot", "line": 'say "ä"'}


KEY_PROGRAM = """
import time
from reflexarc.up import stop_by_key, stop_by_signal
try:
    with stop_by_signal(), stop_by_key() as has_key:
        print("watching", has_key, flush=True)
        while True:  # in short sleeps, as the runner waits
            time.sleep(0.02)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def read_until(terminal, text, timeout_s=120.0):
    got, deadline = "", time.monotonic() + timeout_s
    while text not in got:
        left = deadline - time.monotonic()
        assert left > 0, got
        if select.select([terminal], [], [], left)[0]:
            got += os.read(terminal, 4096).decode()
    return got


def in_terminal(command, **environment):
    ours, theirs = pty.openpty()
    # A controlling terminal, as a shell gives it: keys reach the process group in the foreground.
    helper = "import os, pty, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", helper, *command],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


@pytest.mark.parametrize("press", ["q", "Q", "\x03"])
def test_keys_stop(press):
    process, terminal = in_terminal([sys.executable, "-c", KEY_PROGRAM])
    try:
        read_until(terminal, "watching True")
        os.write(terminal, b"x")
        os.write(terminal, press.encode())
        read_until(terminal, "stopped")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_stop_and_without_a_terminal_no_key_is_watched(number):
    process = subprocess.Popen(
        [sys.executable, "-c", KEY_PROGRAM],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "watching False\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == "stopped\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.ros
def test_quadrotor_comes_up_and_q_stops_it_and_leaves_nothing(domain):
    process, terminal = in_terminal(
        [sys.executable, "-m", "reflexarc", "up", "quadrotor", "robot:=twin"],
        ROS_DOMAIN_ID=str(domain),
        NO_COLOR="1",
    )
    try:
        head = read_until(terminal, "Ctrl-C stops")
        assert "reflexarc | quadrotor: gate_node, policy_node, reference_node, robot_node" in head
        assert "; q or Ctrl-C stops" in head
        read_until(terminal, "all active")
        nodes = nodes_of(process.pid)
        assert len(nodes) == 5
        os.write(terminal, b"q")
        read_until(terminal, "reflexarc | stopping")
        assert process.wait(timeout=90) == 0
        assert [pid for pid in nodes if Path(f"/proc/{pid}").exists()] == []
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@pytest.mark.ros
def test_up_in_json_speaks_json_alone(domain):
    process = subprocess.Popen(
        [sys.executable, "-m", "reflexarc", "up", "quadrotor", "--json"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    try:
        lines = [json.loads(process.stdout.readline())]
        while "all active" not in lines[-1]["line"]:
            lines.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {"exit_code": 0}
    assert {line["node"] for line in lines} >= {"reflexarc", "supervisor_node"}
