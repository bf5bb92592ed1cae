"""Protects what drivers and nodes read from a card's `parameters`: a number that is none is told, not met."""

import dataclasses
import math

import pytest
from gate_cards import drone_card

from hardware import load_robot_card
from hardware.drivers import make_driver
from hardware.errors import ConfigError
from hardware.parameters import choice, number, numbers, optional_number, share, whole


def card(**parameters):
    return dataclasses.replace(drone_card(), parameters=parameters)


def test_what_a_card_leaves_out_has_its_default():
    bare = card()
    assert number(bare, "x", 2.5) == 2.5
    assert optional_number(bare, "x") is None
    assert share(bare, "x", 0.0) == 0.0
    assert whole(bare, "x", 7, most=9) == 7
    assert numbers(bare, "x") == {}
    assert choice(bare, "x", ("a", "b")) == ""


def test_what_a_card_says_is_taken():
    full = card(n=3, s=1.0, w=255, m={"A": 1, "B": -2.5}, c="b")
    assert number(full, "n", 1.0) == optional_number(full, "n") == 3.0
    assert share(full, "s", 0.0) == 1.0
    assert whole(full, "w", 0, most=255) == 255
    assert numbers(full, "m") == {"A": 1.0, "B": -2.5}
    assert choice(full, "c", ("a", "b")) == "b"


@pytest.mark.parametrize("value", [0, 0.0, -1, 1e308, math.nan, math.inf, "fast", True, None, [1.0]])
@pytest.mark.parametrize("read", [lambda c: number(c, "x", 50.0), lambda c: optional_number(c, "x")])
def test_a_number_that_is_none_is_refused_in_words(read, value):
    with pytest.raises(ConfigError) as raised:
        read(card(x=value))
    told = str(raised.value)
    assert f"x is {value!r}. Expected a positive number of at most 3600. To mend: correct x" in told
    assert "nan)" not in told


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda: share(card(x=1.1), "x", 0.0), "x is 1.1. Expected a number from 0 to 1"),
        (lambda: share(card(x="half"), "x", 0.0), "x is 'half'. Expected a number from 0 to 1"),
        (lambda: whole(card(x=256), "x", 0, most=255), "x is 256. Expected a whole number from 0 to 255"),
        (lambda: whole(card(x=1.5), "x", 0, most=255), "x is 1.5. Expected a whole number"),
        (lambda: numbers(card(x=[1]), "x"), "x has [1]. Expected a mapping of names to numbers"),
        (lambda: numbers(card(x={"A": "on"}), "x"), "x has {'A': 'on'}. Expected a mapping"),
        (lambda: choice(card(x="c"), "x", ("a", "b")), "x is 'c'. Expected one of a, b"),
    ],
)
def test_other_values_that_are_none_are_refused_in_words(read, text):
    with pytest.raises(ConfigError) as raised:
        read()
    assert text in str(raised.value)
    assert "To mend: correct x" in str(raised.value)


@pytest.mark.parametrize("name", ["px4", "crazyflie"])
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"stream_hz": 0}, "stream_hz is 0. Expected a positive number"),
        ({"stream_hz": 1e308}, "stream_hz is 1e+308. Expected a positive number"),
        ({"connect_timeout_s": "long"}, "connect_timeout_s is 'long'. Expected a positive number"),
        ({"firmware_parameters": {"A": "on"}}, "firmware_parameters has {'A': 'on'}"),
    ],
)
def test_a_driver_refuses_them_before_it_opens_anything(name, parameters, text):
    made = load_robot_card(name)
    with pytest.raises(ConfigError) as raised:
        make_driver(dataclasses.replace(made, parameters={**made.parameters, **parameters}))
    assert text in str(raised.value)
