"""Protects the archive for PX4 and the plain arrays: readers of their own read them, and they fly."""

import ctypes
import shutil

import numpy as np
import pytest
from onboard_c import library

from hardware.errors import ConfigError
from policies.raptor import PUBLISHED
from policies.raptor.backends import EXAMPLE_FILE
from policies.raptor.export_c import export_c
from policies.raptor.export_files import export_numpy, export_px4
from policies.raptor.network import load_tensors

SHAPES = {
    "0/weights/parameters": (16, 22),
    "0/biases/parameters": (1, 16),
    "1/weights_input/parameters": (48, 16),
    "1/weights_hidden/parameters": (48, 16),
    "1/biases_input/parameters": (48,),
    "1/biases_hidden/parameters": (48,),
    "1/initial_hidden_state/parameters": (16,),
    "2/weights/parameters": (4, 16),
    "2/biases/parameters": (1, 4),
}


def read_archive(data):
    """Read a UStar archive as PX4 does: block by block, entries by name, the end at the first empty name."""
    entries, place = {}, 0
    while data[place] != 0:
        header = data[place : place + 512]
        name = header[:100].split(b"\0")[0].decode()
        assert header[257:262] == b"ustar"
        assert header[156:157] == b"0"
        spaces = header[:148] + b" " * 8 + header[156:]
        assert int(header[148:156].split(b"\0")[0], 8) == sum(spaces)
        size = int(header[124:136].split(b"\0")[0], 8)
        assert name not in entries
        entries[name] = data[place + 512 : place + 512 + size]
        place += 512 + (size + 511) // 512 * 512
    return entries


def read_tensor(entries, path):
    """One tensor of the archive, by its description."""
    meta = dict(line.split(": ") for line in entries[f"{path}/meta"].decode().splitlines())
    # PX4 reads a description into 100 bytes, with the end of a string behind it.
    assert len(entries[f"{path}/meta"]) < 100
    assert (meta["type"], meta["dtype"]) == ("tensor", "float32")
    shape = [int(meta[f"dim_{axis}"]) for axis in range(int(meta["num_dims"]))]
    return np.frombuffer(entries[f"{path}/data"], "<f4").reshape(shape)


def fly(arrays, inputs):
    """The equations of docs/onboard.md, from the arrays alone: actions (T, 4) of one sequence (T, 22)."""

    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    hidden, actions = arrays["1/initial_hidden_state/parameters"], []
    for observation in inputs:
        x = arrays["0/weights/parameters"] @ observation + arrays["0/biases/parameters"].reshape(-1)
        x = np.maximum(x, 0.0)
        gi = np.split(arrays["1/weights_input/parameters"] @ x + arrays["1/biases_input/parameters"], 3)
        gh = np.split(
            arrays["1/weights_hidden/parameters"] @ hidden + arrays["1/biases_hidden/parameters"], 3
        )
        reset, update = sigmoid(gi[0] + gh[0]), sigmoid(gi[1] + gh[1])
        hidden = update * hidden + (1.0 - update) * np.tanh(gi[2] + reset * gh[2])
        actions.append(arrays["2/weights/parameters"] @ hidden + arrays["2/biases/parameters"].reshape(-1))
    return np.array(actions)


def test_px4_archive_read_back_flies_its_own_example(tmp_path):
    path = export_px4(PUBLISHED, tmp_path / "new" / "policy.tar")
    entries = read_archive(path.read_bytes())
    arrays = {name: read_tensor(entries, f"actor/layers/{name}") for name in SHAPES}
    for name, shape in SHAPES.items():
        # The module that PX4 brings has biases of one dimension.
        assert arrays[name].shape == (shape[1:] if shape[0] == 1 else shape), name
    example = load_tensors(PUBLISHED / EXAMPLE_FILE)
    inputs, outputs = read_tensor(entries, "example/input"), read_tensor(entries, "example/output")
    np.testing.assert_array_equal(inputs, example["input"])
    np.testing.assert_array_equal(outputs, example["output"])
    for sequence in (0, 1):
        np.testing.assert_allclose(fly(arrays, inputs[:, sequence]), outputs[:, sequence], atol=1e-5)


def test_px4_archive_names_its_layers_and_its_checkpoint(tmp_path):
    path = export_px4(PUBLISHED, tmp_path / "policy.tar")
    entries = read_archive(path.read_bytes())
    described = {}
    for name in ("actor", "actor/layers/0", "actor/layers/1", "actor/layers/2"):
        described[name] = dict(line.split(": ") for line in entries[f"{name}/meta"].decode().splitlines())
    assert described["actor/layers/0"] == {"activation_function": "RELU", "type": "dense"}
    assert described["actor/layers/1"] == {"type": "gru"}
    assert described["actor/layers/2"] == {"activation_function": "IDENTITY", "type": "dense"}
    assert described["actor"]["type"] == "sequential"
    assert described["actor"]["checkpoint_name"].startswith("raptor-published b7daa70b")
    # PX4 reads the actor's description into 256 bytes and the name into 100.
    assert len(entries["actor/meta"]) < 256
    assert len(described["actor"]["checkpoint_name"]) < 100
    assert export_px4(PUBLISHED, tmp_path / "again.tar").read_bytes() == path.read_bytes()


def test_px4_refuses_what_its_module_was_not_compiled_for(tmp_path, make_policy):
    wide = make_policy(tmp_path / "wide", hidden=20)
    with pytest.raises(ConfigError, match="layers of 16 and 20.*compile PX4's module for yours"):
        export_px4(wide, tmp_path / "policy.tar")
    single = make_policy(tmp_path / "single", sequences=1)
    with pytest.raises(ConfigError, match="an example of 10 steps and 1 sequence"):
        export_px4(single, tmp_path / "policy.tar")
    assert not (tmp_path / "policy.tar").exists()


def test_numpy_arrays_fly_the_example(tmp_path):
    path = export_numpy(PUBLISHED, tmp_path / "weights.npz")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert {name: array.shape for name, array in arrays.items()} == SHAPES
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert sum(array.size for array in arrays.values()) == 2084
    example = load_tensors(PUBLISHED / EXAMPLE_FILE)
    np.testing.assert_allclose(fly(arrays, example["input"][:, 1]), example["output"][:, 1], atol=1e-5)


def test_a_spoilt_policy_is_not_exported(tmp_path):
    folder = tmp_path / "policy"
    shutil.copytree(PUBLISHED, folder)
    (folder / "model.safetensors").write_bytes(b"")
    for export in (export_px4, export_numpy):
        with pytest.raises(ConfigError, match="'model.safetensors' has SHA-256"):
            export(folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be read"):
        export_numpy(tmp_path / "nothing", tmp_path / "out")


def test_other_sizes_are_exported_as_c(tmp_path, make_policy):
    folder = make_policy(tmp_path / "wide", encoder=12, hidden=20)
    export_c(folder, tmp_path / "c")
    loaded = library([tmp_path / "c" / "raptor_policy.c"], tmp_path / "wide.so", [tmp_path / "c"])
    loaded.raptor_self_test.restype = ctypes.c_float
    assert 0 < loaded.raptor_self_test() < 1e-5
    odd = make_policy(tmp_path / "odd", hidden=18)
    with pytest.raises(ConfigError, match="layers of 16 and 18.*multiples of 4"):
        export_c(odd, tmp_path / "odd_c")
