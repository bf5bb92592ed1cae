"""Forward kinematics of the serial chains that a robot card describes, one to each tool."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from hardware.robot import JointFrame, RobotCard

_TOLERANCE = 1e-3


class SerialChain:
    """A chain of revolute joints from the base to the tool.

    Args:
        frames: the joints in order from the base, each seen from its parent, then fixed offsets
            (without a name), the last of which is the tool.
        names: the elements of a posture, in its order; those that are not in the chain do not move
            the tool (a gripper).
        held: joints of the chain that are not for this tool to move, such as a waist that carries two arms:
            where the tool is depends on them, `joints` and the Jacobian leave them out.

    Raises:
        ConfigError: the chain is empty, a joint of it is not among the names or comes twice, or a
            frame has a quaternion or an axis that is not of unit length.
    """

    def __init__(
        self, frames: Sequence[JointFrame], names: Sequence[str], *, held: Collection[str] = ()
    ) -> None:
        """Prepare the constant parts of the transforms."""
        where = "chain"
        if not frames:
            raise ConfigError(
                "no joint",
                where=where,
                expected="the joints from the base to the tool",
                mend="add the kinematic chain to the card",
            )
        joints = [frame.name for frame in frames if frame.name]
        unknown = sorted(set(joints) - set(names))
        if unknown or len(set(joints)) < len(joints):
            raise ConfigError(
                "unknown joints " + ", ".join(unknown) if unknown else "a joint comes twice",
                where=where,
                expected="each joint once, out of " + ", ".join(names),
                mend="correct the names in the chain",
            )
        self.names = tuple(names)
        # Those of them that are to move the tool, from the base on.
        self.joints = tuple(name for name in joints if name not in held)
        self._links = [_Link(frame, list(names)) for frame in frames]
        self._moving = [bool(frame.name) and frame.name not in held for frame in frames]

    def tool_positions(self, postures: FloatArray) -> FloatArray:
        """Find the tool.

        Args:
            postures: shape (N, D), rad, in the order of `names`.

        Returns:
            Shape (N, 3), metres, in the base frame.
        """
        postures = np.asarray(postures, dtype=np.float64)
        point: FloatArray = np.zeros((len(postures), 3))
        for link in reversed(self._links):
            point = link.origin + link.turn(point, postures)
        return point

    def jacobian(self, posture: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Find the tool, and how it moves when the joints do.

        Args:
            posture: shape (D,), rad, in the order of `names`.

        Returns:
            The tool's position (3,) in metres and rotation (3, 3), and the Jacobian (6, D): three rows of
            velocity (m/s), three of angular velocity (rad/s), base frame; zero for what is not in `joints`.
        """
        point: FloatArray = np.zeros(3)
        turned: FloatArray = np.eye(3)
        indices, axes, origins = [], [], []
        for link, is_moving in zip(self._links, self._moving, strict=True):
            point = point + turned @ link.origin
            if is_moving and link.index is not None:
                indices.append(link.index)
                axes.append(turned @ link.axis)
                origins.append(point)
            turned = turned @ link.rotation(0.0 if link.index is None else float(posture[link.index]))
        jacobian = np.zeros((6, len(self.names)))
        axis, arm = np.array(axes).T, point[:, None] - np.array(origins).T
        jacobian[:3, indices] = axis[[1, 2, 0]] * arm[[2, 0, 1]] - axis[[2, 0, 1]] * arm[[1, 2, 0]]
        jacobian[3:, indices] = axis
        return point, turned, jacobian

    def root(self, posture: FloatArray) -> FloatArray:
        """Find the first joint that is to move the tool (a shoulder).

        Args:
            posture: shape (D,), rad, in the order of `names`.

        Returns:
            Shape (3,), metres, in the base frame.
        """
        first = self._moving.index(True)
        point: FloatArray = np.zeros((1, 3))
        for link in reversed(self._links[: first + 1]):
            point = link.origin + link.turn(point, posture[None])
        return np.asarray(point[0])

    def tool_rotations(self, postures: FloatArray) -> FloatArray:
        """Find how the tool is turned.

        Args:
            postures: shape (N, D), rad, in the order of `names`.

        Returns:
            Shape (N, 3, 3); columns are the tool's axes in the base frame.
        """
        postures = np.asarray(postures, dtype=np.float64)
        axes = [np.tile(axis, (len(postures), 1)) for axis in np.eye(3)]
        for link in reversed(self._links):
            axes = [link.turn(axis, postures) for axis in axes]
        return np.stack(axes, axis=-1)


class _Link:
    # Rodrigues: fixed @ (1 + sin(q) k + (1 - cos(q)) k^2) = rest + sin(q) sine + cos(q) cosine.
    def __init__(self, frame: JointFrame, names: list[str]) -> None:
        for what, numbers, count in (
            ("origin_m", frame.origin_m, 3),
            ("orientation_wxyz", frame.orientation_wxyz, 4),
            ("axis", frame.axis, 3),
        ):
            unit = what == "origin_m" or abs(math.hypot(*numbers) - 1.0) < _TOLERANCE
            if len(numbers) != count or not all(map(math.isfinite, numbers)) or not unit:
                raise ConfigError(
                    f"{what} of {frame.name or 'the tool'} is {tuple(numbers)}",
                    where="chain",
                    expected=f"{count} finite numbers" + ("" if what == "origin_m" else ", of unit length"),
                    mend=f"correct {what}",
                )
        self.origin = np.array(frame.origin_m, dtype=np.float64)
        quaternion = np.array(frame.orientation_wxyz, dtype=np.float64)
        fixed = rotation_matrix(quaternion / np.linalg.norm(quaternion))
        x, y, z = np.array(frame.axis, dtype=np.float64) / np.linalg.norm(frame.axis)
        k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        self.index = names.index(frame.name) if frame.name else None
        # The axis in the parent's frame.
        self.axis = fixed @ np.array([x, y, z])
        self._fixed = fixed.T
        self._rest, self._sine, self._cosine = (fixed + fixed @ k @ k).T, (fixed @ k).T, (-fixed @ k @ k).T

    def rotation(self, angle_rad: float) -> FloatArray:
        """From the joint's frame into its parent's at an angle; shape (3, 3)."""
        if self.index is None:
            return np.asarray(self._fixed.T)
        turned = self._rest + math.sin(angle_rad) * self._sine + math.cos(angle_rad) * self._cosine
        return np.asarray(turned.T)

    def turn(self, vectors: FloatArray, postures: FloatArray) -> FloatArray:
        """From the joint's frame into its parent's, without the offset; shape (N, 3)."""
        if self.index is None:
            return np.asarray(vectors @ self._fixed)
        angle = postures[:, self.index, None]
        turned = vectors @ self._rest
        turned += np.sin(angle) * (vectors @ self._sine)
        turned += np.cos(angle) * (vectors @ self._cosine)
        return np.asarray(turned)


def tool_chains(card: RobotCard, names: Sequence[str]) -> dict[str, SerialChain]:
    """Give the chains of a card for some joints, those of one command interface.

    Args:
        card: a robot card.
        names: the joints of a posture, in its order.

    Returns:
        The chains by tool; tools that none of these joints moves are left out. A joint that carries several
        tools of the card is held by each: it is nobody's own.

    Raises:
        ConfigError: some joints of a chain are among the names and others are not, or a frame has a fault.
    """
    joints = {tool: [f.name for f in spec.chain if f.name] for tool, spec in card.tools.items()}
    counts = Counter(name for chain in joints.values() for name in chain)
    chains = {}
    for tool, spec in card.tools.items():
        if set(joints[tool]).isdisjoint(names):
            continue
        held = {name for name in joints[tool] if counts[name] > 1}
        try:
            chains[tool] = SerialChain(spec.chain, names, held=held)
        except ConfigError as error:
            where = f"robot card {card.name!r}: tools.{tool}.{error.where}"
            raise ConfigError(error.what, where=where, expected=error.expected, mend=error.mend) from error
    return chains
