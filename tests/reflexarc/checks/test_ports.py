"""Protects the verdicts on the domain and its ports, with real sockets."""

import os
import subprocess
import sys

import pytest

from reflexarc.checks import ports
from reflexarc.checks.finding import Level


def test_port_that_is_listened_on_twice(only, hold, domain):
    port = ports.discovery_port(domain, 5)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1);"
        f"s.bind(('127.0.0.1', {port})); print('bound', flush=True); sys.stdin.read()"
    )
    hold(port, shared=True)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "bound\n"
        findings = ports.check_ports(ports.read_listeners(), domain)
        other.stdin.close()
    found = only(findings, Level.FAIL)
    assert f"UDP port {port} is listened on twice, by the processes" in found.sentence
    assert str(os.getpid()) in found.sentence
    assert str(other.pid) in found.sentence
    assert found.mend == "end one of them"


def test_other_participants_in_the_domain(only):
    listener = ports.Listener("udp", ports.discovery_port(3, 0), 4711, "python", is_participant=True)
    found = only(ports.check_ports([listener], 3), Level.WARN)
    assert "ROS domain 3 is in use on this machine, by python (pid 4711)" in found.sentence
    assert found.commands == ("export ROS_DOMAIN_ID=4",)


def test_free_ports_are_fine(only):
    foreign = ports.Listener("tcp", ports.discovery_port(3, 0), 1, "web")
    assert only(ports.check_ports([foreign], 3), Level.OK).sentence.startswith("32 discovery ports")


@pytest.mark.parametrize(
    ("text", "domain", "level", "words"),
    [
        ("", 0, Level.OK, "0."),
        ("42", 42, Level.OK, "42."),
        ("seven", 0, Level.FAIL, "ROS_DOMAIN_ID is 'seven'; a domain is a whole number from 0 to 232"),
        ("233", 0, Level.FAIL, "ROS_DOMAIN_ID is '233'"),
        ("150", 150, Level.WARN, "which the kernel also gives to other programs"),
    ],
)
def test_domain(text, domain, level, words, only):
    found_domain, findings = ports.check_domain({"ROS_DOMAIN_ID": text}, 32768)
    assert found_domain == domain
    assert words in only(findings, level).sentence
