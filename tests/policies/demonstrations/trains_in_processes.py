"""One of several processes that `test_processes.py` starts: trains, and writes down what it met as JSON.

python trains_in_processes.py FOLDER DEMONSTRATIONS OTHER_DEMONSTRATIONS
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import policies.bc.train as bc
from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.demonstrations import training

SMALL = {"hidden": (8,), "horizon": 4, "execute": 4, "steps": 40, "evaluate_every": 2, "batch_size": 8}


def main(folder: Path, demonstrations: str, other: str) -> None:
    rank = int(os.environ["RANK"])
    found = {}
    # The second process has other demonstrations: both have to say so, and neither may wait for ever.
    try:
        bc.train(TrainConfig(out=str(folder / "no"), data=other if rank else demonstrations, **SMALL))
    except ConfigError as error:
        found["refused"] = str(error)

    # Roll-outs as a script gives them: the third evaluation without a better one ends the training.
    counts = iter([1, 0, 0, 0, 0])
    asked = found["asked"] = []

    def successes(*_, seeds, **__):
        asked.append(rank)
        return [bool(next(counts))] * len(seeds)

    def make_task(task):
        found["task"] = task

    bc.successes, bc.make_task = successes, make_task
    told = found["told"] = []
    config = TrainConfig(out=str(folder / "p"), data=demonstrations, rollouts=2, patience=2, **SMALL)
    learn, outcomes = training.learn, []
    training.learn = lambda *a, **k: outcomes.append(learn(*a, **k)) or outcomes[-1]
    bc.train(config, progress=lambda e: told.append(e.step))
    (outcome,) = outcomes
    found["steps"] = [evaluation.step for evaluation in outcome.history]
    found["history"] = [[e.training_loss, e.validation_loss, e.successes] for e in outcome.history]
    digest = hashlib.sha256()
    for name, array in sorted(outcome.network.to_weights().as_mapping().items()):
        digest.update(name.encode() + array.tobytes())
    found["weights"] = digest.hexdigest()
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    found["threads"] = [name for name in names if "gloo" in name]
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
