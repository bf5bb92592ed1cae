"""The physics of reaching for a mark with each hand, with the upper body of a Unitree G1."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from hardware.errors import ConfigError
from sim.worlds import g1
from sim.worlds.arm_world import ORIENTATION, POSITION, ArmWorld, FloatArray, joint_terms

_SIDES = ("left", "right")
_RGBA = {"left": (0.10, 0.42, 0.85, 0.6), "right": (0.85, 0.25, 0.16, 0.6)}


@dataclass(frozen=True)
class TwoHandReachSettings:
    """How an attempt begins and what counts as success."""

    # Where the left hand's mark may be, base_link, metres; the right one's is drawn from the mirrored box.
    lower_m: tuple[float, float, float] = (0.22, 0.06, 0.05)
    upper_m: tuple[float, float, float] = (0.36, 0.28, 0.30)
    # Standard deviation of the joints' start about home, rad, cut off at twice that.
    start_noise_rad: float = 0.02
    # How near the middle of a hand must be to its mark, metres.
    radius_m: float = 0.03
    # For how long, both hands, without a break, seconds.
    hold_s: float = 0.4

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn or reached.

        Raises:
            ConfigError: an empty box, or a number that is not positive.
        """
        pairs = zip(self.lower_m, self.upper_m, strict=True)
        if not all(low <= high for low, high in pairs) or self.lower_m[1] <= 0:
            raise ConfigError(
                f"lower_m {self.lower_m}, upper_m {self.upper_m}",
                where="TwoHandReachSettings",
                expected="lower <= upper, to the left of the middle",
                mend="correct the corners",
            )
        if not (self.radius_m > 0 and self.hold_s > 0 and self.start_noise_rad >= 0):
            raise ConfigError(
                f"radius_m {self.radius_m}, hold_s {self.hold_s}, start_noise_rad {self.start_noise_rad}",
                where="TwoHandReachSettings",
                expected="a positive distance and time, a noise of zero or more",
                mend="correct the number",
            )


class TwoHandReachWorld(ArmWorld):
    """The upper body of a G1 and two marks in the air.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    TASK = "reflexarc/TwoHandReach-v0"
    CONTROL_HZ = 25
    JOINTS = g1.JOINTS
    HOME = g1.HOME
    CAMERAS = g1.CAMERA_FOVY_DEG
    MEASURED = {
        **joint_terms(g1.JOINTS),
        **{f"{side}_mark_position": POSITION for side in _SIDES},
        **{f"{side}_mark_orientation": ORIENTATION for side in _SIDES},
    }
    SUCCESS = "each hand is at its mark"
    DURATION_S = 10.0

    def __init__(self, *, settings: TwoHandReachSettings | None = None) -> None:
        """Compile the world and lay everything out at home."""
        self.settings = settings or TwoHandReachSettings()
        super().__init__(hold_s=self.settings.hold_s)
        self._tools = [self.model.site(f"{side}_tool").id for side in _SIDES]
        middle = (np.array(self.settings.lower_m) + self.settings.upper_m) / 2
        self._lay_out(np.array(g1.HOME), [middle, middle * [1.0, -1.0, 1.0]])

    @staticmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world; with `visual`, with light."""
        spec = g1.build_spec(visual=visual)
        for side in _SIDES:
            mark = spec.worldbody.add_body(name=f"{side}_mark", mocap=True)
            mark.add_geom(
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[0.025, 0, 0],
                contype=0,
                conaffinity=0,
                rgba=_RGBA[side],
            )
        return spec.compile()

    @staticmethod
    def urdf() -> str:
        """Describe the robot for RViz and Foxglove."""
        return g1.urdf()

    @property
    def reached(self) -> bool:
        """Whether each hand is at its mark."""
        away = self.data.site_xpos[self._tools] - self.data.mocap_pos
        return bool((np.linalg.norm(away, axis=1) <= self.settings.radius_m).all())

    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt: the joints near home, the marks somewhere within reach.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """
        settings = self.settings
        noise = np.clip(rng.standard_normal(len(g1.JOINTS)), -2.0, 2.0) * settings.start_noise_rad
        marks = [rng.uniform(settings.lower_m, settings.upper_m) for _ in _SIDES]
        self._lay_out(np.array(g1.HOME) + noise, [marks[0], marks[1] * [1.0, -1.0, 1.0]])

    def observe(self) -> dict[str, FloatArray]:
        """Measure everything that the robot card names.

        Returns:
            joint_position (17,) rad, joint_velocity (17,) rad/s, left_mark_position and right_mark_position
            (3,) m in base_link, their orientations (4,), always upright; new arrays.
        """
        marks = zip(_SIDES, self.data.mocap_pos, self.data.mocap_quat, strict=True)
        values = self._joint_terms()
        for side, position, orientation in marks:
            values |= {
                f"{side}_mark_position": position.copy(),
                f"{side}_mark_orientation": orientation.copy(),
            }
        return values

    def _lay_out(self, joints: FloatArray, marks_m: list[FloatArray]) -> None:
        self._begin(joints)
        self.data.mocap_pos[:] = marks_m
        mujoco.mj_forward(self.model, self.data)
