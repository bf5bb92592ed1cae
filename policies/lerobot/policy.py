"""A LeRobot policy folder as a policy: our names and units outside, LeRobot's features inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.card import PolicyCard, load_policy_card
from policies.lerobot.contract import WEIGHTS_FILE, Feature, parameters_of
from policies.lerobot.folder import Loaded, load
from policies.policy import ActContext, PolicyError, Stateless

_OBSERVATION_IMAGES = "observation.images"


@dataclass(frozen=True)
class LeRobotOptions:
    """How to run the policy."""

    # Where the network runs, as torch names it.
    device: str = "cpu"


class LeRobotPolicy(Stateless):
    """Any policy that LeRobot can load and that predicts chunks. Implements `policies.policy.Policy`.

    The card's parameters say which of our terms and cameras make each of LeRobot's features
    (`policies.lerobot.contract`); normalisation is done by the processors that LeRobot saved beside the
    weights.

    Args:
        card: our card.
        loaded: network and processors.

    Raises:
        ConfigErrors: the card does not describe the network; every finding is listed.
        ConfigError: the network predicts no chunks.
    """

    def __init__(self, card: PolicyCard, loaded: Loaded) -> None:
        """Check the card against the network, and let the network answer once."""
        self.card = card
        self._parameters = parameters_of(card)
        self._loaded = loaded
        self._step_ns = round(card.action.step_s * 1e9)
        _check(card, self._parameters.features, loaded.policy.config)
        blank = _blank(card, loaded.policy.config, self._parameters.features)
        chunk = self._predict([blank] * card.history, self._parameters.task, seed=0)
        if chunk.shape != (card.action.horizon, len(card.action.names)):
            raise ConfigError(
                f"the network predicts {chunk.shape[0]} steps of {chunk.shape[1]} numbers",
                where=f"policy card {card.name!r}",
                expected=f"{card.action.horizon} steps of {len(card.action.names)}, as the card says",
                mend="correct horizon or names of the card's action",
            )
        self.reset()

    @classmethod
    def load(cls, folder: Path | str, options: LeRobotOptions | None = None) -> LeRobotPolicy:
        """Load a policy folder: LeRobot's files and our `card.yaml` beside them.

        Args:
            folder: what `reflexarc train act` or `policies.lerobot.describe` completed.
            options: how to run the policy.

        Returns:
            The policy, warmed up.

        Raises:
            ConfigError: a file is missing or differs from its hash on the card, LeRobot cannot load the
                policy, or the network predicts no chunks.
            ConfigErrors: card and network disagree.
        """
        folder = Path(folder)
        options = LeRobotOptions() if options is None else options
        card = load_policy_card(folder)
        if WEIGHTS_FILE not in card.files:
            raise ConfigError(
                f"the card gives no SHA-256 for {WEIGHTS_FILE}",
                where=f"{folder / 'card.yaml'}: files",
                expected=WEIGHTS_FILE,
                mend="write the card with `policies.lerobot.describe` (docs/datasets.md)",
            )
        return cls(card, load(folder, device=options.device))

    def reset(self, seed: int | None = None) -> None:
        """Begin anew; what was seen before and randomness come with every call.

        Args:
            seed: not used.
        """
        self._loaded.policy.reset()
        self._loaded.preprocessor.reset()
        self._loaded.postprocessor.reset()

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation with a chunk.

        Args:
            observation: the terms of the card and the images of its cameras.
            context: earlier observations, the instruction (empty: that of the card), and the source of
                randomness: a policy that samples is seeded from it in every call.

        Returns:
            A chunk that starts at the observation's capture stamp.

        Raises:
            PolicyError: a term or an image is missing or of another size, or a number is not finite.
        """
        seen = [*context.past, observation][-self.card.history :]
        for known in seen:
            self._check_observation(known)
        # Before there are as many, the oldest stands for those that are missing, as in LeRobot.
        seen = [seen[0]] * (self.card.history - len(seen)) + seen
        return ActionChunk(
            kind=self.card.action.kind,
            names=self.card.action.names,
            values=self._predict(
                seen, context.instruction or self._parameters.task, seed=int(context.rng.integers(2**31))
            ),
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self.card.action.horizon * self.card.action.step_s,
        )

    def _check_observation(self, observation: Observation) -> None:
        for name, term in self.card.observation.items():
            values = observation.values.get(name)
            if values is None or values.shape != (len(term.names),):
                raise PolicyError(
                    f"the observation has no {name!r} of {len(term.names)} numbers"
                    if values is None
                    else f"{name!r} has shape {values.shape} instead of ({len(term.names)},)"
                )
            if not np.isfinite(values).all():
                raise PolicyError(f"the observation is not finite: {name}")
        for feature in self._parameters.features.values():
            if feature.camera and feature.camera not in observation.images:
                raise PolicyError(f"the observation has no image of camera {feature.camera!r}")

    def _predict(self, history: list[Observation], instruction: str, *, seed: int) -> FloatArray:
        import torch

        policy = self._loaded.policy
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            batches = [self._prepared(seen, instruction) for seen in history]
            queues = getattr(policy, "_queues", None)
            if self.card.history > 1 and queues is not None:
                _fill(policy, batches)
            try:
                actions = policy.predict_action_chunk(batches[-1])
            except NotImplementedError as error:
                raise ConfigError(
                    f"a {policy.name!r} policy predicts no chunks",
                    where=f"policy card {self.card.name!r}",
                    expected="a policy with predict_action_chunk (ACT, Diffusion, VQ-BeT, SmolVLA, pi0, ...)",
                    mend="choose another base policy",
                ) from error
            # Every step as a row of a batch: that is what the saved unnormalisation expects.
            numbers = self._loaded.postprocessor(actions[0])
        found = np.asarray(numbers.to("cpu", dtype=torch.float64).numpy())
        if found.ndim == 2 and found.shape[1] == len(self.card.action.names):
            found = self._parameters.action.from_lerobot(found)
        return found

    def _prepared(self, observation: Observation, instruction: str) -> dict[str, Any]:
        batch: dict[str, Any] = self._loaded.preprocessor(self._batch(observation, instruction))
        # The processors add an empty action, which is none to learn from and none that was queued.
        batch.pop("action", None)
        return batch

    def _batch(self, observation: Observation, instruction: str) -> dict[str, Any]:
        import torch

        batch: dict[str, Any] = {"task": [instruction], "robot_type": self.card.robot_kind}
        for name, feature in self._parameters.features.items():
            if feature.camera:
                image = np.ascontiguousarray(observation.images[feature.camera])
                tensor = torch.from_numpy(image).permute(2, 0, 1).to(torch.float32) / 255.0
            else:
                joined = np.concatenate([observation.values[term] for term in feature.terms])
                tensor = torch.from_numpy(feature.to_lerobot(joined).astype(np.float32))
            batch[name] = tensor.unsqueeze(0)
        return batch


def _fill(policy: Any, batches: list[dict[str, Any]]) -> None:  # noqa: ANN401
    """Give a policy with queues its past and present, oldest first."""
    import torch
    from lerobot.policies.utils import populate_queues

    policy.reset()
    for batch in batches:
        images = getattr(policy.config, "image_features", None)
        if images:
            batch[_OBSERVATION_IMAGES] = torch.stack([batch[key] for key in images], dim=-4)
        populate_queues(policy._queues, batch, exclude_keys=["action"])


def _check(card: PolicyCard, features: Mapping[str, Feature], config: Any) -> None:  # noqa: ANN401
    where = f"policy card {card.name!r}"
    findings: list[ConfigError] = []

    def wrong(what: str, expected: str, mend: str) -> None:
        findings.append(ConfigError(what, where=where, expected=expected, mend=mend))

    for name, wanted in config.input_features.items():
        feature = features.get(name)
        if feature is None:
            wrong(
                f"nothing is said about the input {name!r}", "one feature for every input", "add the feature"
            )
        elif bool(feature.camera) != (wanted.type.value == "VISUAL"):
            wrong(
                f"{name!r} is {'an image' if feature.camera else 'numbers'} on the card",
                "a camera" if wanted.type.value == "VISUAL" else "terms",
                "correct the feature",
            )
        elif not feature.camera:
            size = sum(len(card.observation[term].names) for term in feature.terms)
            if (size,) != tuple(wanted.shape):
                wrong(
                    f"{name!r} has {size} numbers on the card ({', '.join(feature.terms)})",
                    f"{tuple(wanted.shape)}, as the network wants",
                    "correct the terms of the feature or their names",
                )
            for part in ("scale", "offset"):
                if len(getattr(feature, part)) not in (0, size):
                    wrong(f"{part} of {name!r} has {len(getattr(feature, part))} numbers", f"{size} or none",
                          f"correct {part}")  # fmt: skip
    for name in features.keys() - config.input_features.keys():
        wrong(
            f"the network has no input {name!r}",
            ", ".join(config.input_features),
            "take the feature away or correct its name",
        )
    shape = tuple(config.action_feature.shape) if config.action_feature else ()
    if shape != (len(card.action.names),):
        wrong(
            f"the action has {len(card.action.names)} numbers on the card",
            f"{shape}, as the network gives",
            "correct the names of the card's action",
        )
    history = int(getattr(config, "n_obs_steps", 1) or 1)
    if card.history != history:
        wrong(
            f"history is {card.history}",
            f"{history}, as many observations as the network sees",
            "correct history",
        )
    if findings:
        raise ConfigErrors(findings, where=where)


def _blank(card: PolicyCard, config: Any, features: Mapping[str, Feature]) -> Observation:  # noqa: ANN401
    """An observation to warm up with: zeros, and black images of the size of the training."""
    images = {}
    for name, feature in features.items():
        if feature.camera:
            _, height, width = config.input_features[name].shape
            images[feature.camera] = np.zeros((height, width, 3), np.uint8)
    values = {name: np.zeros(len(term.names)) for name, term in card.observation.items()}
    return Observation(values, 0, 0, images)
