"""Holds the search for counterexamples still: how busy the machine is must not decide about a test.

Every run tries the same examples, without a limit of time for one of them. To look for new ones:
`pytest --hypothesis-profile=default`.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")
