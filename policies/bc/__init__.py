"""Behaviour cloning: a small network learns chunks of actions from demonstrations."""

from policies.bc.config import TrainConfig
from policies.bc.policy import PICK_CUBE, BcOptions, BcPolicy
from policies.runtime.engines import BackendName

__all__ = ["PICK_CUBE", "BackendName", "BcOptions", "BcPolicy", "TrainConfig"]
