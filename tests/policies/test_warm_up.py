"""Protects the warm-up: the policy answers what is made up before it matters, one that cannot says why."""

from dataclasses import replace

import numpy as np
import pytest
from chunked import Ramp

from policies.cameras import cameras_of
from policies.policy import PolicyError
from policies.warm_up import warm_up


def ticking(step_ns):
    times = iter(range(0, 100 * step_ns, step_ns))
    return lambda: next(times)


def test_the_policy_is_asked_with_zeros_and_unit_quaternions_and_its_time_is_told():
    policy, seen = Ramp(), []
    policy.before.append(seen.append)
    assert warm_up(policy, {}, steady_clock=ticking(3_000_000)) == pytest.approx(0.003)
    assert [o.stamp_ns for o in seen] == [0, 20_000_000, 40_000_000, 60_000_000]
    assert all(context.committed is None and not context.instruction for context in policy.contexts)
    np.testing.assert_array_equal(seen[0].values["cube_orientation"], [1, 0, 0, 0])
    np.testing.assert_array_equal(seen[0].values["joint_position"], np.zeros(6))


def test_cameras_show_black():
    policy, shown = Ramp(), []
    cameras = {name: {"height": 96, "width": 128} for name in ("front", "wrist")}
    policy.card = replace(policy.card, method="diffusion", parameters={"cameras": cameras})
    policy.before.append(lambda o: shown.append({n: (i.shape, int(i.max())) for n, i in o.images.items()}))
    warm_up(policy, cameras_of(policy.card), steady_clock=ticking(1), repeats=1)
    assert shown == [{"front": ((96, 128, 3), 0), "wrist": ((96, 128, 3), 0)}] * 2


@pytest.mark.parametrize(
    ("raised", "told"),
    [(KeyError("front"), "KeyError: 'front'"), (PolicyError("no image of 'front'"), "no image of 'front'")],
)
def test_a_policy_that_does_not_answer_says_why(raised, told):
    policy = Ramp()

    def refuse(observation):
        raise raised

    policy.before.append(refuse)
    with pytest.raises(PolicyError) as caught:
        warm_up(policy, {}, steady_clock=ticking(1))
    assert str(caught.value) == told
