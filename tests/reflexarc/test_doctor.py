"""Protects the doctor as a user meets it: green on a good machine, seeded faults explained.

Each fault is real: files on disk, sockets, environment variables, broken libraries. The checks' other
verdicts are under test in `checks/`.
"""

import json
import mmap
import os
import subprocess
import sys

import pytest

from hardware.errors import ConfigError
from reflexarc.checks import ports, shared_memory
from reflexarc.checks.finding import Level
from reflexarc.doctor import CHECKS, DoctorConfig, run, run_check
from reflexarc.imports import GUARD
from reflexarc.output import Output


def test_doctor_is_green_here(run_cli):
    done = run_cli("doctor", "--json")
    document = json.loads(done.stdout)
    failed = [f for f in document["findings"] if f["level"] == "fail"]
    assert failed == []
    assert done.returncode == 0
    assert document["ok"] is True
    assert {f["check"] for f in document["findings"]} == set(CHECKS)
    assert document["machine"]["cores"] > 0
    assert all(f["mend"] for f in document["findings"] if f["level"] != "ok")


def test_doctor_shows_people_the_fault_the_mend_and_the_commands(run_cli):
    done = run_cli(
        "doctor", "--only", "rclpy", "--fix-hints", env={"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    )
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "fail rclpy" in text
    assert "RMW_IMPLEMENTATION asks for 'rmw_cyclonedds_cpp', which is not installed" in text
    assert "to mend: unset RMW_IMPLEMENTATION; the wheels bring rmw_fastrtps_cpp" in text
    assert "not ready: 1 failed, 0 warned, 0 fine" in text
    assert "commands that mend: unset RMW_IMPLEMENTATION" in text


def test_a_check_that_breaks_is_a_finding(monkeypatch, only):
    def broken():
        raise RuntimeError("no procfs")

    monkeypatch.setattr(ports, "read_listeners", broken)
    found = only(run_check("ports", DoctorConfig()), Level.FAIL)
    assert found.sentence == "The check itself broke: RuntimeError: no procfs"
    assert "reflexarc doctor --json --only ports" in found.mend


def test_unknown_check_is_bad_input():
    with pytest.raises(
        ConfigError, match=r"there is no check 'thunder'.*some of machine, clocks.*correct the name"
    ):
        run(DoctorConfig(only=("thunder",)), Output())


def test_card_with_a_missing_field(run_cli, robots, policy_root, edit):
    edit(robots / "quadrotor_twin.yaml", lambda card: card.pop("latency"))
    done = run_cli(
        "doctor", "--only", "cards", "--robots", str(robots), "--policies", str(policy_root), "--json"
    )
    assert done.returncode == 1
    (fault,) = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "fail"]
    assert fault["subject"] == "robot quadrotor_twin"
    assert fault["sentence"] == (
        f"{robots / 'quadrotor_twin.yaml'}: the field 'latency' is missing; expected a mapping."
    )
    assert fault["mend"] == "add 'latency'"


def test_policy_with_a_changed_hash(run_cli, robots, policy_root):
    weights = policy_root / "raptor" / "published" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = run_cli(
        "doctor", "--only", "cards", "--robots", str(robots), "--policies", str(policy_root), "--json"
    )
    assert done.returncode == 1
    (fault,) = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "fail"]
    assert fault["subject"] == "policy raptor/published"
    assert "the weights file 'model.safetensors' has SHA-256" in fault["sentence"]
    assert fault["mend"].startswith("fetch the file again, or export the policy anew")


def test_latency_that_the_policy_cannot_bear(run_cli, robots, policy_root, edit):
    edit(robots / "quadrotor_twin.yaml", lambda card: card["latency"]["observation"].update(mean_s=0.02))
    done = run_cli(
        "doctor", "--only", "bindings", "--robots", str(robots), "--policies", str(policy_root), "--json"
    )
    assert done.returncode == 1
    (fault,) = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "fail"]
    assert fault["subject"] == "raptor-published on quadrotor"
    assert "the robot's data is 23.3 ms old at the motor (p99, latency card)" in fault["sentence"]
    assert "at most max_loop_age_s = 5.0 ms" in fault["sentence"]
    assert fault["mend"] == "shorten the loop and measure it again, or choose a policy trained with delay"


def test_rclpy_that_another_environment_keeps_from_loading(run_cli):
    done = run_cli("doctor", "--only", "rclpy", "--json", env={GUARD: "1", "LD_LIBRARY_PATH": None})
    assert done.returncode == 1
    (fault,) = json.loads(done.stdout)["findings"]
    assert fault["sentence"].startswith("Rclpy cannot load: librcl_action.so is not on the loader's path")
    assert f"because {GUARD} is set in the environment" in fault["sentence"]
    assert f"env -u {GUARD} -u LD_LIBRARY_PATH reflexarc" in fault["mend"]
    assert fault["commands"] == [f"unset {GUARD} LD_LIBRARY_PATH"]


def test_busy_port_is_named_with_its_holder(run_cli, domain):
    port = ports.discovery_port(domain, 0)
    # A process of its own: this one may have loaded ROS, and would be taken for a participant.
    script = (
        "import socket, time\n"
        "held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"held.bind(('127.0.0.1', {port}))\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        done = run_cli("doctor", "--only", "ports", "--json", env={"ROS_DOMAIN_ID": str(domain)})
    finally:
        holder.kill()
        holder.wait()
    fault = next(f for f in json.loads(done.stdout)["findings"] if f["level"] == "warn")
    assert f"UDP port {port}, a discovery port of ROS domain {domain}, is held by" in fault["sentence"]
    assert f"(pid {holder.pid})" in fault["sentence"]
    assert fault["mend"] == "end the process or choose another ROS_DOMAIN_ID"


def test_two_onnxruntimes_on_the_path(run_cli, tmp_path):
    info = tmp_path / "onnxruntime_gpu-1.20.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.0\n")
    done = run_cli("doctor", "--only", "wheels", "--json", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    (fault,) = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "fail"]
    assert fault["sentence"] == (
        "onnxruntime and onnxruntime-gpu are installed together; they write the same files, and which one is"
        " loaded is chance."
    )
    assert fault["commands"] == [
        "uv pip uninstall onnxruntime onnxruntime-gpu",
        "uv pip install onnxruntime",
    ]


def test_graphics_library_that_cannot_be_loaded(run_cli, tmp_path):
    # The first names the loader tries; the plain one exists where Debian's -dev package is installed.
    for name in ("libEGL.so.1", "libEGL.so"):
        (tmp_path / name).write_bytes(b"")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("LD_LIBRARY_PATH", ""))))
    done = run_cli(
        "doctor",
        "--only",
        "rendering",
        "--json",
        env={"LD_LIBRARY_PATH": path, "MUJOCO_GL": "egl", GUARD: "1"},
    )
    assert done.returncode == 1
    (fault,) = json.loads(done.stdout)["findings"]
    assert fault["sentence"] == "No picture with egl: libEGL.so.1 cannot be loaded."
    assert fault["mend"] == "install the Debian package(s) libegl1"
    assert fault["commands"] == ["sudo apt-get install -y libegl1"]


def test_files_that_a_killed_process_left(tmp_path, only):
    for name in ("fastrtps_0123456789abcdef", "fastrtps_0123456789abcdef_el", "sem.fastrtps_port7411_mutex"):
        (tmp_path / name).write_bytes(bytes(2**20))
    (tmp_path / "other").write_bytes(b"x")
    (tmp_path / "fastrtps_fedcba9876543210").write_bytes(bytes(4096))
    with (tmp_path / "fastrtps_fedcba9876543210").open("r+b") as file, mmap.mmap(file.fileno(), 0):
        memory = shared_memory.read_shared_memory(tmp_path)
    found = only(shared_memory.check_shared_memory(memory), Level.WARN)
    assert memory.leftovers == (
        "fastrtps_0123456789abcdef",
        "fastrtps_0123456789abcdef_el",
        "sem.fastrtps_port7411_mutex",
    )
    assert "3 Fast DDS file(s) (3.0 MiB) of processes that were killed" in found.sentence
    assert found.mend == "remove them; no running process holds them"
    subprocess.run(found.commands[0], shell=True, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fastrtps_fedcba9876543210", "other"]
