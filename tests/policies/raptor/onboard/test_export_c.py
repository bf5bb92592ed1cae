"""Protects the C export: it compiles strictly, computes what Python computes and refuses what it must."""

import ctypes
import dataclasses
import hashlib
import itertools
import re
import shutil

import numpy as np
import pytest
from onboard_c import Config, Reference, Vehicle, pointer

from hardware.errors import ConfigError
from policies.raptor import PUBLISHED, onboard_build
from policies.raptor.contract import card_onboard_rate_hz
from policies.raptor.executor import Executor, ExecutorConfig, NativeRule, StatusCode, StepKind
from policies.raptor.export_c import export_c, hover_actions, read_policy
from policies.raptor.network import NumpyBackend, RaptorWeights
from policies.raptor.observe import observe

AUTHORS_SHA256 = "db11f14ca2a8547f646d9baa57ccceaaff00b1be1c751b632641f514972355c5"
OK, UNHEALTHY, BACKWARDS, NOT_FINITE = 0, 1, -1, -2
NOT_A_ROTATION, YAW_TOO_LARGE = -4, -5


@pytest.mark.parametrize(
    ("compiler", "options"),
    [
        ("gcc", ("-O2",)),
        ("gcc", ("-O3", "-ffast-math")),
        ("gcc", onboard_build.SANITIZERS),
        ("clang", ("-O2",)),
    ],
    ids=["gcc", "gcc-fast-math", "gcc-sanitizers", "clang"],
)
def test_the_exported_test_passes(exported, tmp_path, compiler, options):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not here: apt install {compiler}")
    text = onboard_build.prove_host(exported, tmp_path, compiler=compiler, options=options)
    found = re.search(r"example, 500 steps x 2: largest difference (\S+); hover: (\S+);", text)
    assert max(float(number) for number in found.groups()) <= 1e-5
    assert text.endswith("passed\n")


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in PUBLISHED.parent.glob("*/card.yaml")),
    ids=lambda folder: folder.name,
)
def test_every_policy_that_comes_along_passes(folder, tmp_path):
    export_c(folder, tmp_path / "c")
    text = onboard_build.prove_host(tmp_path / "c", tmp_path, compiler="gcc", options=("-Os",))
    assert text.endswith("passed\n")


def test_rate_on_board_is_the_cards_or_that_of_the_training():
    card = read_policy(PUBLISHED).card
    assert card_onboard_rate_hz(card) == 500
    bounds = {name: value for name, value in card.parameters.items() if name.startswith("clip")}
    assert card_onboard_rate_hz(dataclasses.replace(card, parameters=bounds)) == 100
    for wrong in (50, 400, "fast"):
        with pytest.raises(ConfigError, match="onboard_rate_hz is .*100, 125, 200, 250, 500 or 1000"):
            card_onboard_rate_hz(dataclasses.replace(card, parameters={**bounds, "onboard_rate_hz": wrong}))


def test_the_exported_test_fails_when_one_weight_is_wrong(exported, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(exported, spoilt)
    source = spoilt / "raptor_policy.c"
    text = source.read_text()
    first = re.search(r"head_weight\[.*?\{\s*\{(\S+?),", text).span(1)
    source.write_text(text[: first[0]] + "0.5f" + text[first[1] :])
    with pytest.raises(ConfigError, match="FAIL  the example is reproduced"):
        onboard_build.prove_host(spoilt, tmp_path, compiler="gcc", options=("-O1",))


def test_timing_harness_measures_and_the_state_is_small(exported, tmp_path):
    timing = onboard_build.measure_host(exported, tmp_path, compiler="gcc", options=("-O2",))
    assert (timing.unit, timing.steps) == ("ns", 10_000)
    assert 0 < timing.minimum <= timing.median <= timing.maximum
    assert timing.state_bytes <= 256


def test_files_say_where_they_come_from_and_are_the_same_every_time(exported, tmp_path):
    again = export_c(PUBLISHED, tmp_path)
    assert sorted(again) == [
        "LICENSE",
        "raptor_policy.c",
        "raptor_policy.h",
        "raptor_test.c",
        "raptor_timing.c",
    ]
    for name, path in again.items():
        assert path.read_bytes() == (exported / name).read_bytes()
    for name in ("raptor_policy.h", "raptor_policy.c", "raptor_test.c"):
        text = again[name].read_text()
        assert "@GENERATED" not in text
        assert (
            "checkpoint.h5: SHA-256 db11f14ca2a8547f646d9baa57ccceaaff00b1be1c751b632641f514972355c5" in text
        )
        assert read_policy(PUBLISHED).card.files["model.safetensors"] in text


def test_hover_is_what_the_authors_code_computes():
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    expected = [
        [0.04291403, 0.10150180, 0.10931981, 0.01252887],
        [0.01210159, 0.06148129, 0.06747467, 0.01993347],
        [0.00069097, 0.00888471, 0.01808009, -0.0171756],
        [-0.0152919, -0.01947001, 0.00585917, 0.01055971],
        [-0.02475044, -0.02821092, 0.00956836, 0.02190364],
    ]
    np.testing.assert_allclose(hover_actions(weights), expected, atol=1e-6)


def test_weights_that_do_not_compute_their_example_are_not_exported(tmp_path):
    folder = tmp_path / "policy"
    shutil.copytree(PUBLISHED, folder)
    arrays = RaptorWeights.load(folder / "model.safetensors").as_mapping()
    RaptorWeights(**{**arrays, "head_bias": arrays["head_bias"] + np.float32(1e-3)}).save(
        folder / "model.safetensors"
    )
    with pytest.raises(ConfigError, match="has SHA-256"):
        export_c(folder, tmp_path / "out")
    card = folder / "card.yaml"
    old = read_policy(PUBLISHED).card.files["model.safetensors"]
    new = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(ConfigError, match="differs from the recorded example by 0.001"):
        export_c(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _random_terms(rng):
    quaternion = rng.standard_normal(4)
    return {
        "position": rng.uniform(-1.5, 1.5, 3),
        "orientation": quaternion / np.linalg.norm(quaternion) * rng.uniform(0.995, 1.005),
        "linear_velocity": rng.uniform(-3, 3, 3),
        "angular_velocity": rng.uniform(-20, 20, 3),
        "reference_position": rng.uniform(-1, 1, 3),
        "reference_velocity": rng.uniform(-1, 1, 3),
        "reference_yaw": rng.uniform(-50, 50, 1),
    }


def _observe_c(library, terms):
    """The observation that C computes from Python's terms; velocity turned to the world, as C wants it."""
    vehicle, reference = Vehicle(), Reference()
    vehicle.position[:], vehicle.orientation[:] = terms["position"], terms["orientation"]
    vehicle.angular_velocity[:] = terms["angular_velocity"]
    library.raptor_body_to_world(
        pointer(terms["orientation"]), pointer(terms["linear_velocity"]), vehicle.linear_velocity
    )
    reference.position[:] = terms["reference_position"]
    reference.linear_velocity[:] = terms["reference_velocity"]
    reference.yaw = terms["reference_yaw"][0]
    observation = np.full(22, 9.0, np.float32)
    status = library.raptor_observe(ctypes.byref(vehicle), ctypes.byref(reference), pointer(observation))
    return status, observation


def test_observation_is_that_of_python(policy_c):
    rng = np.random.default_rng(1)
    previous = np.full(4, 9.0, np.float32)
    for _ in range(300):
        terms = _random_terms(rng)
        status, observation = _observe_c(policy_c, terms)
        assert status == OK
        np.testing.assert_allclose(observation, observe(terms, previous), atol=2e-5)


def test_observation_refuses_what_is_no_state(policy_c):
    rng = np.random.default_rng(2)
    for name, size in [(name, len(value)) for name, value in _random_terms(rng).items()]:
        for index in range(size):
            for bad in (np.nan, np.inf, -np.inf):
                terms = _random_terms(rng)
                terms[name][index] = bad
                status, observation = _observe_c(policy_c, terms)
                assert status == NOT_FINITE, name
                assert (observation == 9.0).all()
    terms = _random_terms(rng)
    assert _observe_c(policy_c, {**terms, "orientation": terms["orientation"] * 1.2})[0] == NOT_A_ROTATION
    assert _observe_c(policy_c, {**terms, "reference_yaw": np.array([10_001.0])})[0] == YAW_TOO_LARGE


@pytest.mark.parametrize(
    ("rule", "call_ns"),
    [(NativeRule.COUNT, 2_500_000), (NativeRule.COUNT, 3_000_000), (NativeRule.TIME, 1_000_000)],
)
def test_executor_is_that_of_python(policy_c, rule, call_ns):
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    by_time = rule is NativeRule.TIME
    reference = Executor(
        NumpyBackend(weights),
        weights.initial_hidden,
        ExecutorConfig(
            call_interval_ns=call_ns, native_rule=rule, native_slack_ns=call_ns // 2 if by_time else 0
        ),
    )
    make = policy_c.raptor_config_by_time if by_time else policy_c.raptor_config_by_count
    config: Config = make(call_ns)
    state = ctypes.create_string_buffer(1024)
    policy_c.raptor_reset(state)
    rng = np.random.default_rng(3)
    now, natives = 10**12, 0
    for call in range(1500):
        # Jitter, a call that comes late now and then, and twice a clock that goes backwards.
        now += round(call_ns * rng.uniform(0.6, 1.4)) + (4 * call_ns if call % 97 == 96 else 0)
        now -= 10**9 if call in (400, 900) else 0
        observation = rng.standard_normal(22).astype(np.float32)
        previous = rng.uniform(-1, 1, 4).astype(np.float32)
        expected, status = reference.control(now, observation, previous)
        action = np.full(4, 9.0, np.float32)
        code = policy_c.raptor_control(
            state, ctypes.byref(config), now, pointer(observation), pointer(previous), pointer(action)
        )
        if expected is None:
            assert (code, status.code) == (BACKWARDS, StatusCode.TIMESTAMP_INVALID)
            assert (action == 9.0).all()
        else:
            assert code in (OK, UNHEALTHY)
            np.testing.assert_allclose(action, expected, atol=1e-5)
        natives += status.step is StepKind.NATIVE
        assert np.frombuffer(state, np.uint32, 1, 88)[0] == natives
        np.testing.assert_allclose(np.frombuffer(state, np.float32, 16), reference.hidden, atol=1e-5)


def test_even_calls_are_healthy_and_uneven_ones_are_not(policy_c):
    config: Config = policy_c.raptor_config_by_time(2_500_000)
    hover = np.zeros(22, np.float32)
    hover[[3, 7, 11]] = 1.0
    for stretch, expected in ((1.0, OK), (2.5, UNHEALTHY)):
        state = ctypes.create_string_buffer(1024)
        policy_c.raptor_reset(state)
        codes = set()
        for call in range(900):
            action = np.zeros(4, np.float32)
            now = round(call * 2_500_000 * stretch)
            code = policy_c.raptor_control(
                state, ctypes.byref(config), now, pointer(hover), pointer(action), pointer(action)
            )
            codes |= {code} if call >= 500 else set()
        assert codes == {expected}


# The motors of three firmwares in their own order: forward and left of the centre, sign of the torque.
FIRMWARES = {
    "RAPTOR_ORDER_CRAZYFLIE": [(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)],
    "RAPTOR_ORDER_BETAFLIGHT": [(-1, -1, 1), (1, -1, -1), (-1, 1, -1), (1, 1, 1)],
    "RAPTOR_ORDER_PX4": [(1, -1, -1), (-1, 1, -1), (1, 1, 1), (-1, -1, 1)],
}


@pytest.mark.parametrize("name", FIRMWARES)
def test_one_motor_order_passes_and_the_23_others_do_not(policy_c, name):
    motors = np.array(FIRMWARES[name], np.float32)
    right = tuple((ctypes.c_uint8 * 4).in_dll(policy_c, name))
    passed = [
        order
        for order in itertools.product(range(4), repeat=4)
        if policy_c.raptor_motor_order_ok(pointer(motors), (ctypes.c_uint8 * 4)(*order))
    ]
    assert passed == [right]
    motors[:, 2] *= -1
    assert not policy_c.raptor_motor_order_ok(pointer(motors), (ctypes.c_uint8 * 4)(*right))
    assert not policy_c.raptor_motor_order_ok(pointer(motors), (ctypes.c_uint8 * 4)(0, 1, 2, 9))


def test_orders_place_each_motor_where_its_firmware_has_it(policy_c):
    action = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    for name, expected in {
        "RAPTOR_ORDER_CRAZYFLIE": [0.1, 0.2, 0.3, 0.4],
        "RAPTOR_ORDER_BETAFLIGHT": [0.2, 0.1, 0.3, 0.4],
        "RAPTOR_ORDER_PX4": [0.1, 0.3, 0.4, 0.2],
    }.items():
        ordered = np.zeros(4, np.float32)
        policy_c.raptor_remap(pointer(action), (ctypes.c_uint8 * 4).in_dll(policy_c, name), pointer(ordered))
        np.testing.assert_array_equal(ordered, np.array(expected, np.float32))
    assert [policy_c.raptor_effort(a) for a in (-2.0, -1.0, 0.0, 0.5, 1.0, 3.0)] == [0, 0, 0.5, 0.75, 1, 1]


def test_frames_of_px4_turn_into_ours_and_back(policy_c):
    vehicle, reference = Vehicle(), Reference()
    vehicle.position[:], vehicle.orientation[:] = (1, 2, 3), (0.5, 0.1, 0.2, 0.3)
    vehicle.linear_velocity[:], vehicle.angular_velocity[:] = (4, 5, 6), (7, 8, 9)
    reference.position[:], reference.linear_velocity[:], reference.yaw = (1, 2, 3), (4, 5, 6), 0.7
    before = bytes(vehicle), bytes(reference)
    policy_c.raptor_vehicle_from_ned(ctypes.byref(vehicle))
    policy_c.raptor_reference_from_ned(ctypes.byref(reference))
    assert list(vehicle.position) == [1, -2, -3]
    np.testing.assert_allclose(vehicle.orientation, [0.5, 0.1, -0.2, -0.3], rtol=1e-6)
    assert list(vehicle.linear_velocity) == [4, -5, -6]
    assert list(vehicle.angular_velocity) == [7, -8, -9]
    assert reference.yaw == pytest.approx(-0.7)
    policy_c.raptor_vehicle_from_ned(ctypes.byref(vehicle))
    policy_c.raptor_reference_from_ned(ctypes.byref(reference))
    assert (bytes(vehicle), bytes(reference)) == before


def test_a_missing_compiler_is_named_with_its_package(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="gcc is not here.*apt install gcc"):
        onboard_build.prove_host(exported, tmp_path, compiler="gcc", options=())
    with pytest.raises(ConfigError, match="apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"):
        onboard_build.measure_footprint(exported, tmp_path, options=("-Os",))
    assert onboard_build.missing_arm_packages() == (
        "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
    )
