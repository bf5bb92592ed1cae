"""Every test gets a ROS domain of its own, on loopback."""

import os
import tempfile

import pytest
import rclpy
from reflexarc_ros.bringup import environment
from reflexarc_ros.domain import OwnDomain

os.environ.update(environment())


@pytest.fixture
def domain_id():
    with OwnDomain() as domain:
        yield domain.id


@pytest.fixture
def context(domain_id):
    """An rclpy context in the test's domain."""
    context = rclpy.Context()
    context.init(domain_id=domain_id)
    yield context
    context.try_shutdown()


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield name
