"""Protects RAPTOR as a policy: folder, hashes, binding, chunks, explicit state, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hardware import schema
from hardware.cards.library import load_robot_card
from hardware.command import CommandKind
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.card import bind, load_policy_card
from policies.policy import ActContext, Policy, PolicyError
from policies.raptor import PUBLISHED, BackendName, RaptorOptions, RaptorPolicy
from policies.raptor.contract import TERMS
from policies.raptor.executor import StatusCode, StepKind
from policies.raptor.network import RaptorWeights

MS = 1_000_000
CONTEXT = ActContext(now_ns=0)
# First hover row of the specs (RAPTOR 1.4).
HOVER = np.array([0.04291403, 0.10150180, 0.10931981, 0.01252887])


def observation(stamp_ns=0, **changes):
    values = {name: np.zeros(len(term.names)) for name, term in TERMS.items()}
    values["orientation"][0] = 1.0
    values |= {name: np.asarray(value, dtype=np.float64) for name, value in changes.items()}
    return Observation(values, stamp_ns, stamp_ns)


def flight(policy, steps, *, start=0, step_ms=10.0, seed=0):
    """Fly through random but repeatable observations; returns the efforts, (steps, 4)."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-0.4, 0.4, (start + steps, 3))
    return np.array(
        [
            policy.act(observation(round(i * step_ms * MS), position=rows[i]), context=CONTEXT).values[0]
            for i in range(start, start + steps)
        ]
    )


@pytest.fixture
def policy():
    return RaptorPolicy.load()


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(PUBLISHED, tmp_path / "raptor")


def rewrite_card(folder, **changes):
    card = dataclasses.replace(
        schema.load(type(load_policy_card(PUBLISHED)), folder / "card.yaml"), **changes
    )
    (folder / "card.yaml").write_text(schema.dump(card), encoding="utf-8")


@pytest.mark.parametrize("backend", list(BackendName))
def test_hover_efforts(backend):
    policy = RaptorPolicy.load(options=RaptorOptions(backend=backend))
    assert isinstance(policy, Policy)
    chunk = policy.act(observation(7 * MS), context=CONTEXT)
    np.testing.assert_allclose(chunk.values, (HOVER[None] + 1) / 2, atol=1e-6)
    assert chunk.kind is CommandKind.MOTOR
    assert chunk.names == ("front_right", "back_right", "back_left", "front_left")
    assert (chunk.start_ns, chunk.step_ns, chunk.valid_for_s) == (7 * MS, 10 * MS, 0.02)
    assert chunk.values.dtype == np.float64


def test_back_ends_fly_alike():
    flown = [flight(RaptorPolicy.load(options=RaptorOptions(backend=b)), 60) for b in BackendName]
    np.testing.assert_allclose(flown[1], flown[0], atol=1e-4)
    np.testing.assert_allclose(flown[2], flown[0], atol=1e-4)


def test_efforts_stay_in_range_when_the_network_does_not(policy):
    efforts = np.concatenate(
        [
            policy.act(
                observation(i * 10 * MS, angular_velocity=[40 * (-1) ** i, 0, 0]), context=CONTEXT
            ).values
            for i in range(10)
        ]
    )
    assert efforts.min() == 0.0
    assert efforts.max() == 1.0


def test_the_clamped_action_is_what_the_network_sees_next(policy):
    chunk = policy.act(observation(0, angular_velocity=[40, 0, 0]), context=CONTEXT)
    previous = policy.state["previous_action"]
    assert np.abs(previous).max() == 1.0
    np.testing.assert_allclose(chunk.values[0], (previous + 1) / 2, atol=1e-7)


def test_it_binds_to_the_twin():
    binding = bind(load_policy_card(PUBLISHED), load_robot_card("quadrotor_twin"))
    assert binding.action_order == (0, 1, 2, 3)
    assert binding.reference_terms == ("reference_position", "reference_velocity", "reference_yaw")


def test_clipping_is_on_unless_switched_off():
    clipped = RaptorPolicy.load().act(observation(position=[5, 0, 0]), context=CONTEXT)
    at_bound = RaptorPolicy.load().act(observation(position=[0.5, 0, 0]), context=CONTEXT)
    free = RaptorPolicy.load(options=RaptorOptions(clip_errors=False)).act(
        observation(position=[5, 0, 0]), context=CONTEXT
    )
    np.testing.assert_array_equal(clipped.values, at_bound.values)
    assert np.abs(free.values - clipped.values).max() > 0.05


def test_state_is_explicit_and_can_be_moved_to_another_policy(policy):
    flight(policy, 25)
    state = policy.state
    assert {name: array.shape for name, array in state.items()} == {"hidden": (16,), "previous_action": (4,)}
    rest = flight(policy, 25, start=25)
    other = RaptorPolicy.load()
    other.load_state(state)
    np.testing.assert_array_equal(flight(other, 25, start=25), rest)
    # What `state` gave is a copy: the flight did not change it.
    third = RaptorPolicy.load()
    third.load_state(state)
    np.testing.assert_array_equal(flight(third, 25, start=25), rest)


def test_reset_forgets_everything(policy):
    first = flight(policy, 20)
    policy.reset(seed=1)
    assert not policy.state["hidden"].any()
    assert not policy.state["previous_action"].any()
    assert policy.status is None
    np.testing.assert_array_equal(flight(policy, 20), first)


@pytest.mark.parametrize(
    "state",
    [
        {"hidden": np.zeros(16, np.float32)},
        {"hidden": np.zeros(15, np.float32), "previous_action": np.zeros(4, np.float32)},
        {"hidden": np.full(16, np.nan, np.float32), "previous_action": np.zeros(4, np.float32)},
    ],
)
def test_a_state_that_does_not_fit_is_refused(policy, state):
    with pytest.raises(ConfigError, match="recurrent state of policy 'raptor-published': the state is"):
        policy.load_state(state)


def test_at_400_hz_three_of_four_calls_are_intermediate():
    policy = RaptorPolicy.load(options=RaptorOptions(rate_hz=400))
    kinds = []
    for i in range(8):
        chunk = policy.act(observation(round(i * 2.5 * MS)), context=CONTEXT)
        kinds.append(policy.status.step)
    assert kinds == [StepKind.NATIVE, *[StepKind.INTERMEDIATE] * 3] * 2
    assert chunk.step_ns == 2_500_000


def test_jitter_does_not_halve_the_rate_of_the_hidden_state(policy):
    for i in range(20):
        policy.act(observation(i * 10 * MS + (-1) ** i * 2 * MS + 5 * MS), context=CONTEXT)
        assert policy.status.step is StepKind.NATIVE


def test_an_observation_that_comes_twice_does_not_advance_the_hidden_state(policy):
    flight(policy, 5)
    hidden = policy.state["hidden"]
    policy.act(observation(40 * MS), context=CONTEXT)
    assert policy.status.step is StepKind.INTERMEDIATE
    np.testing.assert_array_equal(policy.state["hidden"], hidden)


def test_a_rate_below_the_training_is_refused():
    with pytest.raises(ConfigError, match="call the policy at least as often as it was trained"):
        RaptorPolicy.load(options=RaptorOptions(rate_hz=50))


def test_an_observation_that_is_not_finite_is_refused_and_changes_nothing(policy):
    flight(policy, 5)
    before = policy.state
    with pytest.raises(PolicyError, match="not finite in angular_velocity"):
        policy.act(observation(50 * MS, angular_velocity=[0, np.nan, 0]), context=CONTEXT)
    for name, array in policy.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert policy.act(observation(50 * MS), context=CONTEXT).is_finite


def test_a_stamp_that_goes_back_is_refused_once(policy):
    policy.act(observation(100 * MS), context=CONTEXT)
    hidden = policy.state["hidden"]
    with pytest.raises(PolicyError, match="stamp 90000000 ns lies before the previous one"):
        policy.act(observation(90 * MS), context=CONTEXT)
    assert policy.status.code is StatusCode.TIMESTAMP_INVALID
    np.testing.assert_array_equal(policy.state["hidden"], hidden)
    policy.act(observation(100 * MS), context=CONTEXT)
    assert policy.status.step is StepKind.NATIVE


@pytest.mark.parametrize("file", ["model.safetensors", "model.onnx", "example.safetensors"])
def test_a_file_that_differs_from_its_hash_is_one_clear_error(folder, file):
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(bytes(data))
    card = load_policy_card(PUBLISHED)
    with pytest.raises(ConfigError, match=f"weights file '{file}' has SHA-256 [0-9a-f]{{64}}") as error:
        RaptorPolicy.load(folder)
    assert error.value.expected == card.files[file]
    assert "fetch the file again" in str(error.value)
    assert str(folder) in str(error.value)


def test_weights_that_match_their_hash_but_not_the_example_are_refused(folder):
    weights = RaptorWeights.load(folder / "model.safetensors")
    other = dataclasses.replace(weights, head_bias=weights.head_bias + 0.01)
    other.save(folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    files = dict(load_policy_card(PUBLISHED).files) | {"model.safetensors": digest}
    rewrite_card(folder, files=files)
    with pytest.raises(ConfigError, match=r"the numpy back end differs from the recorded example by 0\.01"):
        RaptorPolicy.load(folder)


def test_a_missing_file_is_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"weights file 'model\.safetensors' is missing"):
        RaptorPolicy.load(folder)


def test_files_without_a_hash_are_not_loaded(folder):
    rewrite_card(folder, files={})
    with pytest.raises(
        ConfigError, match=r"no SHA-256 for example\.safetensors, model\.onnx, model\.safetensors"
    ):
        RaptorPolicy.load(folder, RaptorOptions(backend=BackendName.ONNX))


def test_a_card_that_is_not_raptors_lists_every_difference(folder):
    card = load_policy_card(PUBLISHED)
    swapped = dataclasses.replace(
        card.action, names=("back_right", "front_right", "back_left", "front_left"), unit="effort"
    )
    terms = dict(card.observation)
    del terms["reference_yaw"]
    rewrite_card(folder, method="bc", action=swapped, observation=terms, recurrent={})
    with pytest.raises(ConfigErrors) as error:
        RaptorPolicy.load(folder)
    text = str(error.value)
    for part in ("method is 'bc'", "observation is", "action is", "recurrent is {}"):
        assert part in text
    assert len(error.value.findings) == 4


@pytest.mark.parametrize("parameters", [{}, {"clip_position_m": 0.0, "clip_velocity_m_s": 1.0}])
def test_bounds_of_the_clipping_must_be_on_the_card(folder, parameters):
    rewrite_card(folder, parameters=parameters)
    with pytest.raises(ConfigError, match="bounds of the error clipping cannot be read .*clip_errors=False"):
        RaptorPolicy.load(folder)
    RaptorPolicy.load(folder, RaptorOptions(clip_errors=False))


def test_flying_with_numpy_imports_nothing_heavy():
    code = (
        "import sys; from policies.raptor import RaptorPolicy; RaptorPolicy.load(); "
        "print([m for m in ('torch', 'onnxruntime', 'onnx', 'h5py', 'rclpy', 'mujoco') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
