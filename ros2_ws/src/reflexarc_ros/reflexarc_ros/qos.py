"""Quality of service by class of data (architecture, section 5)."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Measurements: the newest counts, a lost one is not sent again.
SENSOR = QoSProfile(
    depth=5,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# Everything that is said once a step in lockstep: every step counts. So many are kept for a recorder that is
# behind, and the twin waits for it before they are more (`twin_drive`).
LOCKSTEP_DEPTH = 200
LOCKSTEP = QoSProfile(
    depth=LOCKSTEP_DEPTH,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
# State that late joiners must see.
LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The emergency stop: reliable and repeated.
ESTOP = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
# Words that count once: none may be lost.
EVENTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
# Frames, as the listeners and broadcasters of tf2 have them.
FRAMES = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


def command(deadline_s: float | None, lifespan_s: float | None) -> QoSProfile:
    """Commands: reliable, only the newest, and worthless after a while.

    Args:
        deadline_s: the longest time between two commands; None: not announced.
        lifespan_s: how long a command may still be delivered; None: no limit.

    Returns:
        The profile.
    """
    profile = QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
    if deadline_s is not None:
        profile.deadline = Duration(seconds=deadline_s)
    if lifespan_s is not None:
        profile.lifespan = Duration(seconds=lifespan_s)
    return profile
