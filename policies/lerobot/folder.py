"""Loading what LeRobot's `save_pretrained` wrote: local files alone, no code of strangers, no prints."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from policies.lerobot.contract import CONFIG_FILE, POSTPROCESSOR_FILE, PREPROCESSOR_FILE, WEIGHTS_FILE

# Modules whose processor steps may be loaded by name: LeRobot's own and its installed policy plug-ins.
_TRUSTED = ("lerobot.", "lerobot_policy_")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A LeRobot policy with its processors."""

    # The network, `lerobot.policies.PreTrainedPolicy`.
    policy: Any
    # What turns a batch of raw features into the network's input, and its output into actions.
    preprocessor: Any
    postprocessor: Any


def read_config(folder: Path) -> Mapping[str, Any]:
    """Read LeRobot's `config.json`.

    Args:
        folder: a LeRobot policy folder.

    Returns:
        Its contents.

    Raises:
        ConfigError: it is missing, no JSON, or names no policy type and features.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        sound = isinstance(config["type"], str) and bool(
            config["input_features"] and config["output_features"]
        )
        problem = "it has no type or no features"
    except (OSError, ValueError, KeyError, TypeError) as error:
        sound, problem = False, f"{type(error).__name__}: {error}"
    if not sound:
        raise ConfigError(
            f"no configuration of a LeRobot policy ({problem})",
            where=str(path),
            expected="a JSON file with type, input_features and output_features",
            mend="give the folder that LeRobot's save_pretrained wrote (checkpoints/*/pretrained_model)",
        )
    found: Mapping[str, Any] = config
    return found


def load(folder: Path, *, device: str) -> Loaded:
    """Load network and processors.

    Args:
        folder: a LeRobot policy folder.
        device: where the network runs, as torch names it.

    Returns:
        The policy, in evaluation mode.

    Raises:
        ConfigError: a file is missing or does not fit, LeRobot or a library of the policy is not installed,
            or a processor step comes from an unknown module.
    """
    config = read_config(folder)
    for name in (WEIGHTS_FILE, PREPROCESSOR_FILE, POSTPROCESSOR_FILE):
        if not (folder / name).exists():
            raise ConfigError(
                f"{name} is missing",
                where=str(folder),
                expected="weights and processors as LeRobot saves them",
                mend="save the policy and its processors with LeRobot 0.4 or later",
            )
    for name in (PREPROCESSOR_FILE, POSTPROCESSOR_FILE):
        _check_steps(folder / name)
    try:
        with _offline(), contextlib.redirect_stdout(io.StringIO()):
            return _load(folder, config, device)
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(
            f"the policy type {config['type']!r} cannot be loaded ({error})",
            where=str(folder),
            expected="LeRobot with the extra of this policy type",
            mend="install the extra reflexarc[policies], or LeRobot's own extra for this policy",
        ) from error
    except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"LeRobot refuses the folder ({type(error).__name__}: {str(error)[:400]})",
            where=str(folder),
            expected="a policy folder of this version of LeRobot, whole, with local weights",
            mend="save it again with this version of LeRobot, or put what it names on this machine",
        ) from error


def _load(folder: Path, config: Mapping[str, Any], device: str) -> Loaded:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies import get_policy_class, make_pre_post_processors
    from lerobot.utils.import_utils import register_third_party_plugins

    if config["type"] not in PreTrainedConfig.get_known_choices():
        register_third_party_plugins()
    if config["type"] not in PreTrainedConfig.get_known_choices():
        raise ConfigError(
            f"LeRobot has no policy type {config['type']!r}",
            where=str(folder / CONFIG_FILE),
            expected="one of " + ", ".join(sorted(PreTrainedConfig.get_known_choices())),
            mend="install the plug-in lerobot_policy_... that brings it",
        )
    parsed = PreTrainedConfig.from_pretrained(folder, cli_overrides=[f"--device={device}"])
    if getattr(parsed, "pretrained_backbone_weights", None) is not None:
        # They would be downloaded only to be overwritten by the weights of the folder.
        parsed.pretrained_backbone_weights = None
    policy = get_policy_class(config["type"]).from_pretrained(folder, config=parsed, strict=True)
    preprocessor, postprocessor = make_pre_post_processors(
        parsed,
        pretrained_path=str(folder),
        preprocessor_overrides={"device_processor": {"device": parsed.device}},
    )
    return Loaded(policy, preprocessor, postprocessor)


def _check_steps(path: Path) -> None:
    """Refuse a pipeline that imports modules of its own choice: loading a policy runs no strange code."""
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        named = [str(step["class"]) for step in steps if "registry_name" not in step]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"no processor pipeline ({type(error).__name__}: {error})",
            where=str(path),
            expected="what LeRobot saves",
            mend="save the policy and its processors again",
        ) from error
    strange = [name for name in named if not name.startswith(_TRUSTED)]
    if strange:
        raise ConfigError(
            f"the steps {', '.join(strange)} would be imported",
            where=str(path),
            expected="steps of LeRobot or of an installed lerobot_policy_ plug-in",
            mend="get the policy from somebody you trust, saved with LeRobot's own steps",
        )


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries below from asking a server for what is not here."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
