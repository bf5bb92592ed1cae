"""Flights of vehicles behind flight controllers, flown over ROS 2 and measured against the truth."""
