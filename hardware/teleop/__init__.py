"""Teleoperation: devices that a person moves a robot with, and how their controls become targets."""

from hardware.teleop.devices import DEVICES, SERVICE_CONTROL, make_device
from hardware.teleop.mapping import TeleopMapping, load_mapping, mapping_name, mapping_names
from hardware.teleop.reading import Device, Event, LinkState, Pose, Reading, Status
from hardware.teleop.scripted import ScriptedDevice
from hardware.teleop.session import Operator, TeleopStep

__all__ = [
    "DEVICES",
    "SERVICE_CONTROL",
    "Device",
    "Event",
    "LinkState",
    "Operator",
    "Pose",
    "Reading",
    "ScriptedDevice",
    "Status",
    "TeleopMapping",
    "TeleopStep",
    "load_mapping",
    "make_device",
    "mapping_name",
    "mapping_names",
]
