"""LeRobot's DiffusionPolicy with the architecture, the weights and the noise schedule of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from policies.diffusion.network import DiffusionNetwork


def lerobot_policy(network: DiffusionNetwork, *, device: str = "cpu") -> Any:  # noqa: ANN401
    """Build LeRobot's policy from our network.

    Args:
        network: ours, with a U-Net and without cameras. Normalisation is outside of both networks.
        device: where theirs is to compute.

    Returns:
        A `DiffusionPolicy` whose `observation.state` is the first of our features and whose
        `observation.environment_state` are the others.

    Raises:
        ConfigError: LeRobot's diffusion policy cannot be loaded.
    """
    try:
        from lerobot.configs.types import FeatureType, PolicyFeature
        from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
    except ImportError as error:
        raise ConfigError(
            f"LeRobot's diffusion policy cannot be loaded ({error})",
            where="bench diffusion",
            expected="the package lerobot with its extra diffusion",
            mend="install the extra reflexarc[policies]",
        ) from error
    settings = network.settings
    config = DiffusionConfig(
        n_obs_steps=settings.observation_steps,
        horizon=settings.horizon,
        n_action_steps=settings.horizon - settings.past_steps,
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (1,)),
            "observation.environment_state": PolicyFeature(FeatureType.ENV, (len(network.feature_mean) - 1,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (len(network.base),))},
        pretrained_backbone_weights=None,
        use_group_norm=True,
        down_dims=settings.unet.channels,
        kernel_size=settings.unet.kernel,
        n_groups=settings.unet.groups,
        diffusion_step_embed_dim=settings.unet.step_embedding,
        noise_scheduler_type=settings.noise.scheduler.value.upper(),
        num_train_timesteps=settings.noise.training_steps,
        num_inference_steps=settings.noise.inference_steps,
        prediction_type=settings.noise.prediction.value,
        device=device,
        push_to_hub=False,
    )
    policy = DiffusionPolicy(config)
    policy.diffusion.unet.load_state_dict(lerobot_weights(network))
    return policy.to(device).eval()


def lerobot_weights(network: DiffusionNetwork) -> dict[str, Tensor]:
    """Name and cut our U-Net's weights as LeRobot's has them.

    Args:
        network: ours, with a U-Net.

    Returns:
        The state of a `DiffusionConditionalUnet1d`.
    """
    import torch

    ours = network.denoiser.state_dict()
    theirs = {
        f"diffusion_step_encoder.{1 + layer}.{kind}": ours[f"embedding.{layer}.{kind}"]
        for layer in (0, 2)
        for kind in ("weight", "bias")
    }
    levels = len(network.settings.unet.channels)
    blocks = [
        *((f"down.{level}.{i}", f"down_modules.{level}.{i}") for level in range(levels) for i in range(2)),
        *((f"middle.{i}", f"mid_modules.{i}") for i in range(2)),
        *((f"up.{level}.{i}", f"up_modules.{level}.{i}") for level in range(levels - 1) for i in range(2)),
    ]
    pairs = {"end": "final_conv.0", "out": "final_conv.1"}
    pairs |= {f"shrink.{level}": f"down_modules.{level}.2" for level in range(levels - 1)}
    pairs |= {f"grow.{level}": f"up_modules.{level}.2" for level in range(levels - 1)}
    first = 0
    for block, name in blocks:
        pairs |= {f"{block}.first": f"{name}.conv1", f"{block}.second": f"{name}.conv2"}
        pairs[f"{block}.shortcut"] = f"{name}.residual_conv"
        # One matrix for all blocks and both inputs there, one for each block here.
        rows = slice(first, first + 2 * len(ours[f"{block}.first.convolution.bias"]))
        first = rows.stop
        theirs[f"{name}.cond_encoder.1.weight"] = torch.cat(
            [ours["film_step.weight"][rows], ours["film_condition.weight"][rows]], dim=1
        )
        theirs[f"{name}.cond_encoder.1.bias"] = ours["film_step.bias"][rows]
    for our_name, name in pairs.items():
        for kind in ("weight", "bias"):
            if f"{our_name}.convolution.{kind}" in ours:
                theirs[f"{name}.block.0.{kind}"] = ours[f"{our_name}.convolution.{kind}"]
                theirs[f"{name}.block.1.{kind}"] = ours[f"{our_name}.norm.{kind}"]
            elif f"{our_name}.{kind}" in ours:
                theirs[f"{name}.{kind}"] = ours[f"{our_name}.{kind}"]
    return theirs
