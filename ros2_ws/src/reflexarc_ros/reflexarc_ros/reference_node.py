"""reference_node: where a vehicle should be (hover, figure eight, waypoints, or one after the other)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardware.cards import load_robot_card
from hardware.reference import make_program, make_trajectory
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.chunks import ReferenceCodec
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import ObservationTopic
from reflexarc_ros.node import PACE, ReflexarcNode, Setting, destroy, run

REFERENCE_TOPIC = "reference"
_STEP_NS = 10_000_000
_HORIZON = 30
_PERIOD_NS = 50_000_000


class ReferenceNode(ReflexarcNode):
    """Publishes a horizon of reference points, stamped in the robot's time."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        Setting(
            "reference",
            "hover",
            "What to fly; program: the parts in the parameter `program`.",
            choices=("hover", "figure_eight", "waypoints", "program"),
        ),
        Setting("height_m", 1.0, "Flying height above the ground.", minimum=0.2, maximum=20.0),
        Setting("period_s", 10.0, "Time for one loop of the figure eight.", minimum=1.0, maximum=120.0),
        Setting("waypoints", [0.0, 0.0, 1.0], "x, y, z of each waypoint in turn, metres."),
        Setting(
            "program", ["hover 10"], "Parts flown in order: 'hover SECONDS', 'figure_eight PERIOD SECONDS'."
        ),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("reference_node")
        self._entities: list[Any] = []
        self._loop: DeadlineLoop | None = None

    def configure(self) -> None:
        """Make the trajectory, advertise, listen to the pacing topic."""
        card = load_robot_card(self.setting("card"))
        height_m = self.setting("height_m")
        self._trajectory = (
            make_program(self.setting("program"), height_m=height_m)
            if self.setting("reference") == "program"
            else make_trajectory(
                self.setting("reference"),
                height_m=height_m,
                period_s=self.setting("period_s"),
                waypoints=self.setting("waypoints"),
            )
        )
        self._codec = ReferenceCodec()
        self._publisher = self.create_publisher(
            self._codec.message_type, REFERENCE_TOPIC, qos.command(None, None)
        )
        self._entities = [self._publisher]
        if self.is_lockstep:
            self._topic = ObservationTopic(card, pacing_topic(card))
            self._entities.append(
                self.create_subscription(
                    self._topic.message_type,
                    self._topic.topic,
                    self.guarded(self._topic.topic, self._on_observation),
                    qos.LOCKSTEP,
                    raw=True,
                )
            )

    def activate(self) -> None:
        """Begin at the next observation (lockstep), or as soon as the ROS clock runs (real time)."""
        self._start_ns: int | None = None
        if not self.is_lockstep:
            self._loop = self.loop(_PERIOD_NS, self._on_deadline, name="reference")
            self._loop.start()

    def deactivate(self) -> None:
        """Stop publishing; a policy without a reference stops acting."""
        if self._loop is not None:
            self._loop.stop()

    def cleanup(self) -> None:
        """Withdraw everything."""
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    def _on_observation(self, raw: bytes) -> None:
        if not self.is_active:
            return
        stamp_ns, _ = self._topic.decode(raw)
        self._begin(stamp_ns)
        self._publish(stamp_ns)

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        now_ns = self.data_now_ns()
        if now_ns == 0:
            return
        start_ns = self._begin(now_ns)
        # On the grid of the start, so that points of successive messages coincide.
        self._publish(now_ns - (now_ns - start_ns) % _STEP_NS)

    def _begin(self, now_ns: int) -> int:
        if self._start_ns is None:
            self._start_ns = now_ns
            self.health.note(start_ns=now_ns)
        return self._start_ns

    def _publish(self, start_ns: int) -> None:
        assert self._start_ns is not None
        points = [
            self._trajectory.sample((start_ns - self._start_ns + i * _STEP_NS) * 1e-9)
            for i in range(_HORIZON)
        ]
        self._publisher.publish(self._codec.encode(points, start_ns=start_ns, step_ns=_STEP_NS))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(ReferenceNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
