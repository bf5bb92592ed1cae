"""The robot cards that come with Reflexarc, by name."""

from hardware.cards.library import card_names, load_robot_card

__all__ = ["card_names", "load_robot_card"]
