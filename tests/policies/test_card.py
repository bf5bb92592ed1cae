"""Protects every policy that comes with Reflexarc from being understood by the rules of another version."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import policies
from hardware.errors import ConfigError, ConfigErrors
from policies.card import load_policy_card
from policies.registry import load_policy

ROOT = Path(policies.__file__).parent
CARDS = sorted(ROOT.glob("*/*/card.yaml"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_policy_of_another_version_is_refused_with_both_versions(tmp_path, path):
    # A card is enough: nothing else of the folder is looked at before.
    card = yaml.safe_load(path.read_text())
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**card, "schema": "reflexarc/policy-card/2"}))
    for load in (load_policy_card, load_policy):
        with pytest.raises((ConfigError, ConfigErrors)) as raised:
            load(tmp_path)
        assert "reflexarc/policy-card/2" in str(raised.value)
        assert "Expected 'reflexarc/policy-card/1'" in str(raised.value)


def test_there_are_policies_to_protect():
    assert len(CARDS) >= 5
