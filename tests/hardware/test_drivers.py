"""Protects the way from a card to its robot: one driver a name, and words where something is missing."""

import dataclasses
import sys
from types import ModuleType

import pytest
from gate_cards import drone_card

from hardware.drivers import DRIVERS, Driver, make_driver
from hardware.errors import ConfigError


def card(driver):
    return dataclasses.replace(drone_card(), driver=driver)


def test_a_driver_is_made_from_its_card_alone(monkeypatch):
    module = ModuleType("a_driver")
    module.Vehicle = lambda card: ("made from", card)
    monkeypatch.setitem(sys.modules, "a_driver", module)
    monkeypatch.setitem(DRIVERS, "mine", Driver("a_driver", "Vehicle", "reflexarc[mine]"))
    assert make_driver(card("mine")) == ("made from", card("mine"))


def test_a_driver_that_nobody_has_is_named():
    with pytest.raises(ConfigError) as raised:
        make_driver(card("warp"))
    text = "no driver 'warp'. Expected one of twin, betaflight, px4, crazyflie. To mend: choose a card"
    assert text in str(raised.value)


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch, tmp_path):
    (tmp_path / "needs_much.py").write_text("import a_vendor_kit\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DRIVERS, "mine", Driver("needs_much", "Vehicle", "reflexarc[mine]"))
    with pytest.raises(ConfigError, match="needs the package 'a_vendor_kit'.*pip install 'reflexarc.mine.'"):
        make_driver(card("mine"))
