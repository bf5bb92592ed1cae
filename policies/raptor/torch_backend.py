"""RAPTOR's network in Torch: the module that can be trained, and the back end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Float32Array, RaptorWeights
from policies.runtime.engines import Device, TorchEngine


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
    """The network in Torch, with one engine per batch size.

    Args:
        weights: the trained arrays.
        device: where it runs.

    Raises:
        ConfigError: Torch does not know the device.
    """

    name = "torch"

    def __init__(self, weights: RaptorWeights, *, device: Device = Device.CPU) -> None:
        """Make the module."""
        self.hidden_size = weights.hidden_size
        self._device, self._module = device, RaptorModule.from_weights(weights)
        self._engines: dict[int, TorchEngine] = {}
        self._engine(1)

    def step(self, observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Evaluate the network once; see `Backend.step`."""
        one = observation.ndim == 1
        engine = self._engine(1 if one else len(observation))
        engine.inputs["observation"][:] = observation
        engine.inputs["hidden"][:] = hidden
        engine.run()
        action, after = engine.outputs["action"], engine.outputs["next_hidden"]
        return (action[0].copy(), after[0].copy()) if one else (action.copy(), after.copy())

    def _engine(self, batch: int) -> TorchEngine:
        engine = self._engines.get(batch)
        if engine is None:
            engine = self._engines[batch] = TorchEngine(
                self._module,
                {"observation": (batch, OBSERVATION_SIZE), "hidden": (batch, self.hidden_size)},
                {"action": (batch, ACTION_SIZE), "next_hidden": (batch, self.hidden_size)},
                device=self._device,
            )
        return engine


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
