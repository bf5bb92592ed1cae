"""Demonstrations, and what every learner from them shares: windows, statistics, roll-outs, folders."""

from policies.demonstrations.config import ImitationConfig
from policies.demonstrations.episode import DemonstrationSet, Episode
from policies.demonstrations.layout import Layout
from policies.demonstrations.statistics import ActionScaling, Normalisation, fit_normalisation
from policies.demonstrations.windows import Windows, make_windows, split_episodes

__all__ = [
    "ActionScaling",
    "DemonstrationSet",
    "Episode",
    "ImitationConfig",
    "Layout",
    "Normalisation",
    "Windows",
    "fit_normalisation",
    "make_windows",
    "split_episodes",
]
