"""Protects the bank: what students are given is what was trained, and poor teachers are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hardware.errors import ConfigError
from policies.raptor.training.teachers.bank import BANK_SCHEMA, TeacherBank, TeacherRecord
from sim.quadrotor.sampling import sample_airframes

T, H = 3, 64


@pytest.fixture
def bank() -> TeacherBank:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    return TeacherBank(
        weight_1=draw(T, H, 26),
        bias_1=draw(T, H),
        weight_2=draw(T, H, H),
        bias_2=draw(T, H),
        weight_3=draw(T, 8, H),
        bias_3=draw(T, 8),
        airframes=sample_airframes(T, seed=4),
        returns=np.array([350.0, 120.0, 500.0], np.float32),
        steps=np.array([10, 20, 30]),
        indices=np.array([16, 17, 18]),
        record=TeacherRecord(
            schema=BANK_SCHEMA,
            method="raptor-teachers",
            command="reflexarc train raptor-teachers --out x",
            seed=4,
            count=T,
            git_commit="none",
            versions={},
            config={},
            airframe_rules={},
        ),
    )


def test_every_teacher_answers_with_its_own_network(bank):
    seen = torch.randn(T, 5, 26, generator=torch.Generator().manual_seed(1))
    action = bank.act(seen)
    assert action.shape == (T, 5, 4)
    for t in range(T):
        x = torch.relu(seen[t] @ bank.weight_1[t].T + bank.bias_1[t])
        x = torch.relu(x @ bank.weight_2[t].T + bank.bias_2[t])
        mean = (x @ bank.weight_3[t].T + bank.bias_3[t])[:, :4]
        torch.testing.assert_close(action[t], torch.tanh(mean))


def test_a_saved_bank_comes_back_whole(bank, tmp_path):
    bank.save(tmp_path / "new" / "bank")
    found = TeacherBank.load(tmp_path / "new" / "bank")
    seen = torch.randn(T, 5, 26)
    assert torch.equal(found.act(seen), bank.act(seen))
    for field in dataclasses.fields(bank.airframes):
        np.testing.assert_array_equal(
            getattr(found.airframes, field.name), getattr(bank.airframes, field.name)
        )
    for name in ("returns", "steps", "indices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(bank, name))
    assert dataclasses.replace(found.record, sha256="") == bank.record
    assert len(found.record.sha256) == 64


def test_weights_that_the_record_does_not_know_are_refused(bank, tmp_path):
    bank.save(tmp_path)
    other = tmp_path / "other"
    bank.take([0]).save(other)
    (other / "teachers.safetensors").replace(tmp_path / "teachers.safetensors")
    with pytest.raises(ConfigError, match="not those that training.yaml records"):
        TeacherBank.load(tmp_path)


def test_a_truncated_file_is_refused(bank, tmp_path):
    bank.save(tmp_path)
    path = tmp_path / "teachers.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        TeacherBank.load(tmp_path)


def test_another_format_is_refused(bank):
    with pytest.raises(ConfigError, match="schema 'reflexarc/teachers/0'"):
        dataclasses.replace(bank.record, schema="reflexarc/teachers/0")


def test_the_gate_names_the_poor_teacher(bank):
    with pytest.raises(
        ConfigError, match=r"1 of 3 teachers are too poor \(teacher 17: 120\).*at least 300 from every"
    ):
        bank.require()
    bank.require(100.0)


def test_a_teacher_without_a_return_does_not_pass(bank):
    blind = dataclasses.replace(bank, returns=np.array([350.0, np.nan, 500.0], np.float32))
    with pytest.raises(ConfigError, match="teacher 17: nan"):
        blind.require()


def test_the_accepted_keep_their_airframes_and_numbers(bank):
    good = bank.accepted()
    good.require()
    assert good.indices.tolist() == [16, 18]
    assert good.record.count == len(good) == 2
    np.testing.assert_array_equal(good.airframes.mass, bank.airframes.mass[[0, 2]])
    seen = torch.randn(T, 5, 26)
    torch.testing.assert_close(good.act(seen[[0, 2]]), bank.act(seen)[[0, 2]])
    with pytest.raises(ConfigError, match="3 of 3 teachers are too poor"):
        bank.accepted(1_000.0)


def test_banks_of_several_machines_are_joined_by_number(bank):
    again = TeacherBank.join([bank.take([2]), bank.take([0, 1])])
    assert again.indices.tolist() == [16, 17, 18]
    assert again.record.count == 3
    seen = torch.randn(T, 5, 26)
    torch.testing.assert_close(again.act(seen), bank.act(seen))
    np.testing.assert_array_equal(again.airframes.inertia, bank.airframes.inertia)


def test_banks_that_do_not_belong_together_are_refused(bank):
    with pytest.raises(ConfigError, match=r"teachers that come twice: 16, 18\."):
        TeacherBank.join([bank, bank.take([0, 2])])
    other = dataclasses.replace(bank, record=dataclasses.replace(bank.record, seed=5))
    with pytest.raises(ConfigError, match="airframes of seed 5 beside those of seed 4"):
        TeacherBank.join([bank, other])


def test_arrays_that_do_not_fit_are_refused(bank):
    with pytest.raises(ConfigError, match=r"weight_2 has shape \(3, 64, 63\)"):
        dataclasses.replace(bank, weight_2=bank.weight_2[..., :-1])
    with pytest.raises(ConfigError, match="bias_1 holds numbers that are not finite"):
        dataclasses.replace(bank, bias_1=bank.bias_1 / 0.0)
