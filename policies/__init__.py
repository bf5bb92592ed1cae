"""Policies: their cards and binding, the layered controller, runtimes and learning methods."""
