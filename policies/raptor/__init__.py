"""RAPTOR: one recurrent policy that flies quadrotors it has never seen, at motor level."""

from policies.raptor.backends import BackendName
from policies.raptor.policy import PUBLISHED, RaptorOptions, RaptorPolicy

__all__ = ["PUBLISHED", "BackendName", "RaptorOptions", "RaptorPolicy"]
