"""Protects `reflexarc train raptor`: it learns, goes on where it stopped, and writes a policy that flies."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from hardware.errors import ConfigError
from policies.raptor.network import RaptorWeights
from policies.raptor.policy import PUBLISHED, RaptorOptions, RaptorPolicy
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.config import RaptorTrainConfig
from policies.raptor.training.imitation import Experience, Imitation, gather, pack, steady_state
from policies.raptor.training.record import read_curve
from policies.raptor.training.teachers.bank import BANK_SCHEMA, TeacherBank, TeacherRecord
from policies.raptor.training.train import train
from sim.quadrotor.sampling import sample_airframes


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two teachers who advise hover thrust and against what tilts and moves: simple, but no constants."""
    airframes = sample_airframes(2, seed=5)
    generator = torch.Generator().manual_seed(0)

    def small(*shape):
        return 0.3 * torch.randn(shape, generator=generator)

    last = small(2, 8, 8)
    bias = torch.zeros(2, 8)
    bias[:, :4] = torch.from_numpy(np.arctanh(2.0 * airframes.hover_effort - 1.0))[:, None]
    bank = TeacherBank(
        weight_1=small(2, 8, 26), bias_1=torch.zeros(2, 8), weight_2=small(2, 8, 8),
        bias_2=torch.zeros(2, 8), weight_3=last, bias_3=bias, airframes=airframes,
        returns=np.full(2, 400.0, np.float32), steps=np.full(2, 10), indices=np.arange(2),
        record=TeacherRecord(
            schema=BANK_SCHEMA, method="test", command="none", seed=0, count=2, git_commit="none",
            versions={}, config={}, airframe_rules={},
        ),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("teachers")
    bank.save(folder)
    return folder


def _config(out, **settings):
    small = {
        "episodes": 4,
        "episode_steps": 60,
        "correction_episodes": 2,
        "teacher_epochs": 1,
        "rows": 4,
        "vehicles": 8,
        "steps": 20,
        "executor_vehicles": 4,
        "executor_steps": 5,
        "judged_airframes": 8,
        "judge_epochs": 100,
        "judge_updates": 2,
    }
    return RaptorTrainConfig(out=str(out), **(small | settings))


def test_imitation_comes_closer_to_the_teachers(bank, tmp_path):
    config = _config(tmp_path, teachers=str(bank), epochs=3, imitation_rate=1e-2, rows=2)
    torch.manual_seed(0)
    stage = Imitation(RaptorModule(), TeacherBank.load(bank), config)
    losses = [stage.epoch().loss for _ in range(config.epochs)]
    assert losses[-1] < 0.6 * losses[0]


def test_every_vehicle_is_advised_by_the_teacher_of_its_airframe(bank, tmp_path):
    teachers = TeacherBank.load(bank)
    config = _config(tmp_path, teachers=str(bank), action_delay_s=0.0, velocity_delay_s=0.0)
    offsets = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, -0.2]], np.float32)
    flown = gather(teachers, None, offsets, config, number=0)
    assert flown.labels.shape == (60, 8, 4)
    # The first step of every episode: what the student saw is what the teacher saw, but for the rotors,
    # the correction and the clipping.
    for vehicle in range(8):
        owner = vehicle // config.episodes
        seen = flown.observations[0, vehicle].copy()
        if (np.abs(seen[0:3]) >= 0.5).any():
            continue
        seen[0:3] += offsets[owner]
        truth = torch.from_numpy(np.concatenate([seen, seen[18:22]]).astype(np.float32))
        advice = teachers.act(truth.expand(2, 1, 26))[owner, 0].numpy()
        np.testing.assert_allclose(flown.labels[0, vehicle], advice, atol=1e-5)


def test_the_students_flight_is_disturbed_and_repeatable(bank, tmp_path):
    teachers, config = TeacherBank.load(bank), _config(tmp_path, teachers=str(bank))
    torch.manual_seed(0)
    student, offsets = RaptorModule(), np.zeros((2, 3), np.float32)
    one, again = (gather(teachers, student, offsets, config, number=3) for _ in range(2))
    np.testing.assert_array_equal(one.observations, again.observations)
    calm = dataclasses.replace(
        config, position_noise_m=0.0, orientation_noise_rad=0.0, velocity_noise_m_s=0.0, rate_noise_rad_s=0.0
    )
    undisturbed = gather(teachers, student, offsets, calm, number=3)
    assert not np.array_equal(undisturbed.observations, one.observations)


def test_steady_state_is_measured_for_every_teacher(bank, tmp_path):
    config = _config(tmp_path, teachers=str(bank))
    offsets = steady_state(TeacherBank.load(bank), config)
    assert offsets.shape == (2, 3)
    assert np.isfinite(offsets).all()


def test_rows_hold_every_step_once_and_mark_where_episodes_begin():
    lengths = np.array([5, 2, 7])
    observations = np.zeros((7, 3, 22), np.float32)
    observations[..., 0] = np.arange(7)[:, None]
    observations[..., 1] = np.arange(3)
    experience = Experience(observations, np.zeros((7, 3, 4), np.float32), lengths, np.zeros(3, np.float32))
    seen, labels, kept = pack(experience, 7, np.random.default_rng(0))
    assert seen.shape == (2, 7, 22)
    assert labels.shape == (2, 7, 4)
    told = sorted((int(v), int(t)) for t, v in seen[..., :2].reshape(-1, 2))
    assert told == [(vehicle, time) for vehicle in range(3) for time in range(lengths[vehicle])]
    np.testing.assert_array_equal(kept, (seen[..., 0] != 0.0).astype(np.float32))


class _Clock:
    """A clock on which every look takes a second: a training of so many seconds has so many looks."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_pieces_give_the_weights_of_one_training(bank, tmp_path):
    settings = {"teachers": str(bank), "epochs": 2, "updates": 6}
    whole = train(_config(tmp_path / "whole", **settings))
    calls = 0
    while True:
        calls += 1
        piece = train(_config(tmp_path / "pieces", **settings, max_minutes=5 / 60), clock=_Clock())
        if piece.finished:
            break
    assert calls > 2
    assert whole.finished
    assert piece.judgement == whole.judgement
    for file in ("model.safetensors", "model.onnx", "example.safetensors"):
        assert (tmp_path / "pieces" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    rows = [
        [(r.stage, r.number, r.loss) for r in read_curve(tmp_path / name)] for name in ("pieces", "whole")
    ]
    assert rows[0] == rows[1]
    assert [row[:2] for row in rows[0]] == [
        ("imitation", 1), ("imitation", 2), ("tuning", 2), ("tuning", 4), ("tuning", 6),
    ]  # fmt: skip


def test_the_folder_is_a_policy_with_its_provenance(bank, tmp_path):
    config = _config(
        tmp_path / "mine", teachers=str(bank), epochs=2, updates=2, name="raptor-mine", clip_position_m=0.8
    )
    outcome = train(config)
    assert outcome.folder == tmp_path / "mine"
    for backend in ("numpy", "torch", "onnx"):
        policy = RaptorPolicy.load(outcome.folder, RaptorOptions(backend=backend))
    assert policy.card.name == "raptor-mine"
    assert policy.card.parameters["clip_position_m"] == 0.8
    record = yaml.safe_load((outcome.folder / "training.yaml").read_text())
    assert record["finished"] is True
    assert (record["epochs"], record["updates"], record["parameters"]) == (2, 2, 2084)
    assert record["command"].startswith("reflexarc train raptor --out mine --teachers ")
    assert record["teachers"]["sha256"] == TeacherBank.load(bank).record.sha256
    assert str(tmp_path) not in (outcome.folder / "training.yaml").read_text()
    curve = json.loads((outcome.folder / "learning_curve.json").read_text())
    assert len(curve["rows"]) == 3
    assert (outcome.folder / "learning_curve.png").stat().st_size > 1000


def test_tuning_starts_from_a_policy_and_changes_it(tmp_path):
    outcome = train(_config(tmp_path / "mine", finetune_from=str(PUBLISHED), updates=2))
    record = yaml.safe_load((outcome.folder / "training.yaml").read_text())
    assert record["start"]["policy"] == "published"
    before = RaptorWeights.load(PUBLISHED / "model.safetensors").as_mapping()
    after = RaptorWeights.load(outcome.folder / "model.safetensors").as_mapping()
    change = max(np.abs(after[name] - before[name]).max() for name in before)
    # Two updates at a rate that is still rising: a small step, but one.
    assert 0.0 < change < 0.01


def test_other_settings_do_not_go_on_with_a_training(tmp_path):
    train(_config(tmp_path, updates=2))
    with pytest.raises(ConfigError, match=r"(?s)begun with updates 2.*another --out"):
        train(_config(tmp_path, updates=4))


def test_a_damaged_checkpoint_is_told(tmp_path):
    train(_config(tmp_path, updates=2))
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x00" * 7)
    with pytest.raises(ConfigError, match=r"(?s)cannot be read.*remove the folder"):
        train(_config(tmp_path, updates=2))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "neither imitation nor tuning"),
        ({"updates": 5, "gradient_decay": 1.5}, "gradient_decay is 1.5"),
        ({"updates": 5, "hidden_size": 15}, "hidden_size is 15"),
        ({"updates": 5, "action_delay_s": 0.05}, "action_delay_s"),
        ({"updates": 5, "vehicles": 0}, "vehicles is 0"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings, told):
    with pytest.raises(ConfigError, match=told):
        RaptorTrainConfig(out="x", **settings)


def test_poor_teachers_are_refused(bank, tmp_path):
    with pytest.raises(ConfigError, match="teachers are too poor"):
        train(_config(tmp_path, teachers=str(bank), minimum_return=500.0))


def test_a_folder_of_a_finished_policy_is_not_written_over(tmp_path):
    train(_config(tmp_path, updates=2))
    (tmp_path / "checkpoint.safetensors").unlink()
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds a policy and no training.*another --out"):
        train(_config(tmp_path, updates=2, seed=1))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_folder_without_teachers_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"there are no teachers: teachers\.safetensors is missing"):
        train(_config(tmp_path, teachers=str(PUBLISHED)))
