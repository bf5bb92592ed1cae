"""Protects the search for nodes that outlived their system."""

from reflexarc.checks import processes
from reflexarc.checks.finding import Level


def fake_process(proc, pid, *, parent, state="S", command=()):
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in command) + b"\0")
    (folder / "stat").write_text(f"{pid} (na me) x) {state} {parent} 1 1 0")
    (folder / "comm").write_text(command[0] + "\n")


def test_nodes_that_outlived_their_system(tmp_path, only):
    node = ["/venv/bin/python", "-m", "reflexarc_ros.gate_node", "--ros-args"]
    fake_process(tmp_path, 1, parent=0, command=["init"])
    fake_process(tmp_path, 50, parent=1, command=["sh"])
    fake_process(tmp_path, 101, parent=1, command=node)
    fake_process(
        tmp_path, 102, parent=50, state="T", command=["python3", "/opt/lib/reflexarc_ros/policy_node"]
    )
    fake_process(tmp_path, 103, parent=50, command=["python", "-m", "reflexarc_ros.robot_node"])
    fake_process(tmp_path, 104, parent=50, command=["vim", "/src/reflexarc_ros/node.py"])
    fake_process(tmp_path, 105, parent=1, state="Z", command=node)
    fake_process(tmp_path, 106, parent=103, command=node)
    findings = processes.check_processes(processes.read_processes(tmp_path, but=106))
    fault = only(findings, Level.FAIL)
    assert fault.sentence.startswith(
        "1 node(s) outlived the system that started them: pid 101 (/venv/bin/python -m reflexarc_ros"
    )
    assert fault.commands == ("kill 101",)
    stopped, *rest = [f for f in findings if f.level is Level.WARN]
    assert "1 node(s) are stopped: pid 102" in stopped.sentence
    assert stopped.commands == ("kill -CONT 102",)
    # 103 is an ancestor of the process that asks: the system it was started from.
    assert rest == []


def test_running_system_and_nothing_at_all(tmp_path, only):
    fake_process(tmp_path, 1, parent=0, command=["python", "-m", "reflexarc", "up", "arm"])
    fake_process(tmp_path, 7, parent=1, command=["python", "-m", "reflexarc_ros.robot_node"])
    found = only(processes.check_processes(processes.read_processes(tmp_path, but=99)), Level.WARN)
    assert found.sentence == "1 node(s) run now: pid 7 (python -m reflexarc_ros.robot_node)."
    assert only(processes.check_processes([]), Level.OK).sentence == "No node runs or was left behind."
