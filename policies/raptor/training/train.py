"""Training of RAPTOR's student: imitation of teachers, then tuning through the simulator, into a folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hardware import schema
from hardware.errors import ConfigError
from policies.checkpoint import (
    adam_tensors,
    load_adam,
    load_checkpoint,
    load_module,
    module_tensors,
    require_same,
    require_unfinished,
    save_checkpoint,
)
from policies.provenance import command_line, git_commit, settings, versions
from policies.raptor.backends import WEIGHTS_FILE
from policies.raptor.contract import ErrorClipping
from policies.raptor.folder import record_example, sha256, write_folder
from policies.raptor.network import RaptorWeights
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.config import RaptorTrainConfig
from policies.raptor.training.curves import write_curves
from policies.raptor.training.device import usable_device
from policies.raptor.training.imitation import Imitation
from policies.raptor.training.judge import Judgement, judge
from policies.raptor.training.record import RaptorRecord, Row, row_of
from policies.raptor.training.teachers.bank import TeacherBank
from policies.raptor.training.tuning import Tuner

_VERSIONED = ("numpy", "torch", "numba", "onnx")
_PATHS = ("out", "teachers", "finetune_from")
# What may differ between two calls that work on the same folder.
_FREE = ("out", "teachers", "finetune_from", "name", "max_loop_age_s", "device", "threads", "max_minutes")
# An unfinished training is saved at least so often, seconds.
_SAVE_EVERY_S = 20.0
_IMITATION, _TUNING = "imitation", "tuning"


@dataclass(frozen=True)
class RaptorOutcome:
    """What a call of `train` came to."""

    # Whether all of it is done; if not, the same call goes on.
    finished: bool
    # The policy folder; None while there are no weights that were judged.
    folder: Path | None
    # The judgement of its weights.
    judgement: Judgement | None
    # Processor time so far, seconds.
    cpu_s: float


def train(
    config: RaptorTrainConfig,
    *,
    progress: Callable[[Row], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    cpu_clock: Callable[[], float] = time.process_time,
) -> RaptorOutcome:
    """Train a policy and write its folder, or go on with a training that was interrupted.

    The same config gives the same weights on the same versions and number of threads, in one piece or in
    several. Interrupted from the keyboard it loses at most the last seconds.

    Args:
        config: every setting.
        progress: is told every line of the learning curve.
        clock: seconds, for `max_minutes`.
        cpu_clock: seconds of processor time, for the learning curve.

    Returns:
        What there is now.

    Raises:
        ConfigError: the folder holds a training with other settings or is damaged, teachers or policy
            cannot be read or do not fit, or the device is not there.
    """
    torch.set_num_threads(config.threads)
    return _Training(config, progress, clock, cpu_clock).run()


class _Training:
    def __init__(
        self,
        config: RaptorTrainConfig,
        progress: Callable[[Row], None] | None,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
    ) -> None:
        self.config, self.progress, self.clock, self.cpu_clock = config, progress, clock, cpu_clock
        self.folder = Path(config.out)
        self.bank = _load_bank(config) if config.imitates else None
        self.module, self.start = _first_module(config)
        self.imitation: Imitation | None = None
        self.tuner: Tuner | None = None
        self.rows: list[Row] = []
        # The best weights of the present stage, what chose them (the higher the better), and how they fly.
        self.best: RaptorModule | None = None
        self.best_score = float("-inf")
        self.best_judgement: Judgement | None = None
        self.epochs = 0
        self._until = clock() + 60.0 * config.max_minutes if config.max_minutes else None
        self._longest: float | None = None
        self._saved = clock()
        self._cpu_before, self._cpu_start = 0.0, cpu_clock()

    def run(self) -> RaptorOutcome:
        self._resume()
        finished = self._imitate() and self._tune()
        self._save()
        folder = self._publish(finished=finished)
        return RaptorOutcome(finished, folder, self.best_judgement, self._cpu_s())

    def _imitate(self) -> bool:
        if self.bank is None or self.tuner is not None:
            return True
        if self.imitation is None:
            self.imitation = Imitation(self.module, self.bank, self.config)
        stage, config = self.imitation, self.config
        while not stage.finished:
            if self._over():
                return False
            began = self.clock()
            flown = _copy(self.module)
            epoch = stage.epoch()
            self.epochs = stage.done
            # An epoch's return belongs to the weights that flew it.
            if not epoch.teachers_flew and epoch.episode_return > self.best_score:
                self.best, self.best_score = flown, epoch.episode_return
            judged = stage.done % config.judge_epochs == 0 or stage.finished
            self._note(
                Row(
                    stage=_IMITATION,
                    number=stage.done,
                    cpu_s=self._cpu_s(),
                    loss=epoch.loss,
                    episode_return=epoch.episode_return,
                    length=epoch.length,
                    lost=epoch.lost,
                    judgement=self._judge(self.module) if judged else None,
                ),
                began,
            )
        if self.best is not None:
            self.module.load_state_dict(self.best.state_dict())
        self.best = _copy(self.module)
        self.best_judgement = self._judge(self.best)
        return True

    def _tune(self) -> bool:
        config = self.config
        if self.tuner is None:
            if not config.updates:
                return True
            self.tuner = Tuner(self.module, config)
            self.best, self.best_score, self.best_judgement = None, float("-inf"), None
        stage = self.tuner
        while not stage.finished:
            if self._over():
                return False
            began = self.clock()
            # Pieces end and are saved between judgements alone, so that every line of the curve is whole.
            count = min(config.judge_updates, config.updates - stage.done)
            updates = [stage.update() for _ in range(count)]
            judgement = self._judge(stage.average)
            if -judgement.score > self.best_score:
                self.best, self.best_score = _copy(stage.average), -judgement.score
                self.best_judgement = judgement
            self._note(
                Row(
                    stage=_TUNING,
                    number=stage.done,
                    cpu_s=self._cpu_s(),
                    loss=sum(update.loss for update in updates) / count,
                    lost=sum(update.lost for update in updates) / count,
                    judgement=judgement,
                ),
                began,
            )
        return True

    def _judge(self, module: RaptorModule) -> Judgement:
        config = self.config
        return judge(
            module,
            airframes=config.judged_airframes,
            clip_position_m=config.clip_position_m,
            clip_velocity_m_s=config.clip_velocity_m_s,
        )

    def _note(self, row: Row, began: float) -> None:
        self.rows.append(row)
        now = self.clock()
        self._longest = max(self._longest or 0.0, now - began)
        if self.progress is not None:
            self.progress(row)
        if now - self._saved > _SAVE_EVERY_S:
            self._save()
            self._saved = now

    def _over(self) -> bool:
        # A call goes at least one line on, or a short time would never end a training.
        if self._until is None or self._longest is None:
            return False
        return self.clock() + self._longest > self._until

    def _cpu_s(self) -> float:
        return self._cpu_before + self.cpu_clock() - self._cpu_start

    def _settings(self) -> dict[str, Any]:
        return {
            name: value for name, value in settings(self.config, paths=_PATHS).items() if name not in _FREE
        } | {
            "teachers": self.bank.record.sha256 if self.bank is not None else "",
            "start": self.start.get("sha256", ""),
        }

    def _save(self) -> None:
        tensors = module_tensors("module", self.module)
        document: dict[str, Any] = {
            "settings": self._settings(),
            "stage": _TUNING if self.tuner is not None else _IMITATION,
            "epochs": self.epochs,
            "cpu_s": self._cpu_s(),
            # JSON knows no infinity.
            "best_score": self.best_score if self.best is not None else None,
            "best_judgement": dataclasses.asdict(self.best_judgement) if self.best_judgement else None,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        if self.best is not None:
            tensors |= module_tensors("best", self.best)
        if self.tuner is not None:
            tensors |= module_tensors("average", self.tuner.average)
            tensors |= adam_tensors("adam", self.tuner.optimizer)
            document["done"] = self.tuner.done
        elif self.imitation is not None:
            tensors |= adam_tensors("adam", self.imitation.optimizer)
            tensors["offsets"] = torch.from_numpy(self.imitation.offsets)
            document |= {"done": self.imitation.done, "steps": self.imitation.steps}
        save_checkpoint(self.folder, tensors, document)

    def _resume(self) -> None:
        found = load_checkpoint(self.folder)
        if found is None:
            require_unfinished(self.folder)
            return
        tensors, document = found
        defaults = {field.name: field.default for field in dataclasses.fields(self.config)}
        require_same(document, self._settings(), defaults, self.folder)
        load_module("module", self.module, tensors)
        self.epochs, self._cpu_before = document["epochs"], document["cpu_s"]
        self.rows = [row_of(values) for values in document["rows"]]
        if document["best_score"] is not None:
            self.best, self.best_score = _copy(self.module), document["best_score"]
            load_module("best", self.best, tensors)
        if document["best_judgement"] is not None:
            self.best_judgement = Judgement(**document["best_judgement"])
        if document["stage"] == _TUNING:
            self.tuner = Tuner(self.module, self.config)
            self.tuner.done = document["done"]
            load_module("average", self.tuner.average, tensors)
            load_adam("adam", self.tuner.optimizer, tensors)
        elif self.bank is not None and "done" in document:
            offsets = tensors["offsets"].numpy()
            self.imitation = Imitation(self.module, self.bank, self.config, offsets=offsets)
            self.imitation.done, self.imitation.steps = document["done"], document["steps"]
            load_adam("adam", self.imitation.optimizer, tensors)

    def _publish(self, *, finished: bool) -> Path | None:
        best, config = self.best, self.config
        if best is None:
            return None
        if self.best_judgement is None:
            self.best_judgement = self._judge(best)
        weights = best.to_weights()
        inputs, outputs = record_example(weights)
        write_folder(
            self.folder,
            weights,
            name=config.name,
            description=_describe(config),
            example_input=inputs,
            example_output=outputs,
            clipping=ErrorClipping(config.clip_position_m, config.clip_velocity_m_s),
            max_loop_age_s=config.max_loop_age_s,
        )
        record = RaptorRecord(
            method="raptor",
            command=command_line(
                ("reflexarc", "train", "raptor"), config, paths=_PATHS, skip=("threads", "max_minutes")
            ),
            seed=config.seed,
            finished=finished,
            git_commit=git_commit(),
            versions=versions(_VERSIONED),
            config=settings(config, paths=_PATHS),
            teachers={}
            if self.bank is None
            else {
                "count": len(self.bank),
                "sha256": self.bank.record.sha256,
                "command": self.bank.record.command,
            },
            start=self.start,
            epochs=self.epochs,
            updates=self.tuner.done if self.tuner is not None else 0,
            cpu_minutes=round(self._cpu_s() / 60.0, 2),
            parameters=weights.parameter_count,
            metrics=self.best_judgement,
        )
        (self.folder / "training.yaml").write_text(schema.dump(record), encoding="utf-8")
        write_curves(self.folder, [dataclasses.asdict(row) for row in self.rows])
        return self.folder


def _load_bank(config: RaptorTrainConfig) -> TeacherBank:
    bank = TeacherBank.load(config.teachers, device=config.device)
    bank.require(config.minimum_return)
    return bank


def _first_module(config: RaptorTrainConfig) -> tuple[RaptorModule, dict[str, Any]]:
    """The weights that the training starts from, and what is told of them."""
    device = usable_device(config.device, where="RAPTOR training")
    if not config.finetune_from:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            module = RaptorModule(config.encoder_size, config.hidden_size)
        with torch.no_grad():
            # Begin near half thrust, whatever is seen.
            module.head.weight.mul_(0.1)
            module.head.bias.zero_()
        module.to(device)
        return module, {}
    folder = Path(config.finetune_from)
    weights = RaptorWeights.load(folder / WEIGHTS_FILE)
    sizes = len(weights.encoder_bias), weights.hidden_size
    if sizes != (config.encoder_size, config.hidden_size):
        raise ConfigError(
            f"encoder_size and hidden_size of the policy are {sizes}",
            where=str(folder),
            expected=f"{(config.encoder_size, config.hidden_size)}",
            mend="give --encoder-size and --hidden-size as the policy has them",
        )
    told = {"policy": folder.name, "sha256": sha256(folder / WEIGHTS_FILE)}
    record = folder / "training.yaml"
    if record.exists():
        told["command"] = str(yaml.safe_load(record.read_text(encoding="utf-8")).get("command", ""))
    module = RaptorModule.from_weights(weights)
    module.to(device)
    return module, told


def _describe(config: RaptorTrainConfig) -> str:
    ways = ["imitation of teachers"] if config.imitates else []
    ways += ["tuning through the simulator"] if config.updates else []
    late = f" with action delays of up to {1e3 * config.action_delay_s:g} ms" if config.action_delay_s else ""
    return f"RAPTOR's network trained by {' and '.join(ways)}{late}, at motor level."


def _copy(module: RaptorModule) -> RaptorModule:
    copy = RaptorModule(module.encoder.out_features, module.gru.hidden_size)
    copy.requires_grad_(False)
    copy.load_state_dict(module.state_dict())
    copy.to(module.head.weight.device)
    return copy
