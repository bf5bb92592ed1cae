"""Behaviour cloning: a small network learns chunks of actions from demonstrations."""

from policies.bc.config import TrainConfig
from policies.bc.policy import PICK_CUBE, BackendName, BcOptions, BcPolicy

__all__ = ["PICK_CUBE", "BackendName", "BcOptions", "BcPolicy", "TrainConfig"]
