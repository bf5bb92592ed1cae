"""Processes that speak a real robot's protocol, so that drivers are tested against the wire and not a mock."""
