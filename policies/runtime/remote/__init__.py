"""Policies that think on another computer: an authenticated channel, TLS off loopback, no pickle."""

from policies.runtime.remote.client import RemotePolicy
from policies.runtime.remote.credentials import new_token, read_token
from policies.runtime.remote.dialing import RemoteOptions
from policies.runtime.remote.server import PolicyServer, ServerConfig

__all__ = [
    "PolicyServer",
    "RemoteOptions",
    "RemotePolicy",
    "ServerConfig",
    "new_token",
    "read_token",
]
