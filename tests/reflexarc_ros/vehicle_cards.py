"""Robot cards of flight vehicles, for tests of the ROS side."""

import socket

import yaml

NAMES = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "yaw")


def write_card(folder, **parameters):
    """Write the card of a fake vehicle that follows references; gives its path."""
    terms = {
        "position": (["x", "y", "z"], "m", "world"),
        "orientation": (["w", "x", "y", "z"], "quaternion", "world"),
        "linear_velocity": (["x", "y", "z"], "m/s", "body"),
        "angular_velocity": (["x", "y", "z"], "rad/s", "body"),
    }
    card = {
        "schema": "reflexarc/robot-card/1",
        "name": "fake",
        "kind": "quadrotor",
        "driver": "px4",
        "observations": {
            name: {"names": names, "unit": unit, "frame": frame, "topic": "odom", "rate_hz": 50}
            for name, (names, unit, frame) in terms.items()
        },
        "commands": {
            "reference": {
                "kind": "reference",
                "unit": "1",
                "rate_hz": 50,
                "max_age_s": 0.3,
                "timeout_s": 0.5,
                "robot_timeout_s": 1.0,
                "safe_action": "land",
                "limits": {name: {"lower": -5.0, "upper": 5.0, "slew": 50.0} for name in NAMES},
            }
        },
        "latency": {"observation": {"mean_s": 0.01}, "command": {"mean_s": 0.01}},
        "parameters": {"folder": str(folder), **parameters},
    }
    path = folder / "fake.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return str(path)


def free_port():
    """A UDP port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
