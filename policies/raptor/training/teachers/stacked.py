"""Many small multilayer perceptrons of one shape, evaluated and differentiated together.

Every network has three dense layers with ReLU between them. The parameters of all networks lie in one
flat tensor, so that one optimiser step and one averaging step serve them all. Gradients are written out
by hand into buffers that are allocated once: Torch's automatic differentiation would spend as long on
bookkeeping as these matrices take (it is the oracle of the tests instead).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """Multiply stacks of matrices.

    On the CPU this goes through NumPy's OpenBLAS, which was 1.4 times as fast as Torch's `bmm` for these
    sizes on the AMD EPYC 9004 that it was written on (95 against 65 GFLOP/s, one thread).

    Args:
        a: shape (T, n, k); may be a transposed view.
        b: shape (T, k, m); may be a transposed view.
        out: shape (T, n, m), contiguous; written.

    Returns:
        `out`.
    """
    if out.device.type == "cpu":
        np.matmul(a.numpy(), b.numpy(), out=out.numpy())
        return out
    return torch.bmm(a, b, out=out)


class StackedMlp:
    """T perceptrons with layers (inputs, hidden), (hidden, hidden), (hidden, outputs).

    Weights are (T, outputs, inputs) per layer, uniform in +-1/sqrt(inputs) at first, biases too, as in
    `torch.nn.Linear`.

    Args:
        count: T.
        inputs: length of an input.
        hidden: width of both hidden layers.
        outputs: length of an output.
        device: where the parameters are.
        generator: a CPU generator, from which the first weights are drawn.
    """

    def __init__(
        self,
        count: int,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        device: torch.device | str,
        generator: torch.Generator,
    ) -> None:
        """Draw the first weights."""
        self.count, self.inputs, self.hidden, self.outputs = count, inputs, hidden, outputs
        shapes = ((hidden, inputs), (hidden, hidden), (outputs, hidden))
        self._sizes = [size for rows, columns in shapes for size in (rows * columns, rows)]
        self._shapes = [shape for rows, columns in shapes for shape in ((rows, columns), (1, rows))]
        flat = torch.empty(count, sum(self._sizes))
        for row in flat:
            start = 0
            for rows, columns in shapes:
                part = row[start : start + rows * (columns + 1)]
                part.uniform_(-1.0, 1.0, generator=generator).div_(math.sqrt(columns))
                start += len(part)
        # Shape (T, P): all that is trained; and its gradient.
        self.parameters = flat.to(device)
        self.gradient = torch.zeros_like(self.parameters)
        self.layers = self._views(self.parameters)
        self._gradients = self._views(self.gradient)

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split(self._sizes, dim=1)
        # Layer by layer weight (T, out, in) and bias (T, 1, out).
        return [part.view(self.count, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def pass_for(self, batch: int) -> Pass:
        """Allocate what evaluations of one batch size need.

        Args:
            batch: B, inputs a network.

        Returns:
            The buffers, with the evaluation as method.
        """
        return Pass(self, batch)


class Pass:
    """Evaluation and differentiation of a stack on batches of one size, in buffers of its own.

    Args:
        stack: the networks.
        batch: B.
    """

    def __init__(self, stack: StackedMlp, batch: int) -> None:
        """Allocate; nothing is allocated later."""
        self.stack = stack
        empty = stack.parameters.new_zeros
        count, hidden = stack.count, stack.hidden
        # Shape (T, B, inputs): whoever calls `forward` fills it first.
        self.input = empty((count, batch, stack.inputs))
        self.hidden_1 = empty((count, batch, hidden))
        self.hidden_2 = empty((count, batch, hidden))
        # Shape (T, B, outputs): what `forward` gave.
        self.output = empty((count, batch, stack.outputs))
        # Shape (T, B, inputs): what `input_gradient` gave.
        self.to_input = empty((count, batch, stack.inputs))
        self._to_1 = empty((count, batch, hidden))
        self._to_2 = empty((count, batch, hidden))

    def forward(self) -> Tensor:
        """Evaluate the networks on `input`.

        Returns:
            `output`, (T, B, outputs).
        """
        w1, b1, w2, b2, w3, b3 = self.stack.layers
        multiply(self.input, w1.mT, self.hidden_1).add_(b1).relu_()
        multiply(self.hidden_1, w2.mT, self.hidden_2).add_(b2).relu_()
        return multiply(self.hidden_2, w3.mT, self.output).add_(b3)

    def backward(self, to_output: Tensor) -> None:
        """Differentiate a loss with respect to all parameters, into the stack's gradient.

        Args:
            to_output: the loss's gradient with respect to `output`, (T, B, outputs), contiguous.
        """
        w1, b1, w2, b2, w3, b3 = self.stack._gradients
        self._hidden_gradients(to_output)
        multiply(to_output.mT, self.hidden_2, w3)
        torch.sum(to_output, dim=1, keepdim=True, out=b3)
        multiply(self._to_2.mT, self.hidden_1, w2)
        torch.sum(self._to_2, dim=1, keepdim=True, out=b2)
        multiply(self._to_1.mT, self.input, w1)
        torch.sum(self._to_1, dim=1, keepdim=True, out=b1)

    def input_gradient(self, to_output: Tensor) -> Tensor:
        """Differentiate a loss with respect to the input only.

        Args:
            to_output: the loss's gradient with respect to `output`, (T, B, outputs), contiguous.

        Returns:
            `to_input`, (T, B, inputs).
        """
        self._hidden_gradients(to_output)
        return multiply(self._to_1, self.stack.layers[0], self.to_input)

    def _hidden_gradients(self, to_output: Tensor) -> None:
        _, _, w2, _, w3, _ = self.stack.layers
        if self.stack.outputs == 1:
            torch.mul(to_output, w3, out=self._to_2)
        else:
            multiply(to_output, w3, self._to_2)
        _mask(self._to_2, self.hidden_2)
        multiply(self._to_2, w2, self._to_1)
        _mask(self._to_1, self.hidden_1)


def _mask(gradient: Tensor, activation: Tensor) -> None:
    """Zero a gradient where a ReLU was off."""
    torch.ops.aten.threshold_backward.grad_input(gradient, activation, 0.0, grad_input=gradient)
