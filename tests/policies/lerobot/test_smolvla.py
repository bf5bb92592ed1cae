"""Protects policies that understand words: LeRobot's SmolVLA, small and untrained, with a vocabulary of its
own, hears the instruction of its card, of a controller file and of the moment, also in a replay.
"""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
import torch
from chunked import ROBOT

from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.controller import load_controller
from policies.lerobot import describe
from policies.lerobot.contract import Feature
from policies.policy import ActContext
from policies.registry import load_policy
from policies.runtime.journal_file import JournalFile, JournalReader
from policies.runtime.replay import load_for, replay

STEP_NS = 40_000_000
PICK, PUSH = "pick up the cube", "push left"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>",
           "<end_of_utterance>")  # fmt: skip
WORDS = ("pick", "up", "the", "cube", "push", "left")
STATE, FRONT = "observation.state", "observation.images.front"
FEATURES = {STATE: Feature(terms=("joint_position",)), FRONT: Feature(camera="front")}


def save_language_model(folder):
    """A SmolVLM of 50,000 numbers as a folder, as transformers saves it: no hub is asked for anything."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SmolVLMConfig,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
    )
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2}
    SmolVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "image_size": 64,
            "patch_size": 16,
            **sizes,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "vocab_size": len(vocabulary),
            "pad_token_id": 0,
            **sizes,
        },
        scale_factor=2,
        image_token_id=vocabulary["<image>"],
    ).save_pretrained(folder)
    SmolVLMProcessor(SmolVLMImageProcessor(), tokenizer, SmolVLMVideoProcessor()).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SmolVLA that LeRobot made and saved, with our card beside it."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies import make_pre_post_processors
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    root = tmp_path_factory.mktemp("smolvla")
    save_language_model(root / "words")
    config = SmolVLAConfig(
        vlm_model_name=str(root / "words"),
        num_vlm_layers=2,
        chunk_size=8,
        n_action_steps=4,
        max_state_dim=8,
        max_action_dim=8,
        resize_imgs_with_padding=(64, 64),
        num_steps=2,
        device="cpu",
        input_features={
            STATE: PolicyFeature(type=FeatureType.STATE, shape=(6,)),
            FRONT: PolicyFeature(type=FeatureType.VISUAL, shape=(3, 48, 64)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(6,))},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = SmolVLAPolicy(config)
    moments = {key: {"mean": torch.zeros(6), "std": torch.full((6,), 0.1)} for key in (STATE, "action")}
    for part in (policy, *make_pre_post_processors(config, dataset_stats=moments)):
        part.save_pretrained(root / "policy")
    describe(root / "policy", ROBOT, features=FEATURES, fps=25, task=PICK)
    return root / "policy"


def seen(stamp_ns=0):
    image = np.random.default_rng(stamp_ns // STEP_NS).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    values = {name: np.zeros(len(spec.names)) for name, spec in ROBOT.observations.items()}
    return Observation(values, stamp_ns, stamp_ns, {"front": image}, {"front": stamp_ns})


def answer(policy, instruction=""):
    context = ActContext(now_ns=0, instruction=instruction, rng=np.random.default_rng(0))
    return policy.act(seen(), context=context).values


def by_lerobot(folder, instruction):
    """What LeRobot's own loop answers."""
    from lerobot.policies import get_policy_class, make_pre_post_processors

    policy = get_policy_class("smolvla").from_pretrained(folder)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    batch = {
        STATE: torch.zeros(1, 6),
        FRONT: torch.tensor(seen().images["front"]).permute(2, 0, 1)[None] / 255.0,
        "task": [instruction],
    }
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(int(np.random.default_rng(0).integers(2**31)))
        first = after(policy.select_action(before(batch)))
    return first[0].numpy()


def test_the_answer_is_lerobots_own_and_depends_on_the_words(folder):
    policy = load_policy(folder)
    picked, pushed = answer(policy, PICK), answer(policy, PUSH)
    assert picked.shape == (8, 6)
    np.testing.assert_allclose(picked[0], by_lerobot(folder, PICK), atol=1e-5)
    np.testing.assert_allclose(pushed[0], by_lerobot(folder, PUSH), atol=1e-5)
    assert np.abs(picked - pushed).max() > 1e-3
    # Nobody says anything: the words of the card.
    np.testing.assert_array_equal(answer(policy), picked)


def run(controller, first, last):
    return np.array(
        [controller.act(seen(i * STEP_NS), now_ns=i * STEP_NS).values[0] for i in range(first, last)]
    )


def test_a_controller_passes_on_what_it_is_told_from_the_next_chunk_on(folder, tmp_path):
    path = tmp_path / "push.yaml"
    path.write_text(f"schema: reflexarc/controller/1\nbase: {folder}\ninstruction: {PUSH}\n")
    told = load_controller(path, ROBOT, steady_clock=time.monotonic_ns)
    asked = load_controller(folder, ROBOT, steady_clock=time.monotonic_ns)
    assert (told.instruction, asked.instruction) == (PUSH, "")
    for controller in (told, asked):
        controller.reset(0)
    picked, pushed = run(asked, 0, 2), run(told, 0, 2)
    assert np.abs(picked - pushed).max() > 1e-4
    asked.reset(0)
    run(asked, 0, 1)
    asked.instruction = PUSH
    # What is under way is carried out; the chunk after it hears the new words.
    np.testing.assert_array_equal(run(asked, 1, 2)[0], picked[1])
    changed = run(asked, 2, 9)
    asked.instruction = ""
    asked.reset(0)
    assert np.abs(changed - run(asked, 0, 9)[2:]).max() > 1e-4


def test_a_replay_hears_what_was_said_in_the_run(folder, tmp_path):
    controller = load_controller(folder, ROBOT, steady_clock=time.monotonic_ns)
    path = tmp_path / "policy_000000.mcap"
    journal = JournalFile(
        path, robot=ROBOT, controller=controller, policy=str(folder), rate_hz=None,
        steady_clock=time.monotonic_ns,
    )  # fmt: skip
    controller.journal = journal
    controller.reset(3)
    run(controller, 0, 2)
    controller.instruction = PUSH
    run(controller, 2, 12)
    journal.close()
    assert journal.failure == ""
    reader = JournalReader(path)
    report = replay(reader, load_for(reader, None, steady_clock=time.monotonic_ns))
    assert (report.steps, report.differences) == (12, 0)


def test_a_folder_without_its_language_model_is_refused_in_words(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["vlm_model_name"] = str(tmp_path / "nowhere")
    (copy / "config.json").write_text(json.dumps(config))
    describe(copy, ROBOT, features=FEATURES, fps=25, task=PICK)
    with pytest.raises(ConfigError, match=r"LeRobot refuses the folder.*nowhere"):
        load_policy(copy)
