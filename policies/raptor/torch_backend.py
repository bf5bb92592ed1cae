"""RAPTOR's network in Torch: the module that can be trained, and the back end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Float32Array, RaptorWeights


class RaptorModule(nn.Module):  # type: ignore[misc, unused-ignore]
    """Dense, GRU and dense layers with the hidden state as argument and result.

    Args:
        encoder_size: width of the dense layer in front of the GRU.
        hidden_size: length of the hidden state.
    """

    initial_hidden: Tensor

    def __init__(self, encoder_size: int = 16, hidden_size: int = 16) -> None:
        """Make the layers with Torch's own initial weights and a zero initial state."""
        super().__init__()
        self.encoder = nn.Linear(OBSERVATION_SIZE, encoder_size)
        self.gru = nn.GRUCell(encoder_size, hidden_size)
        self.head = nn.Linear(hidden_size, ACTION_SIZE)
        self.register_buffer("initial_hidden", torch.zeros(hidden_size))

    def forward(self, observation: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate one step.

        Args:
            observation: shape (22,) or (B, 22).
            hidden: shape (H,) or (B, H).

        Returns:
            The action, (4,) or (B, 4), not clamped; and the next hidden state.
        """
        hidden = self.gru(torch.relu(self.encoder(observation)), hidden)
        return self.head(hidden), hidden

    @classmethod
    def from_weights(cls, weights: RaptorWeights) -> RaptorModule:
        """Make a module that computes with given weights.

        Args:
            weights: the trained arrays.

        Returns:
            The module, on the CPU.
        """
        module = cls(len(weights.encoder_bias), weights.hidden_size)
        names = _torch_names()
        module.load_state_dict(
            {names[name]: torch.from_numpy(array.copy()) for name, array in weights.as_mapping().items()}
        )
        return module

    def to_weights(self) -> RaptorWeights:
        """Copy the weights out, whatever device they are on."""
        state = self.state_dict()
        names = _torch_names()
        return RaptorWeights(**{ours: state[theirs].cpu().numpy() for ours, theirs in names.items()})


class TorchBackend:
    """The network in Torch, without gradients.

    Args:
        weights: the trained arrays.
        device: where it runs.
    """

    name = "torch"

    def __init__(self, weights: RaptorWeights, *, device: str = "cpu") -> None:
        """Make the module."""
        self.hidden_size = weights.hidden_size
        self._device = torch.device(device)
        self._module = RaptorModule.from_weights(weights).to(self._device).eval().requires_grad_(False)

    def step(self, observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Evaluate the network once; see `Backend.step`."""
        with torch.inference_mode():
            action, after = self._module(self._tensor(observation), self._tensor(hidden))
            return action.cpu().numpy(), after.cpu().numpy()

    def _tensor(self, array: Float32Array) -> Tensor:
        # The copy is writable, as Torch wants it, and cheaper than torch.tensor.
        return torch.from_numpy(array.copy()).to(self._device)


def _torch_names() -> dict[str, str]:
    """Field of `RaptorWeights` to name in the module's state."""
    return {
        "encoder_weight": "encoder.weight",
        "encoder_bias": "encoder.bias",
        "gru_input_weight": "gru.weight_ih",
        "gru_input_bias": "gru.bias_ih",
        "gru_hidden_weight": "gru.weight_hh",
        "gru_hidden_bias": "gru.bias_hh",
        "initial_hidden": "initial_hidden",
        "head_weight": "head.weight",
        "head_bias": "head.bias",
    }
