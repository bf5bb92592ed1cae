"""The whole denoising loop as one ONNX graph."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings

import torch

from policies.diffusion.network import DiffusionNetwork

# Version 18 of the operators is what ONNX Runtime 1.14 and TensorRT 8.6 and newer read.
_OPERATOR_SET = 18


def onnx_model(network: DiffusionNetwork) -> bytes:
    """Write the network as an ONNX model: encoders, every denoising step, in-painting, normalisation.

    Inputs, all float32, with the batch size left free: `observation` (batch, H, O), `noise`
    (batch, N, T, D), `known` (batch, T, D), `weight` (batch, T, 1) and `image_<camera>`
    (batch, H, 3, height, width). Output: `action` (batch, T, D). For all of them see
    `policies.diffusion.network.DiffusionNetwork.forward`.

    Args:
        network: the network.

    Returns:
        The serialised model.
    """
    exported = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    settings = exported.settings
    steps, elements, seen = settings.horizon, len(exported.base), settings.observation_steps
    names = ["observation", "noise", "known", "weight", *(f"image_{name}" for name in exported.encoders)]
    example = (
        torch.zeros(2, seen, exported.observation_size),
        torch.zeros(2, exported.table.draws, steps, elements),
        torch.zeros(2, steps, elements),
        torch.zeros(2, steps, 1),
        *(torch.zeros(2, seen, 3, c.height, c.width) for c in settings.cameras.values()),
    )
    file = io.BytesIO()
    # The fused attention has no ONNX form.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings(), contextlib.ExitStack() as later:
        later.callback(torch.backends.mha.set_fastpath_enabled, fused)
        # The exporter that needs no further package is called old; traced shapes are meant to be constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exported,
            example,
            file,
            input_names=names,
            output_names=["action"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "action")},
            opset_version=_OPERATOR_SET,
            dynamo=False,
        )
    return _with_short_names(file.getvalue())


def _with_short_names(data: bytes) -> bytes:
    """Give what lies between inputs and outputs short names: traced ones are a tenth of the file."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    short = {value.name: value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    short[""] = ""
    for node in graph.node:
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            # What is inside would have to be renamed too.
            return data
        node.ClearField("name")
        inputs = [short[name] for name in node.input]
        outputs = [short.setdefault(name, f"v{len(short):x}") for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
    del graph.value_info[:]
    renamed: bytes = model.SerializeToString()
    return renamed
