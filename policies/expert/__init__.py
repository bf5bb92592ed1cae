"""Scripted experts behind the contract of a policy: their demonstrations take the way of policies."""

from policies.expert.policy import ExpertOptions, ExpertPolicy

__all__ = ["ExpertOptions", "ExpertPolicy"]
