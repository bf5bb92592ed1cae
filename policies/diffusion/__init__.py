"""Diffusion policies (Chi et al., 2023): chunks are drawn by taking noise away, given what was observed."""

from policies.diffusion.config import DiffusionConfig
from policies.diffusion.policy import BackendName, DiffusionOptions, DiffusionPolicy

__all__ = ["BackendName", "DiffusionConfig", "DiffusionOptions", "DiffusionPolicy"]
