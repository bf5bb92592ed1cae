"""Protects the runtime: back ends agree, chunks start at the capture, and bad folders are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml

from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.bc.model import BcModule
from policies.bc.network import BcWeights
from policies.bc.policy import BackendName, BcOptions, BcPolicy
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy


def observation(seed: int = 0, stamp_ns: int = 120_000_000) -> Observation:
    random = np.random.default_rng(seed)
    quaternion = random.standard_normal(4)
    terms = {
        "joint_position": random.uniform(-1.0, 1.0, 6),
        "joint_velocity": random.uniform(-1.0, 1.0, 6),
        "cube_position": random.uniform(-0.2, 0.2, 3),
        "cube_orientation": quaternion / np.linalg.norm(quaternion),
    }
    return Observation(terms, stamp_ns, stamp_ns)


CONTEXT = ActContext(now_ns=120_000_000)


@pytest.fixture(scope="module")
def policies(folder):
    return {name: BcPolicy.load(folder, BcOptions(backend=name)) for name in BackendName}


def test_the_back_ends_agree(policies):
    for seed in range(20):
        chunks = [policy.act(observation(seed), context=CONTEXT).values for policy in policies.values()]
        assert np.abs(chunks[0] - chunks[1]).max() < 1e-5
        assert np.abs(chunks[0] - chunks[2]).max() < 1e-5


@pytest.mark.parametrize("name", BackendName)
def test_a_later_answer_does_not_write_into_an_earlier_one(policies, name):
    first = policies[name].act(observation(1), context=CONTEXT).values
    before = first.copy()
    policies[name].act(observation(2), context=CONTEXT)
    np.testing.assert_array_equal(first, before)


def test_a_chunk_starts_at_the_capture_and_lasts_until_its_last_step_is_over(policies):
    policy = policies[BackendName.NUMPY]
    chunk = policy.act(observation(), context=CONTEXT)
    assert chunk.values.shape == (8, 6)
    assert chunk.values.dtype == np.float64
    assert (chunk.start_ns, chunk.step_ns) == (120_000_000, 40_000_000)
    assert chunk.end_ns == 120_000_000 + 8 * 40_000_000
    assert chunk.names == policy.card.action.names


def test_it_is_a_policy_without_memory(policies):
    policy = policies[BackendName.ONNX]
    assert isinstance(policy, Policy)
    assert policy.backend == "onnx"
    first = policy.act(observation(), context=CONTEXT).values
    policy.act(observation(3), context=CONTEXT)
    policy.reset(9)
    np.testing.assert_array_equal(policy.act(observation(), context=CONTEXT).values, first)
    assert policy.state == {}
    policy.load_state({})
    with pytest.raises(ConfigError, match="a state of hidden.*the policy has no memory"):
        policy.load_state({"hidden": np.zeros(3, np.float32)})


def test_what_cannot_be_answered_is_refused(policies):
    policy = policies[BackendName.NUMPY]
    broken = observation()
    broken.values["cube_position"][1] = np.nan
    with pytest.raises(PolicyError, match="the observation is not finite"):
        policy.act(broken, context=CONTEXT)
    short = {name: value for name, value in observation().values.items() if name != "joint_velocity"}
    with pytest.raises(PolicyError, match="no term 'joint_velocity'"):
        policy.act(Observation(short, 0, 0), context=CONTEXT)


def test_the_registry_loads_it_with_its_options(folder):
    assert load_policy(folder, backend="torch").backend == "torch"
    assert load_policy(folder).backend == "onnx"
    with pytest.raises(ConfigError, match="'cuda' is not valid here.*one of numpy, torch, onnx"):
        load_policy(folder, backend="cuda")


def test_the_module_holds_exactly_the_weights(folder):
    weights = BcWeights.load(folder / "model.safetensors")
    again = BcModule.from_weights(weights).to_weights()
    for name, array in weights.as_mapping().items():
        np.testing.assert_array_equal(array, again.as_mapping()[name])


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def edit_card(folder, change) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    change(card)
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))


def test_weights_that_differ_from_the_card_are_refused(copy):
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b" ")
    with pytest.raises(ConfigError, match="'model.onnx' has SHA-256"):
        BcPolicy.load(copy)


def test_weights_without_a_hash_are_refused(copy):
    edit_card(copy, lambda card: card["files"].pop("model.onnx"))
    with pytest.raises(ConfigError, match="gives no SHA-256 for model.onnx"):
        BcPolicy.load(copy)
    assert BcPolicy.load(copy, BcOptions(backend=BackendName.NUMPY)).backend == "numpy"


def test_a_card_that_does_not_describe_the_weights_is_refused(copy):
    def change(card):
        card["action"]["horizon"] = 9
        card["observation"]["cube_position"]["names"] = ["x", "y"]

    edit_card(copy, change)
    with pytest.raises(ConfigErrors) as caught:
        BcPolicy.load(copy)
    text = str(caught.value)
    assert "the horizon is 9. Expected 8" in text
    assert "the length of the observation is 18. Expected 19" in text


def test_damaged_weights_are_refused(copy, folder):
    weights = BcWeights.load(folder / "model.safetensors")
    arrays = dict(weights.as_mapping())
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        BcWeights.load(copy / "card.yaml")
    from safetensors.numpy import save_file

    path = copy / "other.safetensors"
    save_file({name: array for name, array in arrays.items() if name != "base"}, str(path))
    with pytest.raises(ConfigError, match="the arrays .*Expected .*base"):
        BcWeights.load(path)
    save_file(arrays | {"layers.1.weight": np.zeros((24, 23), np.float32)}, str(path))
    with pytest.raises(ConfigError, match=r"layer 1 has shape \(24, 23\).*\(24, 24\)"):
        BcWeights.load(path)
    save_file(arrays | {"feature_mean": np.full_like(weights.feature_mean, np.nan)}, str(path))
    with pytest.raises(ConfigError, match="feature_mean holds numbers that are not finite"):
        BcWeights.load(path)
