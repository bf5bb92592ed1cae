"""The network of behaviour cloning as an ONNX model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.bc.network import BcWeights

# Version 18 of the operators is what ONNX Runtime 1.14 and TensorRT 8.6 and newer read.
_OPERATOR_SET = 18
_FILE_VERSION = 8


def onnx_model(weights: BcWeights) -> bytes:
    """Write the network as an ONNX model, normalisation included, with the batch size left free.

    Args:
        weights: the network's arrays.

    Returns:
        The serialised model. The same weights give the same bytes with one version of `onnx`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    steps, size = weights.horizon, weights.action_size
    arrays: dict[str, NDArray[np.generic]] = {
        "plain": weights.plain,
        "pair_left": np.ascontiguousarray(weights.pairs[0]),
        "pair_right": np.ascontiguousarray(weights.pairs[1]),
        "feature_mean": weights.feature_mean,
        "feature_scale": weights.feature_scale,
        "chunk_shape": np.array([-1, steps, size], np.int64),
        "action_scale": weights.action_scale,
        "action_mean": weights.action_mean,
        "base": np.maximum(weights.base, 0),
        "base_shape": np.array([-1, 1, size], np.int64),
        "is_relative": (weights.base >= 0).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["observation", "plain"], ["kept"], axis=1),
        helper.make_node("Gather", ["observation", "pair_left"], ["left"], axis=1),
        helper.make_node("Gather", ["observation", "pair_right"], ["right"], axis=1),
        helper.make_node("Mul", ["left", "right"], ["products"]),
        helper.make_node("Concat", ["kept", "products"], ["features"], axis=1),
        helper.make_node("Sub", ["features", "feature_mean"], ["centred"]),
        helper.make_node("Div", ["centred", "feature_scale"], ["hidden_0"]),
    ]
    last = len(weights.weights) - 1
    for index, (weight, bias) in enumerate(zip(weights.weights, weights.biases, strict=True)):
        names = [f"hidden_{index}", f"weight_{index}", f"bias_{index}"]
        arrays[names[1]], arrays[names[2]] = weight, bias
        dense = f"dense_{index}"
        nodes.append(helper.make_node("Gemm", names, [dense], transB=1))
        if index < last:
            nodes.append(helper.make_node("Relu", [dense], [f"hidden_{index + 1}"]))
    nodes += [
        helper.make_node("Reshape", [f"dense_{last}", "chunk_shape"], ["outputs"]),
        helper.make_node("Mul", ["outputs", "action_scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "action_mean"], ["offsets"]),
        helper.make_node("Gather", ["observation", "base"], ["stood"], axis=1),
        helper.make_node("Mul", ["stood", "is_relative"], ["origin"]),
        helper.make_node("Reshape", ["origin", "base_shape"], ["origins"]),
        helper.make_node("Add", ["offsets", "origins"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "behaviour_cloning",
        [
            helper.make_tensor_value_info(
                "observation", TensorProto.FLOAT, ["batch", weights.observation_size]
            )
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", steps, size])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPERATOR_SET)],
        ir_version=_FILE_VERSION,
        producer_name="reflexarc",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
