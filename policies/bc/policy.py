"""Behaviour cloning as a policy: named terms in, a chunk of set-points out."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.bc.data import Layout
from policies.bc.network import Backend, BcWeights, NumpyBackend
from policies.card import PolicyCard
from policies.policy import ActContext, PolicyError

WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"


class BackendName(enum.StrEnum):
    """The libraries that can evaluate the network."""

    NUMPY = "numpy"
    TORCH = "torch"
    ONNX = "onnx"


class BcPolicy:
    """A policy cloned from demonstrations. Implements `policies.policy.Policy`; it has no memory.

    Args:
        folder: the policy folder.
        card: its card, as `policies.card.load_policy_card` gives it.
        backend: the library that evaluates the network: numpy, torch or onnx.

    Raises:
        ConfigError: an unknown back end, a library that cannot be loaded, or a file that the card
            gives no hash for.
        ConfigErrors: card and weights disagree.
    """

    def __init__(self, folder: Path | str, card: PolicyCard, *, backend: str = BackendName.ONNX) -> None:
        """Load the weights and check the card against them."""
        self.card = card
        folder = Path(folder)
        name = _backend_name(backend)
        for file in (WEIGHTS_FILE, *((ONNX_FILE,) if name is BackendName.ONNX else ())):
            if file not in card.files:
                raise ConfigError(
                    f"the card gives no SHA-256 for {file!r}",
                    where=f"{folder / 'card.yaml'}: files",
                    expected=f"{WEIGHTS_FILE}, {ONNX_FILE}",
                    mend="train the policy again with policies.bc.train",
                )
        self._layout = Layout(card.observation)
        weights = BcWeights.load(folder / WEIGHTS_FILE)
        _check_card(card, weights)
        self._backend = _make_backend(name, folder, weights)
        self._step_ns = round(card.action.step_s * 1e9)
        # A chunk may be used until its last step is over.
        self._valid_for_s = card.action.horizon * card.action.step_s

    @property
    def backend(self) -> str:
        """The name of the back end in use."""
        return self._backend.name

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """The recurrent state: there is none."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the recurrent state.

        Args:
            state: as `state` gives it: empty.

        Raises:
            ConfigError: the state is not empty.
        """
        if state:
            raise ConfigError(
                f"a state of {', '.join(state)}",
                where=f"recurrent state of policy {self.card.name!r}",
                expected="an empty one: the policy has no memory",
                mend="pass what the policy's `state` gave",
            )

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


def _backend_name(name: str) -> BackendName:
    try:
        return BackendName(name)
    except ValueError as error:
        raise ConfigError(
            f"there is no back end {name!r}",
            where="behaviour cloning",
            expected="one of " + ", ".join(BackendName),
            mend="choose one of these",
        ) from error


def _make_backend(name: BackendName, folder: Path, weights: BcWeights) -> Backend:
    if name is BackendName.NUMPY:
        return NumpyBackend(weights)
    if name is BackendName.ONNX:
        from policies.bc.onnx_model import OnnxBackend

        return OnnxBackend(folder / ONNX_FILE, weights)
    try:
        from policies.bc.model import TorchBackend
    except ImportError as error:
        raise ConfigError(
            f"Torch cannot be loaded ({error})",
            where="Torch back end",
            expected="the package torch",
            mend="install the extra reflexarc[policies], or choose the numpy back end",
        ) from error
    return TorchBackend(weights)


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
