"""The evaluations that are too long for `reflexarc.eval`."""
