"""LeRobot policies as LeRobot itself makes them: small, trained for a few steps, saved by save_pretrained."""

from __future__ import annotations

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies import get_policy_class, make_policy_config, make_pre_post_processors

from policies.lerobot.contract import Feature

STATE, ENVIRONMENT, IMAGE = "observation.state", "observation.environment_state", "observation.images.front"
FEATURES = {
    STATE: Feature(terms=("joint_position", "joint_velocity")),
    ENVIRONMENT: Feature(terms=("cube_position", "cube_orientation")),
}
SIZES = {STATE: 12, ENVIRONMENT: 7}
ACT = {
    "chunk_size": 8,
    "n_action_steps": 4,
    "dim_model": 16,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1,
    "latent_dim": 4,
    "pretrained_backbone_weights": None,
}
DIFFUSION = {
    "n_obs_steps": 2,
    "horizon": 8,
    "n_action_steps": 4,
    "down_dims": (16, 32),
    "diffusion_step_embed_dim": 16,
    "n_groups": 8,
    "num_inference_steps": 2,
    "pretrained_backbone_weights": None,
    "use_group_norm": True,
}
# Half of the steps train its codebook, the other half the rest.
VQBET = {
    "n_obs_steps": 3,
    "n_action_pred_token": 3,
    "action_chunk_size": 4,
    "n_vqvae_training_steps": 6,
    "vqvae_n_embed": 4,
    "vqvae_embedding_dim": 8,
    "vqvae_enc_hidden_dim": 8,
    "gpt_block_size": 30,
    "gpt_input_dim": 16,
    "gpt_output_dim": 16,
    "gpt_n_layer": 1,
    "gpt_n_head": 2,
    "gpt_hidden_dim": 16,
    "crop_shape": None,
    "pretrained_backbone_weights": None,
    "use_group_norm": True,
}


def train_and_save(kind, settings, folder, *, image=False, steps=12):
    """Train on noise that is no unit normal, so that an omitted normalisation shows in every number."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shapes = {STATE: (12,)} | ({IMAGE: (3, 32, 48)} if image else {ENVIRONMENT: (7,)})
        kinds = {STATE: FeatureType.STATE, ENVIRONMENT: FeatureType.ENV, IMAGE: FeatureType.VISUAL}
        config = make_policy_config(
            kind,
            device="cpu",
            push_to_hub=False,
            input_features={name: PolicyFeature(kinds[name], shape) for name, shape in shapes.items()},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
            **settings,
        )
        stats = {
            name: {"mean": torch.full((s[0],), 0.3), "std": torch.full((s[0],), 0.7)}
            for name, s in shapes.items()
        }
        if image:
            stats[IMAGE] = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
        stats["action"] = {"mean": torch.linspace(-0.5, 0.5, 6), "std": torch.linspace(0.1, 0.6, 6)}
        for stat in stats.values():
            stat |= {"min": stat["mean"] - 2 * stat["std"], "max": stat["mean"] + 2 * stat["std"]}
        policy = get_policy_class(kind)(config)
        before, after = make_pre_post_processors(config, dataset_stats=stats)
        optimiser = config.get_optimizer_preset().build(policy.get_optim_params())
        policy.train()
        past = settings.get("n_obs_steps", 1)
        length = len(config.action_delta_indices)
        for _ in range(steps):
            batch = {
                name: torch.rand(8, past, *shape) if past > 1 else torch.rand(8, *shape)
                for name, shape in shapes.items()
            }
            batch |= {
                "action": torch.rand(8, length, 6),
                "action_is_pad": torch.zeros(8, length, dtype=torch.bool),
            }
            loss, _ = policy.forward(before(batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        policy.save_pretrained(folder)
        before.save_pretrained(folder)
        after.save_pretrained(folder)
    return folder
