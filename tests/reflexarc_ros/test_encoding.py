"""Protects the messages that are made without ROS (`recording.encoding`): ROS reads them as its own."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from reflexarc_ros.chunks import ChunkCodec
from reflexarc_ros.definitions import message_class
from reflexarc_ros.messages import ObservationTopic, image_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from hardware import ConfigError, Observation
from hardware.cards.library import card_names, load_robot_card
from recording.decoding import POINT_FIELD
from recording.encoding import command_encoder, header_encoder, image_encoder, term_encoder

STAMP_NS = 1_234_567_890_123


@pytest.mark.parametrize("name", card_names())
def test_terms_are_what_the_robot_node_publishes(name):
    card, rng = load_robot_card(name), np.random.default_rng(0)
    values = {term: rng.normal(size=len(spec.names)) for term, spec in card.observations.items()}
    for topic in {spec.topic for spec in card.observations.values()}:
        terms = [term for term, spec in card.observations.items() if spec.topic == topic]
        try:
            own = ObservationTopic(card, topic)
        except ConfigError:
            # What no node of ours can publish has no message here either.
            with pytest.raises(ConfigError):
                term_encoder(card, topic, terms, root="/robot")
            continue
        spec, encode = term_encoder(card, topic, terms, root="/robot")
        assert spec.name == f"/robot/{topic}"
        ours = encode(STAMP_NS, values)
        stamp_ns, back = own.decode(ours)
        assert stamp_ns == STAMP_NS
        for term in terms:
            np.testing.assert_array_equal(back[term], values[term])
        kind = message_class(spec.type)
        assert kind is own.message_type
        one = deserialize_message(ours, kind)
        other = deserialize_message(own.encode(Observation(values, STAMP_NS, 0)), kind)
        assert one.header == other.header
        for field in ("name", "child_frame_id", "orientation_covariance"):
            assert np.array_equal(getattr(one, field, None), getattr(other, field, None))


@pytest.mark.parametrize("name", card_names())
def test_commands_are_what_the_gate_publishes(name):
    for interface in load_robot_card(name).commands.values():
        if interface.kind not in POINT_FIELD:
            continue
        numbers = np.random.default_rng(1).uniform(0.0, 1.0, len(interface.names))
        _, encode = command_encoder(
            interface, interface.names, "gate/command", root="/robot", valid_ns=40_000_000
        )
        chunk = ChunkCodec(interface.kind, interface.names).decode(encode(STAMP_NS, numbers), source="test")
        assert (chunk.start_ns, chunk.valid_for_s) == (STAMP_NS, 0.04)
        np.testing.assert_array_equal(chunk.values, numbers[None])


def test_images_and_stamps_are_those_of_ros():
    card = load_robot_card("so101_twin")
    camera = next(iter(card.cameras))
    image = np.random.default_rng(2).integers(0, 255, (5, 7, 3), np.uint8)
    _, encode = image_encoder(card, camera, f"{camera}/image", root="/robot")
    wanted = image_message(image, STAMP_NS, card.cameras[camera].frame)
    assert deserialize_message(encode(STAMP_NS, image), Image) == wanted
    _, mark = header_encoder("dataset/moment", root="/robot")
    marked = deserialize_message(mark(STAMP_NS, "operator"), Header)
    assert (marked.stamp, marked.frame_id) == (wanted.header.stamp, "operator")
