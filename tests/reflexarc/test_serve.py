"""Protects `reflexarc serve policy`: it serves what it says it serves, and leaves cleanly."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from hardware.robot import Observation
from policies.bc.policy import PICK_CUBE
from policies.policy import ActContext
from policies.registry import load_policy
from policies.runtime.remote import RemoteOptions, RemotePolicy
from reflexarc.cli import main


@pytest.fixture
def server(tmp_path):
    command = [sys.executable, "-m", "reflexarc", "serve", "policy", "bc/pick_cube", "--json"]
    words = [
        "--port",
        "0",
        "--token-file",
        str(tmp_path / "token"),
        "--new-token",
        "--option",
        "backend=numpy",
    ]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_stop(server, tmp_path, number):
    begun = json.loads(server.stdout.readline())
    assert begun["policy"] == "pick-cube-bc"
    policy = RemotePolicy(begun["url"], RemoteOptions(token_file=str(tmp_path / "token")))
    terms = {name: np.full(len(term.names), 0.1) for name, term in policy.card.observation.items()}
    seen = Observation(terms, 0, 0)
    context = ActContext(now_ns=0)
    near = load_policy(PICK_CUBE, backend="numpy").act(seen, context=context)
    np.testing.assert_array_equal(policy.act(seen, context=context).values, near.values)
    server.send_signal(number)
    assert server.wait(30) == 0
    events = [json.loads(line)["event"] for line in server.stdout]
    assert events[0].endswith("is being served")
    assert "stopping" in events
    policy.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["no/such", "--token-file", "t", "--new-token"], "there is no policy"),
        (["bc/pick_cube", "--token-file", "none"], "the token cannot be read"),
        (["bc/pick_cube", "--token-file", "t", "--new-token", "--host", "0.0.0.0"], "without TLS"),
        (["bc/pick_cube", "--token-file", "t", "--new-token", "--option", "fast"], "NAME=VALUE"),
        (["bc/pick_cube", "--token-file", "t", "--new-token", "--option", "fast=1"], "unknown field"),
    ],
)
def test_what_is_wrong_is_said_before_anything_listens(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "policy", *words]) == 2
    assert text in capsys.readouterr().err
