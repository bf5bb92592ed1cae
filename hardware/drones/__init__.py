"""Drivers for quadrotors behind a flight controller."""

from hardware.drones.vehicle import ExternalPose, FlightVehicle, VehicleStatus

__all__ = ["ExternalPose", "FlightVehicle", "VehicleStatus"]
