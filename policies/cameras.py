"""The cameras that a policy looks through: found on its card, whatever its method, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardware.robot import CameraSpec, Observation, RobotCard
from policies.card import PolicyCard
from policies.policy import PolicyError


@dataclass(frozen=True)
class CameraInput:
    """The images of one camera, as a policy takes them."""

    # The least height and width of an image, pixels: a larger one is made smaller by
    # `hardware.images.fit_image`. 0: the policy takes any size, or says itself what is wrong with one.
    height: int = 0
    width: int = 0


def cameras_of(card: PolicyCard) -> dict[str, CameraInput]:
    """Find the cameras whose images a policy wants.

    Args:
        card: of any method.

    Returns:
        What it takes, by the names of the robot's cameras; empty for a policy without images.
    """
    parameters = card.parameters
    found: dict[str, CameraInput] = {}
    if card.method == "diffusion":
        for name, camera in _mapping(parameters.get("cameras")).items():
            size = _mapping(camera)
            found[name] = CameraInput(size.get("height", 0), size.get("width", 0))
    elif card.method == "lerobot":
        for feature in _mapping(parameters.get("features")).values():
            camera = str(_mapping(feature).get("camera") or "")
            if camera:
                found[camera] = CameraInput()
    return found


def camera_faults(card: PolicyCard, robot: RobotCard) -> list[tuple[str, str, str]]:
    """Say what keeps a policy from seeing with a robot's cameras.

    Args:
        card: the policy's.
        robot: the robot's.

    Returns:
        For each fault: what is wrong, what was expected, and how to mend it.
    """
    faults: list[tuple[str, str, str]] = []
    for name, wanted in cameras_of(card).items():
        camera = robot.cameras.get(name)
        if camera is None:
            faults.append(
                (
                    f"the robot has no camera {name!r}",
                    "one of " + (", ".join(robot.cameras) or "none: it has no cameras"),
                    "add the camera to the robot card or train a policy without it",
                )
            )
            continue
        if camera.height < wanted.height or camera.width < wanted.width:
            faults.append(
                (
                    f"the images of camera {name!r} have {camera.height} x {camera.width} pixels",
                    f"at least {wanted.height} x {wanted.width}",
                    "set the camera to more pixels or train a policy for smaller images",
                )
            )
        age_s = _age_s(camera, robot)
        if age_s > card.max_loop_age_s:
            faults.append(
                (
                    f"an image of camera {name!r} is up to {age_s * 1e3:.1f} ms old at the motor"
                    f" ({camera.rate_hz:g} images a second, and the loop)",
                    f"at most max_loop_age_s = {card.max_loop_age_s * 1e3:.1f} ms",
                    "make the camera faster, or train with --max-loop-age-s as large as that",
                )
            )
    return faults


def check_images(observation: Observation, cameras: Mapping[str, CameraInput], *, max_age_s: float) -> None:
    """Refuse an observation whose images are missing or too old: a frozen camera must not steer.

    Args:
        observation: with its images and their stamps.
        cameras: those that the policy wants.
        max_age_s: how much older than the observation an image may be, seconds.

    Raises:
        PolicyError: there is no image of a camera, or it is older.
    """
    for name in cameras:
        if name not in observation.images:
            raise PolicyError(f"the observation has no image of the camera {name!r}")
        age_s = (observation.stamp_ns - observation.image_stamps_ns.get(name, observation.stamp_ns)) * 1e-9
        if age_s > max_age_s:
            raise PolicyError(
                f"the image of the camera {name!r} is {age_s:.2f} s old, max_loop_age_s is {max_age_s:g} s"
            )


def _age_s(camera: CameraSpec, robot: RobotCard) -> float:
    return 1.0 / camera.rate_hz + robot.latency.loop_p99_s


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
