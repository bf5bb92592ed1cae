"""Protects the verdicts on rclpy and on messages between two participants."""

import dataclasses
import os

import pytest

from reflexarc.checks import ports, ros
from reflexarc.checks.finding import Level
from reflexarc.checks.probe import ProbeResult
from reflexarc.imports import GUARD


def test_rclpy_that_is_not_there(tmp_path, only):
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'rclpy'\", name='rclpy')\n"
    )
    result = ros.probe_rclpy({**os.environ, "PYTHONPATH": str(tmp_path)})
    found = only(ros.check_rclpy(lambda: result), Level.FAIL)
    assert "the module 'rclpy' is not installed" in found.sentence.lower()
    assert "pip install 'reflexarc[ros]'" in found.mend
    assert "source a ROS 2 distribution" in found.mend


def test_rclpy_whose_library_is_broken(tmp_path, only):
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text(
        "raise ImportError('librcl_action.so: cannot open shared object file: No such file or directory')\n"
    )
    result = ros.probe_rclpy(
        {k: v for k, v in os.environ.items() if k != GUARD} | {"PYTHONPATH": str(tmp_path)}
    )
    result = dataclasses.replace(result, environment={})
    found = only(ros.check_rclpy(lambda: result), Level.FAIL)
    assert (
        found.sentence == "Rclpy cannot load: librcl_action.so is missing; expected the ROS wheels, whole."
        or ("librcl_action.so is missing" in found.sentence)
    )
    assert "make setup" in found.mend


def test_distribution_sourced_beside_the_wheels(only):
    result = ProbeResult(
        {"loaded": True, "path": "/venv/rclpy/__init__.py", "rmw": "rmw_fastrtps_cpp"},
        0,
        environment={"ROS_DISTRO": "jazzy"},
    )
    found = only(ros.check_rclpy(lambda: result), Level.WARN)
    assert "ROS jazzy is sourced, and yet rclpy comes from /venv/rclpy" in found.sentence


def test_participants_that_cannot_find_each_other(only, hold, domain):
    # Localhost discovery looks for 32 participants; with all of their ports taken, ours come to lie beyond.
    for number in range(40):
        hold(ports.discovery_port(domain, number))
        hold(ports.discovery_port(domain, number) + 1)
    result = ros.probe_loopback(domain, match_s=1.5)
    found = only(ros.check_loopback(lambda: result), Level.FAIL)
    ports_found = only(ports.check_ports(ports.read_listeners(), domain), Level.FAIL)
    assert found.sentence.startswith("Two participants on this machine did not find each other in")
    assert "free the discovery ports" in found.mend
    # The other check names the cause.
    assert f"32 of the 32 discovery ports of ROS domain {domain}" in ports_found.sentence
    assert f"(pid {os.getpid()})" in ports_found.sentence
    assert ports_found.mend == "end these processes or choose another ROS_DOMAIN_ID"
    assert ports_found.commands == (f"export ROS_DOMAIN_ID={domain + 1}",)


@pytest.mark.parametrize(
    ("report", "level", "words"),
    [
        (None, Level.FAIL, "could not be started: exit code 1"),
        (
            {"matched": True, "match_s": 0.1, "sent": 50, "heard": 48},
            Level.FAIL,
            "2 of 50 messages were lost",
        ),
        (
            {"matched": True, "match_s": 0.1, "sent": 50, "heard": 50, "p50_s": 0.05, "worst_s": 0.2},
            Level.WARN,
            "there and back takes 50.00 ms (p50), 200.00 ms (worst): too slow",
        ),
        (
            {"matched": True, "match_s": 0.1, "sent": 50, "heard": 50, "p50_s": 0.001, "worst_s": 0.2},
            Level.OK,
            "found each other in 0.10 s",
        ),
    ],
)
def test_loopback_verdicts(report, level, words, only):
    result = ProbeResult(report, 0 if report else 1)
    assert words in only(ros.check_loopback(lambda: result), level).sentence
