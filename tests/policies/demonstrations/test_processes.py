"""Protects training in several processes (gloo, on the CPU): they learn what one learns with the whole batch,
one of them evaluates, writes and tells, all of them stop together, and none waits for one that died.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.train import train
from policies.checkpoint import load_checkpoint
from policies.demonstrations.processes import is_main_process
from reflexarc import cli
from sim.experts.collect import collect

SCRIPT = Path(__file__).with_name("trains_in_processes.py")
SMALL = (
    *("--horizon", "8", "--execute", "4", "--steps", "6", "--evaluate-every", "2", "--device", "cpu"),
    *("--channels", "16", "16", "--encoder", "--step-embedding", "16", "--inference-steps", "1"),
)
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
LIMIT_S = 200.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started_by_accelerate(*words: str) -> subprocess.CompletedProcess:
    """Two processes, as `accelerate launch` starts them for two GPUs; `--device cpu` keeps them off GPUs."""
    launcher = ("--multi_gpu", "--num_processes", "2", "--main_process_port", str(free_port()))
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launcher, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=ONE_THREAD,
    )


def trained(out: Path, data: Path, *words: str) -> list[str]:
    return ["-m", "reflexarc", "train", "diffusion", "--out", str(out), "--data", str(data), *SMALL, *words]


@pytest.fixture(scope="module")
def pair(demonstrations, tmp_path_factory):
    """A diffusion policy that two processes trained with eight pairs each, and what they said."""
    folder = tmp_path_factory.mktemp("pair") / "two"
    done = started_by_accelerate(*trained(folder, demonstrations, "--batch-size", "8", "--rollouts", "1"))
    assert done.returncode == 0, done.stderr
    return folder, done


def test_two_processes_learn_what_one_learns_with_twice_the_batch(pair, demonstrations, tmp_path):
    """So each sees another half of a batch, and gradients are averaged; known steps count as they should."""
    folder, _ = pair
    words = trained(tmp_path / "one", demonstrations, "--batch-size", "16", "--rollouts", "1")
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=LIMIT_S, env=ONE_THREAD)
    two, one = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "one"))
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, atol=2e-5, err_msg=name)
    curves = [
        np.loadtxt(path / "learning_curve.csv", delimiter=",", skiprows=1)
        for path in (folder, tmp_path / "one")
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)


def test_one_of_them_writes_and_tells(pair):
    folder, done = pair
    assert done.stdout.count("policy folder:") == 1
    assert [line.split()[1] for line in done.stderr.splitlines() if "validation" in line] == ["2", "4", "6"]
    record = yaml.safe_load((folder / "training.yaml").read_text())
    assert record["command"].startswith("torchrun --nproc_per_node 2 -m reflexarc train diffusion --out two")
    assert record["metrics"]["rollouts"] == 1


def test_they_stop_together_and_refuse_other_data(demonstrations, tmp_path):
    """The second is told what the roll-outs of the first said, which alone makes some."""
    other = tmp_path / "other.npz"
    collect(6, first_seed=1_000_500).save(other)
    done = started_by_accelerate(str(SCRIPT), str(tmp_path), str(demonstrations), str(other))
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for found in (first, second):
        assert "the demonstrations of process 1 differ from those of process 0" in found["refused"]
        assert found["steps"] == [2, 4, 6]
        # One that is alive when Python ends aborts the process now and then.
        assert found["threads"] == []
    assert not (tmp_path / "no").exists()
    assert (first["asked"], second["asked"]) == ([0, 0, 0], [])
    assert (first["told"], second["told"]) == ([2, 4, 6], [])
    assert "task" not in second
    assert [row[2] for row in first["history"]] == [2, 0, 0]
    assert (first["history"], first["weights"]) == (second["history"], second["weights"])


def by_hand(rank: int, port: int, words: list[str], log: Path) -> subprocess.Popen:
    """A process without a launcher, which would end it as soon as the other one is gone."""
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, *words],
            env=ONE_THREAD | {name: str(value) for name, value in place.items()},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def until(text: str, log: Path, process: subprocess.Popen) -> None:
    begun = time.monotonic()
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - begun < LIMIT_S
        time.sleep(0.05)


def test_one_that_is_killed_ends_the_other_and_both_go_on_later(demonstrations, tmp_path, capsys):
    out = tmp_path / "killed"
    # So many steps that it cannot end before it is killed.
    endless = ("--steps", "100000", "--patience", "100000", "--rollouts", "0", "--batch-size", "8")
    words = trained(out, demonstrations, *endless)
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    port = free_port()
    first, second = (by_hand(rank, port, words, logs[rank]) for rank in (0, 1))
    try:
        until("step      4", logs[0], first)
        second.send_signal(signal.SIGKILL)
        assert first.wait(60.0) == 2
    finally:
        stop(first, second)
    said = " ".join(logs[0].read_text().split())
    assert "error: another process of the training has ended or does not answer" in said
    assert "where process 0 of 2" in said
    assert "the same line goes on from the last evaluation" in said
    # One alone would not draw the same batches.
    assert cli.main(words[2:]) == 2
    assert "the training was begun with processes 2" in capsys.readouterr().err
    _, document = load_checkpoint(out)
    port = free_port()
    first, second = (by_hand(rank, port, words, logs[rank]) for rank in (0, 1))
    try:
        until(f"step {document['step'] + 2:>6}", logs[0], first)
    finally:
        stop(first, second)
    evaluated = [line.split()[1] for line in logs[0].read_text().splitlines() if "validation" in line]
    assert evaluated[:2] == ["2", "4"]
    assert len(evaluated) == len(set(evaluated))


def stop(*processes: subprocess.Popen) -> None:
    for process in processes:
        process.kill()
        process.wait()


def test_rounds_of_dagger_want_one_process(demonstrations, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
    with pytest.raises(ConfigError, match="2 processes.*one process.*start it without a launcher"):
        train(TrainConfig(out=str(tmp_path / "p"), data=str(demonstrations), dagger_rounds=1))
    assert list(tmp_path.iterdir()) == []
