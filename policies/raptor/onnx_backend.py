"""RAPTOR's network in ONNX Runtime, and the ONNX model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Float32Array, RaptorWeights
from policies.runtime.engines import Device, providers
from policies.runtime.onnx_session import BoundSession, make_session

# Version 18 of the operators is what ONNX Runtime 1.14 and TensorRT 8.6 and newer read.
_OPERATOR_SET = 18
_FILE_VERSION = 8


class OnnxBackend:
    """The network in ONNX Runtime, with one bound session per batch size.

    Args:
        model: the ONNX file or its bytes: inputs `observation` (batch, 22) and `hidden` (batch, H),
            outputs `action` (batch, 4) and `next_hidden` (batch, H).
        device: where it evaluates.

    Raises:
        ConfigError: ONNX Runtime cannot be loaded, or the model is not such a network.
    """

    name = "onnx"

    def __init__(self, model: Path | str | bytes, *, device: Device = Device.CPU) -> None:
        """Load the model and bind it for one vehicle."""
        self._session = make_session(model, providers=providers(device))
        sizes = {value.name: value.shape[-1] for value in self._session.get_inputs()}
        self.hidden_size = int(sizes.get("hidden", 0))
        self._bound: dict[int, BoundSession] = {}
        one = self._bind(1)
        self._run_one = one.run
        self._observation, self._hidden = one.inputs["observation"][0], one.inputs["hidden"][0]
        self._copy_action = one.outputs["action"][0].copy
        self._copy_hidden = one.outputs["next_hidden"][0].copy

    def step(self, observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Evaluate the network once; see `Backend.step`."""
        if observation.ndim == 1:
            self._observation[:] = observation
            self._hidden[:] = hidden
            self._run_one()
            return self._copy_action(), self._copy_hidden()
        bound = self._bound.get(len(observation)) or self._bind(len(observation))
        bound.inputs["observation"][:] = observation
        bound.inputs["hidden"][:] = hidden
        bound.run()
        return bound.outputs["action"].copy(), bound.outputs["next_hidden"].copy()

    def _bind(self, batch: int) -> BoundSession:
        shapes = {
            "observation": (batch, OBSERVATION_SIZE),
            "hidden": (batch, self.hidden_size),
            "action": (batch, ACTION_SIZE),
            "next_hidden": (batch, self.hidden_size),
        }
        bound = self._bound[batch] = BoundSession(self._session, shapes)
        return bound


def onnx_model(weights: RaptorWeights) -> bytes:
    """Write the network as an ONNX model: Gemm, Relu, GRU and Gemm, with the batch size left free.

    Args:
        weights: the trained arrays.

    Returns:
        The serialised model. The same weights give the same bytes with one version of `onnx`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = weights.hidden_size

    def gates(rows: Float32Array) -> Float32Array:
        """Reorder reset, update, candidate to ONNX's update, reset, candidate."""
        reset, update, candidate = np.split(rows, 3)
        return np.concatenate([update, reset, candidate])

    arrays = {
        "encoder_weight": weights.encoder_weight,
        "encoder_bias": weights.encoder_bias,
        "gru_input_weight": gates(weights.gru_input_weight)[None],
        "gru_hidden_weight": gates(weights.gru_hidden_weight)[None],
        "gru_bias": np.concatenate([gates(weights.gru_input_bias), gates(weights.gru_hidden_bias)])[None],
        "head_weight": weights.head_weight,
        "head_bias": weights.head_bias,
        "first_axis": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Gemm", ["observation", "encoder_weight", "encoder_bias"], ["dense"], transB=1),
        helper.make_node("Relu", ["dense"], ["encoded"]),
        helper.make_node("Unsqueeze", ["encoded", "first_axis"], ["sequence"]),
        helper.make_node("Unsqueeze", ["hidden", "first_axis"], ["gru_hidden"]),
        helper.make_node(
            "GRU",
            ["sequence", "gru_input_weight", "gru_hidden_weight", "gru_bias", "", "gru_hidden"],
            ["", "gru_next"],
            hidden_size=size,
            linear_before_reset=1,
        ),
        helper.make_node("Squeeze", ["gru_next", "first_axis"], ["next_hidden"]),
        helper.make_node("Gemm", ["next_hidden", "head_weight", "head_bias"], ["action"], transB=1),
    ]

    def value(name: str, width: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])

    graph = helper.make_graph(
        nodes,
        "raptor",
        [value("observation", OBSERVATION_SIZE), value("hidden", size)],
        [value("action", ACTION_SIZE), value("next_hidden", size)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPERATOR_SET)],
        ir_version=_FILE_VERSION,
        producer_name="reflexarc",
    )
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
