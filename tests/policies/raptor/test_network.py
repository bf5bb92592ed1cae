"""Protects the numerics: every back end computes what the authors' own code computed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.raptor.backends import BackendName, make_backend, self_test
from policies.raptor.convert import published_checkpoint, read_checkpoint
from policies.raptor.network import NumpyBackend, RaptorWeights, load_tensors
from policies.raptor.policy import PUBLISHED

# Consecutive outputs for the hover observation (no error, level, previous action held at zero) from a
# fresh state, measured with an independent implementation (specs, RAPTOR 1.4).
HOVER_ROWS = np.array(
    [
        [0.04291403, 0.10150180, 0.10931981, 0.01252887],
        [0.01210159, 0.06148129, 0.06747467, 0.01993347],
        [0.00069097, 0.00888471, 0.01808009, -0.0171756],
        [-0.0152919, -0.01947001, 0.00585917, 0.01055971],
        [-0.02475044, -0.02821092, 0.00956836, 0.02190364],
    ]
)
# Single outputs of the authors' recorded example: step, sequence, action (specs, RAPTOR 1.4).
RECORDED = [
    (0, 0, [0.4724319, -1.1606606, -0.2618373, 0.9551886]),
    (0, 1, [0.91639525, -0.05691537, -0.08775189, 0.7024708]),
    (4, 0, [-1.6054356, 0.07480017, 2.4057436, -0.28145078]),
    (499, 0, [-1.0357239, 1.215483, 1.3503506, -0.18305345]),
]


@pytest.fixture(scope="module")
def weights():
    return RaptorWeights.load(PUBLISHED / "model.safetensors")


@pytest.fixture(scope="module")
def checkpoint():
    return read_checkpoint(published_checkpoint())


@pytest.fixture(scope="module", params=list(BackendName))
def backend(request, weights):
    return make_backend(request.param, PUBLISHED, weights)


def hover_observation() -> np.ndarray:
    observation = np.zeros(22, np.float32)
    observation[[3, 7, 11]] = 1.0
    return observation


def test_the_published_policy_has_2084_parameters(weights):
    assert weights.parameter_count == 2084
    assert not weights.initial_hidden.any()


def test_recorded_example_is_the_one_in_the_specs(checkpoint):
    assert checkpoint.example_output.shape == (500, 2, 4)
    for step, sequence, action in RECORDED:
        np.testing.assert_allclose(checkpoint.example_output[step, sequence], action, atol=1e-7)


def test_single_steps_reproduce_the_recorded_example(backend, checkpoint, weights):
    for sequence in range(2):
        hidden = weights.initial_hidden
        for observation, expected in zip(
            checkpoint.example_input[:, sequence], checkpoint.example_output[:, sequence], strict=True
        ):
            action, hidden = backend.step(observation, hidden)
            np.testing.assert_allclose(action, expected, rtol=0, atol=1e-5)


def test_batches_reproduce_the_recorded_example(backend, checkpoint, weights):
    hidden = np.tile(weights.initial_hidden, (2, 1))
    for observation, expected in zip(checkpoint.example_input, checkpoint.example_output, strict=True):
        action, hidden = backend.step(observation, hidden)
        assert action.shape == (2, 4)
        assert hidden.shape == (2, 16)
        np.testing.assert_allclose(action, expected, rtol=0, atol=1e-5)


def test_hover_rows(backend):
    hidden = np.zeros(16, np.float32)
    for expected in HOVER_ROWS:
        action, hidden = backend.step(hover_observation(), hidden)
        np.testing.assert_allclose(action, expected, rtol=0, atol=1e-6)


def test_a_step_changes_neither_its_arguments_nor_earlier_results(backend):
    rng = np.random.default_rng(3)
    observations = rng.standard_normal((2, 22)).astype(np.float32)
    hidden = rng.uniform(-1, 1, 16).astype(np.float32)
    observations.setflags(write=False)
    hidden.setflags(write=False)
    action, after = backend.step(observations[0], hidden)
    kept_action, kept_after = action.copy(), after.copy()
    backend.step(observations[1], after)
    np.testing.assert_array_equal(action, kept_action)
    np.testing.assert_array_equal(after, kept_after)


def test_batch_sizes_may_change_between_calls(backend):
    rng = np.random.default_rng(4)
    observations = rng.standard_normal((7, 22)).astype(np.float32)
    hidden = rng.uniform(-1, 1, (7, 16)).astype(np.float32)
    whole, whole_hidden = backend.step(observations, hidden)
    part, part_hidden = backend.step(observations[:3], hidden[:3])
    one, one_hidden = backend.step(observations[0], hidden[0])
    np.testing.assert_allclose(part, whole[:3], atol=1e-5)
    np.testing.assert_allclose(part_hidden, whole_hidden[:3], atol=1e-5)
    np.testing.assert_allclose(one, whole[0], atol=1e-5)
    np.testing.assert_allclose(one_hidden, whole_hidden[0], atol=1e-5)


def test_other_layer_widths_agree_between_back_ends():
    import torch

    from policies.raptor.onnx_backend import OnnxBackend, onnx_model
    from policies.raptor.torch_backend import RaptorModule, TorchBackend

    torch.manual_seed(0)
    module = RaptorModule(encoder_size=24, hidden_size=12)
    module.initial_hidden.uniform_(-0.5, 0.5)
    weights = module.to_weights()
    back_ends = [NumpyBackend(weights), TorchBackend(weights), OnnxBackend(onnx_model(weights))]
    rng = np.random.default_rng(5)
    hidden = [weights.initial_hidden] * 3
    for _ in range(50):
        observation = rng.standard_normal(22).astype(np.float32)
        results = [b.step(observation, h) for b, h in zip(back_ends, hidden, strict=True)]
        hidden = [result[1] for result in results]
        for action, after in results[1:]:
            np.testing.assert_allclose(action, results[0][0], atol=1e-5)
            np.testing.assert_allclose(after, results[0][1], atol=1e-5)


def test_torch_module_hands_its_weights_back(weights):
    from policies.raptor.torch_backend import RaptorModule

    back = RaptorModule.from_weights(weights).to_weights().as_mapping()
    for name, array in weights.as_mapping().items():
        np.testing.assert_array_equal(back[name], array)


def test_weights_survive_the_disk_and_are_read_only(weights, tmp_path):
    weights.save(tmp_path / "w.safetensors")
    loaded = RaptorWeights.load(tmp_path / "w.safetensors")
    for name, array in weights.as_mapping().items():
        np.testing.assert_array_equal(loaded.as_mapping()[name], array)
    with pytest.raises(ValueError, match="read-only"):
        loaded.head_bias[0] = 1.0


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("head_weight", np.zeros((4, 15)), r"head_weight has shape \(4, 15\)\. Expected \(4, 16\)"),
        ("gru_hidden_bias", np.full(48, np.nan), "gru_hidden_bias holds numbers that are not finite"),
        ("encoder_weight", np.zeros((16, 23)), r"encoder_weight has shape \(16, 23\)\. Expected \(16, 22\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, name, value, text):
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(weights, **{name: value})


def test_files_that_are_not_weights_are_refused(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not safetensors at all")
    with pytest.raises(
        ConfigError, match=r"broken\.safetensors: cannot be read as safetensors .*To mend: copy"
    ):
        RaptorWeights.load(broken)
    with pytest.raises(ConfigError, match="the arrays input, output"):
        RaptorWeights.load(PUBLISHED / "example.safetensors")


def test_self_test_passes_and_notices_one_wrong_weight(backend, weights):
    assert self_test(backend, weights, PUBLISHED / "example.safetensors") < 2e-6
    wrong = weights.gru_input_bias.copy()
    wrong[40] += 1e-3
    with pytest.raises(
        ConfigError, match="the numpy back end differs from the recorded example by .*at most 1e-05"
    ):
        self_test(
            NumpyBackend(dataclasses.replace(weights, gru_input_bias=wrong)),
            weights,
            PUBLISHED / "example.safetensors",
        )


def test_self_test_fails_on_nan(weights):
    class Broken:
        name, hidden_size = "broken", 16

        def step(self, observation, hidden):
            return np.full(4, np.nan, np.float32), hidden

    with pytest.raises(ConfigError, match="the broken back end differs from the recorded example by nan"):
        self_test(Broken(), weights, PUBLISHED / "example.safetensors")


def test_the_example_of_the_folder_is_the_authors_one(checkpoint):
    tensors = load_tensors(PUBLISHED / "example.safetensors")
    np.testing.assert_array_equal(tensors["input"], checkpoint.example_input)
    np.testing.assert_array_equal(tensors["output"], checkpoint.example_output)


def test_torch_that_cannot_be_loaded_is_explained(weights, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "policies.raptor.torch_backend", None)
    with pytest.raises(ConfigError, match="Torch cannot be loaded .*choose the numpy back end"):
        make_backend(BackendName.TORCH, PUBLISHED, weights)
