"""Protects the link from robot cards to simulated flight controllers: no card names one that is not there."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from reflexarc_ros.bringup import nodes
from reflexarc_ros.peers import PEERS, find_peer

import hardware.cards
from hardware import ConfigError, load_robot_card

CARDS = {path.stem: load_robot_card(path.stem) for path in Path(hardware.cards.__path__[0]).glob("*.yaml")}
WITH_PEER = sorted(name for name, card in CARDS.items() if "peer" in card.parameters)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_names_a_peer_that_there_is_or_none(name):
    card = CARDS[name]
    assert find_peer(card) == card.parameters.get("peer", "")


@pytest.mark.parametrize("peer", sorted(PEERS))
def test_every_peer_is_a_program_and_belongs_to_a_card(peer):
    spec = importlib.util.find_spec(PEERS[peer])
    assert spec is not None
    if spec.submodule_search_locations is not None:
        # A package is run by its __main__.
        assert importlib.util.find_spec(PEERS[peer] + ".__main__") is not None
    assert peer in {CARDS[name].parameters["peer"] for name in WITH_PEER}


@pytest.mark.parametrize("name", WITH_PEER)
def test_the_peer_is_started_before_the_vehicle_and_given_its_card(name):
    specs = nodes("quadrotor", {"robot": name})
    names = [spec.name for spec in specs]
    assert names.index("peer_node") < names.index("robot_node")
    assert specs[names.index("peer_node")].parameters["card"] == name


def test_an_unknown_peer_is_refused_before_anything_starts(tmp_path):
    path = Path(hardware.cards.__path__[0]) / "px4_peer.yaml"
    card = yaml.safe_load(path.read_text())
    card["parameters"]["peer"] = "ardupilot"
    bad = tmp_path / "card.yaml"
    bad.write_text(yaml.safe_dump(card))
    with pytest.raises(ConfigError) as raised:
        nodes("quadrotor", {"robot": str(bad)})
    assert "peer is 'ardupilot'. Expected one of betaflight, " in str(raised.value)
