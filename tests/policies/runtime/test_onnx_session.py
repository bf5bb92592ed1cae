"""Protects the making of ONNX sessions: bound buffers compute, and every failure is explained."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hardware.errors import ConfigError
from policies.runtime.onnx_session import BoundSession, make_session


def scaled_sum() -> bytes:
    """A model that computes a + 2 b for rows of three."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in ("a", "b", "c")]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["b", "b"], ["twice"]),
            helper.make_node("Add", ["a", "twice"], ["c"]),
        ],
        "scaled_sum",
        values[:2],
        values[2:],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_bound_arrays_are_read_and_written_in_place():
    bound = BoundSession(make_session(scaled_sum()), {"a": (2, 3), "b": (2, 3), "c": (2, 3)})
    result = bound.outputs["c"]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        bound.inputs["a"][:] = rng.standard_normal((2, 3))
        bound.inputs["b"][:] = rng.standard_normal((2, 3))
        bound.run()
        assert bound.outputs["c"] is result
        np.testing.assert_allclose(result, bound.inputs["a"] + 2 * bound.inputs["b"], atol=1e-6)


def test_sessions_come_from_files_and_use_one_thread(tmp_path):
    (tmp_path / "m.onnx").write_bytes(scaled_sum())
    options = make_session(tmp_path / "m.onnx").get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert make_session(tmp_path / "m.onnx", threads=2).get_session_options().intra_op_num_threads == 2


def test_without_onnx_runtime_both_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError,
        match=r"ONNX Runtime cannot be loaded .*onnxruntime and onnxruntime-gpu, never both.*"
        r"reflexarc\[cpu\] or reflexarc\[gpu\]",
    ):
        make_session(scaled_sum())


def test_a_provider_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"has no NoSuchProvider\. Expected some of .*CPUExecutionProvider"):
        make_session(scaled_sum(), providers=["NoSuchProvider", "CPUExecutionProvider"])


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nowhere\.onnx: ONNX Runtime refuses the model .*export the policy"
    ):
        make_session(tmp_path / "nowhere.onnx")
    with pytest.raises(ConfigError, match="^ONNX model: ONNX Runtime refuses the model"):
        make_session(b"not a model")


def test_names_must_be_the_models():
    with pytest.raises(ConfigError, match="inputs and outputs are a, b, c. Expected a, x, c"):
        BoundSession(make_session(scaled_sum()), {"a": (1, 3), "x": (1, 3), "c": (1, 3)})
