"""Behaviour cloning as a policy: named terms in, a chunk of set-points out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.chunk import ActionChunk
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.bc.network import Backend, BcWeights, NumpyBackend
from policies.card import ONNX_FILE, WEIGHTS_FILE, PolicyCard, load_policy_card
from policies.demonstrations.layout import Float32Array, Layout
from policies.policy import ActContext, PolicyError, Stateless
from policies.runtime.engines import (
    BackendName,
    Device,
    Engine,
    TorchEngine,
    onnx_engine,
    require_cpu,
    torch_is_missing,
)

# The folder of the policy that picks up cubes with an SO-101, trained by `reflexarc train bc`.
PICK_CUBE = Path(__file__).parent / "pick_cube"


@dataclass(frozen=True)
class BcOptions:
    """How to run the policy."""

    # The library that evaluates the network.
    backend: BackendName = BackendName.ONNX
    # Where it does; tensorrt is for ONNX, and NumPy knows the CPU alone.
    device: Device = Device.CPU


class BcPolicy(Stateless):
    """A policy cloned from demonstrations. Implements `policies.policy.Policy`; it has no memory.

    Args:
        card: the policy's card.
        weights: the network's arrays, which the card must describe.
        backend: what evaluates them.

    Raises:
        ConfigErrors: card and weights disagree.
    """

    def __init__(self, card: PolicyCard, weights: BcWeights, backend: Backend) -> None:
        """Check the card against the weights."""
        _check_card(card, weights)
        self.card = card
        self._layout = Layout(card.observation)
        self._backend = backend
        self._step_ns = round(card.action.step_s * 1e9)
        # A chunk may be used until its last step is over.
        self._valid_for_s = card.action.horizon * card.action.step_s

    @classmethod
    def load(cls, folder: Path | str, options: BcOptions | None = None) -> BcPolicy:
        """Load a policy folder and verify its hashes.

        Args:
            folder: holds `card.yaml`, `model.safetensors` and, for the ONNX back end, `model.onnx`.
            options: how to run the policy.

        Returns:
            The policy.

        Raises:
            ConfigError: a file is missing, differs from its hash on the card or has none there, or the
                library of the back end cannot be loaded.
            ConfigErrors: card and weights disagree.
        """
        folder = Path(folder)
        options = BcOptions() if options is None else options
        card = load_policy_card(folder)
        needed = {WEIGHTS_FILE} | ({ONNX_FILE} if options.backend is BackendName.ONNX else set())
        unlisted = sorted(needed - set(card.files))
        if unlisted:
            raise ConfigError(
                f"the card gives no SHA-256 for {', '.join(unlisted)}",
                where=f"{folder / 'card.yaml'}: files",
                expected=", ".join(sorted(needed)),
                mend="train the policy again with policies.bc.train",
            )
        weights = BcWeights.load(folder / WEIGHTS_FILE)
        return cls(card, weights, make_backend(options.backend, folder, weights, device=options.device))

    @property
    def backend(self) -> str:
        """The name of the back end in use."""
        return self._backend.name

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, which changes nothing: the policy has no memory and draws no random numbers.

        Args:
            seed: not used.
        """

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation.

        Args:
            observation: the terms on the card.
            context: not used: the answer depends on the observation alone.

        Returns:
            `horizon` steps in the unit of the card; the first one starts at the observation's stamp.

        Raises:
            PolicyError: a term is missing or the observation is not finite.
        """
        try:
            vector = self._layout.vector(observation.values)
        except KeyError as error:
            raise PolicyError(f"the observation has no term {error}") from error
        if not np.isfinite(vector).all():
            raise PolicyError("the observation is not finite")
        return ActionChunk(
            kind=self.card.action.kind,
            names=self.card.action.names,
            values=self._backend.evaluate(vector).astype(np.float64),
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self._valid_for_s,
        )


class EngineBackend:
    """The network in an engine of `policies.runtime.engines`.

    Args:
        name: of the library.
        engine: its input `observation` (1, O) and output `action` (1, T, D).
    """

    def __init__(self, name: str, engine: Engine) -> None:
        """Keep the arrays at hand."""
        self.name, self._engine = name, engine
        self._observation, self._action = engine.inputs["observation"][0], engine.outputs["action"][0]

    def evaluate(self, observation: Float32Array) -> Float32Array:
        """Answer one observation; see `policies.bc.network.Backend.evaluate`."""
        self._observation[:] = observation
        self._engine.run()
        action: Float32Array = self._action.copy()
        return action


def make_backend(
    name: BackendName, folder: Path, weights: BcWeights, *, device: Device = Device.CPU
) -> Backend:
    """Make a back end.

    Args:
        name: which one.
        folder: the policy folder, for the ONNX model.
        weights: the network's arrays, for the others and for the shapes.
        device: where it evaluates.

    Returns:
        The back end.

    Raises:
        ConfigError: its library cannot be loaded or does not know the device, or it refuses the model.
    """
    if name is BackendName.NUMPY:
        require_cpu(device)
        return NumpyBackend(weights)
    inputs = {"observation": (1, weights.observation_size)}
    outputs = {"action": (1, weights.horizon, weights.action_size)}
    if name is BackendName.ONNX:
        return EngineBackend(name, onnx_engine(folder / ONNX_FILE, {**inputs, **outputs}, device=device))
    try:
        from policies.bc.model import BcModule
    except ImportError as error:
        raise torch_is_missing(error) from error
    return EngineBackend(name, TorchEngine(BcModule.from_weights(weights), inputs, outputs, device=device))


def _check_card(card: PolicyCard, weights: BcWeights) -> None:
    layout = Layout(card.observation)
    plain, pairs = layout.features()
    checks: list[tuple[str, object, object]] = [
        ("method", card.method, "bc"),
        ("the length of the observation", layout.size, weights.observation_size),
        ("the features", (plain.tolist(), pairs.tolist()), (weights.plain.tolist(), weights.pairs.tolist())),
        ("the horizon", card.action.horizon, weights.horizon),
        ("the number of action elements", len(card.action.names), weights.action_size),
        ("recurrent", dict(card.recurrent), {}),
    ]
    findings = [
        ConfigError(
            f"{name} is {found!r}",
            where=f"policy card {card.name!r}",
            expected=repr(wanted),
            mend="use the card that policies.bc.train wrote beside these weights",
        )
        for name, found, wanted in checks
        if found != wanted
    ]
    if findings:
        raise ConfigErrors(findings, where=f"policy card {card.name!r}")
