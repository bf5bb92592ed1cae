"""A bank of teachers: one feed-forward policy for every airframe, all of them evaluated at once.

This is all that distillation needs, and all that travels between machines: actors, airframes and
returns. Critics and replay buffers stay where they were trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware import schema
from hardware.errors import ConfigError
from policies.raptor.network import ACTION_SIZE, load_tensors
from sim.quadrotor.fleet_airframes import AirframeBatch

PRIVILEGED_SIZE = 26
BANK_SCHEMA = "reflexarc/teachers/1"
WEIGHTS_FILE = "teachers.safetensors"
RECORD_FILE = "training.yaml"
# Mean return over 100 episodes below which a teacher teaches nobody (rl_tools, post_training).
ACCEPTED_RETURN = 300.0


@dataclass(frozen=True)
class TeacherRecord:
    """What made a bank of teachers: `training.yaml`."""

    # Format of the folder.
    schema: str
    # The method.
    method: str
    # The command that does it again.
    command: str
    # Seed of the airframes and of the training.
    seed: int
    # How many teachers the bank holds.
    count: int
    # The state of the repository: a commit, with `-dirty` when files differed from it.
    git_commit: str
    # Versions of what computed it.
    versions: Mapping[str, str]
    # Every setting of the training.
    config: Mapping[str, Any]
    # The distribution that the airframes were drawn from.
    airframe_rules: Mapping[str, Any]
    # SHA-256 of the file of weights; filled in by `TeacherBank.save`.
    sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse another format.

        Raises:
            ConfigError: the folder is of a format that this version does not read.
        """
        if self.schema != BANK_SCHEMA:
            raise ConfigError(
                f"schema {self.schema!r}",
                where="teacher bank",
                expected=BANK_SCHEMA,
                mend="train the teachers again with this version, or install the version that wrote them",
            )


@dataclass(frozen=True, eq=False)
class TeacherBank:
    """T teachers, stacked. Source: RAPTOR, section "Pre-training"; networks 26-64-64-8, ReLU, tanh mean.

    The input of a teacher is its privileged observation, 26 numbers: position error 3 (m), rotation
    matrix 9 (row-major, body to world), velocity error 3 (m/s, world), body rates 3 (rad/s), previous
    action 4, rotor speeds 4 (as 2 effort - 1). Its output is one action per motor, -1 to 1, in the
    order of `sim.quadrotor.airframes.MOTORS`.
    """

    # First layer, (T, H, 26), and its bias, (T, H). Torch, float32.
    weight_1: Tensor
    bias_1: Tensor
    # Second layer, (T, H, H), and its bias, (T, H).
    weight_2: Tensor
    bias_2: Tensor
    # Last layer, (T, 8, H), and its bias, (T, 8): four means, then four log standard deviations.
    weight_3: Tensor
    bias_3: Tensor
    # The airframe of every teacher, T of them.
    airframes: AirframeBatch
    # Mean return over the evaluation episodes, (T,), float32.
    returns: NDArray[np.float32]
    # Environment steps after which these weights were taken, (T,), int64.
    steps: NDArray[np.int64]
    # Number of the airframe within the fleet of the record's seed, (T,), int64.
    indices: NDArray[np.int64]
    # What made them.
    record: TeacherRecord

    def __post_init__(self) -> None:
        """Check every shape.

        Raises:
            ConfigError: shapes that do not fit each other, or a number that is not finite.
        """
        count, hidden = len(self.airframes), self.bias_1.shape[-1]
        expected = {
            "weight_1": (count, hidden, PRIVILEGED_SIZE),
            "bias_1": (count, hidden),
            "weight_2": (count, hidden, hidden),
            "bias_2": (count, hidden),
            "weight_3": (count, 2 * ACTION_SIZE, hidden),
            "bias_3": (count, 2 * ACTION_SIZE),
            "returns": (count,),
            "steps": (count,),
            "indices": (count,),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if tuple(array.shape) != shape:
                raise ConfigError(
                    f"{name} has shape {tuple(array.shape)}",
                    where="teacher bank",
                    expected=f"{shape}, as {count} airframes and {hidden} hidden units imply",
                    mend="give the arrays of one training run",
                )
        for name in _LAYERS:
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise ConfigError(
                    f"{name} holds numbers that are not finite",
                    where="teacher bank",
                    expected="finite weights",
                    mend="train the teachers again",
                )

    def __len__(self) -> int:
        """How many teachers there are."""
        return len(self.airframes)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weight_1.device

    def act(self, privileged: Tensor) -> Tensor:
        """Ask every teacher for its deterministic action, the tanh of the mean.

        Args:
            privileged: shape (T, B, 26), float32, on the bank's device; row t goes to teacher t.

        Returns:
            Shape (T, B, 4), in (-1, 1).
        """
        with torch.no_grad():
            x = torch.baddbmm(self.bias_1[:, None], privileged, self.weight_1.transpose(1, 2)).relu_()
            x = torch.baddbmm(self.bias_2[:, None], x, self.weight_2.transpose(1, 2)).relu_()
            mean = self.weight_3[:, :ACTION_SIZE].transpose(1, 2)
            return torch.baddbmm(self.bias_3[:, None, :ACTION_SIZE], x, mean).tanh_()

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> TeacherBank:
        """Pick teachers.

        Args:
            indices: places in this bank, any order, repeats allowed.

        Returns:
            A bank of those, the record's count corrected.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        rows = torch.from_numpy(chosen).to(self.device)
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[rows] for name in _LAYERS},
            **{name: getattr(self, name)[chosen] for name in _NUMBERS},
            airframes=self.airframes.take(chosen),
            record=dataclasses.replace(self.record, count=len(chosen), sha256=""),
        )

    @classmethod
    def join(cls, banks: Sequence[TeacherBank]) -> TeacherBank:
        """Put the teachers of several trainings together, such as those of several machines.

        Args:
            banks: at least one, all from airframes of one seed and one set of rules.

        Returns:
            All teachers in the order of their numbers, on the first bank's device. Its record is the first
            one's, with every other command in a line of its own.

        Raises:
            ConfigError: the airframes are not of one fleet, or a teacher comes twice.
        """
        first = banks[0].record
        for bank in banks:
            theirs = bank.record
            if (theirs.seed, theirs.airframe_rules) != (first.seed, first.airframe_rules):
                raise ConfigError(
                    f"airframes of seed {theirs.seed} beside those of seed {first.seed}",
                    where="teacher banks",
                    expected="one seed and one set of airframe rules",
                    mend="join banks of one fleet; other fleets are other training runs",
                )
        indices = np.concatenate([bank.indices for bank in banks])
        twice = sorted(i for i, n in zip(*np.unique(indices, return_counts=True), strict=True) if n > 1)
        if twice:
            raise ConfigError(
                "teachers that come twice: " + ", ".join(map(str, twice)),
                where="teacher banks",
                expected="every teacher once",
                mend="train each part with a --first of its own",
            )
        arrays = {f.name: [getattr(b.airframes, f.name) for b in banks] for f in _AIRFRAME_FIELDS}
        commands = dict.fromkeys(bank.record.command for bank in banks)
        whole = dataclasses.replace(
            banks[0],
            **{
                name: torch.cat([getattr(bank, name).to(banks[0].device) for bank in banks])
                for name in _LAYERS
            },
            **{name: np.concatenate([getattr(bank, name) for bank in banks]) for name in _NUMBERS},
            airframes=AirframeBatch(**{name: np.concatenate(a, axis=-1) for name, a in arrays.items()}),
            record=dataclasses.replace(first, command="\n".join(commands)),
        )
        return whole.take(np.argsort(indices))

    def to(self, device: torch.device | str) -> TeacherBank:
        """Copy the weights to a device; airframes and returns stay on the host.

        Args:
            device: `cpu`, `cuda`, ...

        Returns:
            The bank there.
        """
        return dataclasses.replace(self, **{name: getattr(self, name).to(device) for name in _LAYERS})

    def require(self, minimum_return: float = ACCEPTED_RETURN) -> None:
        """Refuse a bank with a teacher that is no good: the student would learn its faults.

        Args:
            minimum_return: what every teacher's mean return must reach.

        Raises:
            ConfigError: some do not reach it; every one is named.
        """
        bad = np.flatnonzero(~(self.returns >= minimum_return))
        if len(bad) == 0:
            return
        listed = ", ".join(f"teacher {self.indices[i]}: {self.returns[i]:.0f}" for i in bad[:8])
        more = f" and {len(bad) - 8} more" if len(bad) > 8 else ""
        raise ConfigError(
            f"{len(bad)} of {len(self)} teachers are too poor ({listed}{more})",
            where="teacher bank",
            expected=f"a mean return of at least {minimum_return:g} from every teacher",
            mend="train them longer, lower the minimum return, or leave them out (TeacherBank.accepted)",
        )

    def accepted(self, minimum_return: float = ACCEPTED_RETURN) -> TeacherBank:
        """Leave out the teachers whose mean return is below a minimum.

        Args:
            minimum_return: what a mean return must reach.

        Returns:
            A bank of the others.

        Raises:
            ConfigError: none reaches it.
        """
        good = np.flatnonzero(self.returns >= minimum_return)
        if len(good) == 0:
            self.require(minimum_return)
        return self.take(good)

    def save(self, folder: Path | str) -> None:
        """Write `teachers.safetensors` and `training.yaml`, each in one move.

        Args:
            folder: made if it is not there.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"actor.{name}": getattr(self, name).detach().cpu().contiguous() for name in _LAYERS}
        tensors |= {name: torch.from_numpy(np.array(getattr(self, name))) for name in _NUMBERS}
        for field in _AIRFRAME_FIELDS:
            array = np.array(getattr(self.airframes, field.name))
            tensors[f"airframe.{field.name}"] = torch.from_numpy(array)
        part = folder / f".{WEIGHTS_FILE}.part"
        save_file(tensors, str(part))
        record = dataclasses.replace(
            self.record, count=len(self), sha256=hashlib.sha256(part.read_bytes()).hexdigest()
        )
        part.replace(folder / WEIGHTS_FILE)
        part = folder / f".{RECORD_FILE}.part"
        part.write_text(schema.dump(record), encoding="utf-8")
        part.replace(folder / RECORD_FILE)

    @classmethod
    def load(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> TeacherBank:
        """Read what `save` wrote.

        Args:
            folder: holds `teachers.safetensors` and `training.yaml`.
            device: where the weights go.

        Returns:
            The bank.

        Raises:
            ConfigError: a file is missing, damaged, of another format, or not the one that the record
                speaks of.
        """
        folder = Path(folder)
        if not (folder / WEIGHTS_FILE).exists():
            raise ConfigError(
                f"there are no teachers: {WEIGHTS_FILE} is missing",
                where=str(folder),
                expected="a folder in which `reflexarc train raptor-teachers` left accepted teachers",
                mend="give that folder, or train teachers first",
            )
        record = schema.load(TeacherRecord, folder / RECORD_FILE)
        path = folder / WEIGHTS_FILE
        arrays = load_tensors(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != record.sha256:
            raise ConfigError(
                "the weights are not those that training.yaml records",
                where=str(path),
                expected=f"a file with SHA-256 {record.sha256}",
                mend="copy the whole folder again, or train the teachers again",
            )
        airframe = {f.name: arrays[f"airframe.{f.name}"] for f in _AIRFRAME_FIELDS}
        return cls(
            **{name: torch.from_numpy(arrays[f"actor.{name}"].copy()).to(device) for name in _LAYERS},
            **{name: arrays[name] for name in _NUMBERS},  # type: ignore[arg-type]
            airframes=AirframeBatch(**airframe),
            record=record,
        )


_AIRFRAME_FIELDS = dataclasses.fields(AirframeBatch)
_LAYERS = ("weight_1", "bias_1", "weight_2", "bias_2", "weight_3", "bias_3")
_NUMBERS = ("returns", "steps", "indices")
