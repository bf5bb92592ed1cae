"""Protects the conventions of rotations: (w, x, y, z), body to world, first b then a."""

import numpy as np
import pytest

from hardware.frames import quaternion_multiply, rotation_matrix, yaw_of, yaw_quaternion


def random_quaternions(count=50):
    q = np.random.default_rng(0).normal(size=(count, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def test_a_quarter_turn_about_z_takes_x_to_y():
    matrix = rotation_matrix(yaw_quaternion(np.pi / 2))
    assert matrix @ [1.0, 0.0, 0.0] == pytest.approx([0.0, 1.0, 0.0])
    assert matrix @ [0.0, 0.0, 1.0] == pytest.approx([0.0, 0.0, 1.0])


def test_a_quarter_turn_about_x_takes_y_to_z():
    matrix = rotation_matrix(np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]))
    assert matrix @ [0.0, 1.0, 0.0] == pytest.approx([0.0, 0.0, 1.0])


def test_matrices_are_rotations_and_products_compose():
    a, b = random_quaternions(), random_quaternions()[::-1]
    matrices = rotation_matrix(a)
    assert matrices.shape == (50, 3, 3)
    assert np.allclose(matrices @ np.swapaxes(matrices, 1, 2), np.eye(3))
    assert np.allclose(np.linalg.det(matrices), 1.0)
    assert np.allclose(rotation_matrix(quaternion_multiply(a, b)), matrices @ rotation_matrix(b))


@pytest.mark.parametrize("yaw", [-3.1, -1.0, 0.0, 0.7, 3.1])
def test_the_heading_is_read_back_under_tilt(yaw):
    assert yaw_of(yaw_quaternion(yaw)) == pytest.approx(yaw)
    tilt = np.array([np.cos(0.2), 0.0, np.sin(0.2), 0.0])
    assert yaw_of(quaternion_multiply(yaw_quaternion(yaw), tilt)) == pytest.approx(yaw)
