"""References passed on as commands, for vehicles that follow them by themselves."""

from policies.reference.policy import ReferenceOptions, ReferencePolicy

__all__ = ["ReferenceOptions", "ReferencePolicy"]
