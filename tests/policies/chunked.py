"""A chunked policy for tests: a ramp whose values tell which observation it answers."""

from dataclasses import replace

import numpy as np

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk
from hardware.robot import Observation
from policies.bc.policy import PICK_CUBE
from policies.card import load_policy_card

ROBOT = load_robot_card("so101_twin")
STEP_NS = 20_000_000


def chunked_card(**action):
    card = load_policy_card(PICK_CUBE)
    return replace(
        card,
        name="ramp",
        files={},
        action=replace(card.action, **{"horizon": 10, "step_s": 0.02, "execute": 4, **action}),
    )


class Ramp:
    """Step i of the answer to an observation at time t is 1e-9 t + 0.001 i, for every joint."""

    def __init__(self, **action):
        self.card = chunked_card(**action)
        self.contexts, self.stamps, self.before = [], [], []
        self.state, self.seeds = {}, []

    def load_state(self, state):
        assert state == {}

    def reset(self, seed=None):
        self.seeds.append(seed)

    def act(self, observation, *, context):
        for hook in self.before:
            hook(observation)
        self.contexts.append(context)
        self.stamps.append(observation.stamp_ns)
        steps = self.card.action.horizon
        rows = 1e-9 * observation.stamp_ns + 0.001 * np.arange(steps)
        return ActionChunk(
            self.card.action.kind,
            self.card.action.names,
            np.repeat(rows[:, None], 6, axis=1),
            observation.stamp_ns,
            STEP_NS,
            steps * STEP_NS * 1e-9,
        )


def observation(stamp_ns):
    terms = {
        "joint_position": np.zeros(6),
        "joint_velocity": np.zeros(6),
        "cube_position": np.array([0.2, 0.0, 0.02]),
        "cube_orientation": np.array([1.0, 0.0, 0.0, 0.0]),
    }
    return Observation(terms, stamp_ns, stamp_ns)
