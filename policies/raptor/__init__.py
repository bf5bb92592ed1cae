"""RAPTOR: one recurrent policy that flies quadrotors it has never seen, at motor level."""

from policies.raptor.policy import PUBLISHED, RaptorOptions, RaptorPolicy
from policies.runtime.engines import BackendName

__all__ = ["PUBLISHED", "BackendName", "RaptorOptions", "RaptorPolicy"]
