"""Protects `reflexarc teleop`: it joins a running robot, shows it, lets go in order, and refuses in words."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from reflexarc_ros.domain import OwnDomain
from reflexarc_ros.runner import SystemRunner

from reflexarc import cli

pytestmark = pytest.mark.ros
PATIENCE_S = 60.0


@pytest.fixture
def domain(monkeypatch):
    with OwnDomain() as own:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(own.id))
        yield own.id


def wait_for(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return False


def run(capsys, *words):
    code = cli.main(["teleop", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    code, document = run(capsys, *words)
    assert code == 2
    return document["errors"][0]


def test_without_a_robot_it_says_how_to_start_one(domain, capsys):
    error = refused(capsys, "keyboard", "--search-s", "0.3")
    assert error["what"] == "there is no robot"
    assert error["where"] == f"ROS domain {domain}"
    assert "reflexarc up arm policy:=none" in error["mend"]


def test_an_operator_joins_a_robot_is_seen_and_leaves_in_order(domain, capsys):
    lines = []
    arguments = {"policy": "none", "realtime": "false"}
    with SystemRunner("arm", arguments, on_line=lambda n, line: lines.append(line), domain_id=domain):
        assert wait_for(lambda: any("all active" in line for line in lines)), lines
        assert refused(capsys, "--search-s", "1")["what"] == "nobody teleoperates /so101"
        what = refused(capsys, "theremin")["what"]
        assert what == "there is no mapping of 'theremin' to robots of kind 'arm'"
        assert "unknown option 'hue'" in refused(capsys, "browser", "--options", '{"hue": 1}')["what"]
        assert "options is 'blue'" in refused(capsys, "browser", "--options", "blue")["what"]
        process = subprocess.Popen(
            [sys.executable, "-m", "reflexarc", "teleop", "browser", "--options", '{"port": 0}', "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )
        try:
            said = []
            while not any("http://127.0.0.1" in line for line in said):
                line = process.stderr.readline()
                assert line, said
                said.append(line)
            code, document = run(capsys, "--seconds", "2")
            assert code == 0
            assert document["robot"] == "/so101"
            assert document["status"]["device"] == "browser"
            assert document["status"]["state"] == "lost"
            assert refused(capsys, "browser")["what"] == "/so101 has an operator already"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
            assert json.loads(process.stdout.read())["ok"]
        finally:
            if process.poll() is None:
                process.kill()
            process.stderr.close()
            process.stdout.close()
            process.wait()
        assert not any("estop" in line for line in lines), lines
        code, document = run(capsys, "--release-stop")
        assert code == 0
        assert document["message"] == "emergency stop released"
        assert cli.main(["teleop", "--release-stop"]) == 0
        assert "/so101: emergency stop released" in capsys.readouterr().out
