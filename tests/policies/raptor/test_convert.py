"""Protects the conversion: the committed folder is what the wheel gives, and other files are refused."""

from __future__ import annotations

import sys

import h5py
import onnx
import pytest
import yaml

from hardware.errors import ConfigError
from policies.raptor.convert import convert_published, published_checkpoint, read_checkpoint
from policies.raptor.policy import PUBLISHED

CHECKPOINT_SHA256 = "db11f14ca2a8547f646d9baa57ccceaaff00b1be1c751b632641f514972355c5"


def test_converting_again_gives_the_committed_folder(tmp_path):
    convert_published(tmp_path / "again")
    for name in ("model.safetensors", "example.safetensors", "training.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (PUBLISHED / name).read_bytes(), name
    # Another version of onnx may write the same model in other bytes.
    assert onnx.load(tmp_path / "again" / "model.onnx") == onnx.load(PUBLISHED / "model.onnx")
    again, committed = (
        yaml.safe_load((f / "card.yaml").read_text()) for f in (tmp_path / "again", PUBLISHED)
    )
    for card in (again, committed):
        card["files"].pop("model.onnx")
    assert again == committed


def test_provenance_names_the_source_and_its_licence():
    training = yaml.safe_load((PUBLISHED / "training.yaml").read_text())
    assert training["source_package"] == "foundation-policy"
    assert training["source_version"] == "1.0.2"
    assert training["source_sha256"] == CHECKPOINT_SHA256
    assert training["source_run"] == "logs/2025-04-19_16-16-17"
    assert training["parameters"] == 2084
    licence = (PUBLISHED / "LICENSE").read_text()
    assert "Permission is hereby granted" in licence
    assert training["license"].split(" (see")[0].removeprefix("MIT, ") in licence


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("hello")
    with pytest.raises(ConfigError, match=r"text\.h5: cannot be read .*give the path of checkpoint\.h5"):
        read_checkpoint(text)
    empty = tmp_path / "empty.h5"
    h5py.File(empty, "w").close()
    with pytest.raises(ConfigError, match=r"empty\.h5: cannot be read"):
        read_checkpoint(empty)


def test_another_architecture_is_refused(tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(published_checkpoint().read_bytes())
    with h5py.File(other, "r+") as file:
        file["actor/layers/0"].attrs["activation_function"] = "TANH"
    with pytest.raises(
        ConfigError, match="the layers are .*TANH.*give a checkpoint of RAPTOR's architecture"
    ):
        read_checkpoint(other)


@pytest.mark.parametrize(
    ("module", "call", "text"),
    [
        ("h5py", lambda: read_checkpoint("x.h5"), "h5py cannot be loaded"),
        ("foundation_policy", published_checkpoint, "foundation-policy cannot be loaded"),
    ],
)
def test_missing_packages_are_named(monkeypatch, module, call, text):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"{text} .*install the extra reflexarc.policies."):
        call()
