"""A teleoperator as somebody writes one for LeRobot: one dial, which may fail."""

from dataclasses import dataclass

from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.teleoperator import Teleoperator


@TeleoperatorConfig.register_subclass("dial")
@dataclass
class DialConfig(TeleoperatorConfig):
    """Where the dial is."""

    port: str = "/dev/none"
    turns: float = 0.0


class Dial(Teleoperator):
    config_class = DialConfig
    name = "dial"

    def __init__(self, config):
        super().__init__(config)
        self.config, self._connected, self.is_broken = config, False, False

    action_features = {"dial.pos": float}
    feedback_features = {}
    is_calibrated = True

    @property
    def is_connected(self):
        return self._connected

    def connect(self, calibrate=True):
        assert calibrate is False, "nobody is there to answer questions"
        if self.config.port == "/dev/none":
            raise ConnectionError("no such port")
        self._connected = True

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_action(self):
        if self.is_broken:
            raise ConnectionError("no answer")
        return {"dial.pos": self.config.turns, "bad.pos": float("inf"), "note": "text", "flag": None}

    def send_feedback(self, feedback):
        pass

    def disconnect(self):
        self._connected = False
