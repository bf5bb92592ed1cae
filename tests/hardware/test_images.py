"""Protects the one way in which images become as small as a policy wants them: nothing is stretched."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.images import fit_image, fits


def test_each_new_pixel_is_the_mean_of_the_area_that_it_covers():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    small = fit_image(image, height=15, width=20, where="here")
    mean = image.reshape(15, 4, 20, 4, 3).mean(axis=(1, 3))
    # Rounded once along the rows and once along the columns.
    assert np.abs(small - mean).max() < 1.0
    # By a factor that is none of whole pixels too: a picture of one colour stays it, the mean stays.
    assert (fit_image(np.full_like(image, 77), height=24, width=32, where="here") == 77).all()
    uneven = fit_image(image, height=24, width=32, where="here")
    assert uneven.mean() == pytest.approx(image.mean(), abs=0.6)


def test_the_middle_is_kept_in_the_wanted_shape():
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 10:70] = 200
    assert (fit_image(image, height=30, width=30, where="here") == 200).all()
    image = np.zeros((80, 60, 3), np.uint8)
    image[25:55] = 90
    assert (fit_image(image, height=30, width=60, where="here") == 90).all()


def test_an_image_of_the_right_size_is_handed_on_as_it_is():
    image = np.zeros((48, 64, 3), np.uint8)
    assert fit_image(image, height=48, width=64, where="here") is image


def test_nothing_is_made_larger():
    image = np.zeros((48, 64, 3), np.uint8)
    assert not fits(image.shape, height=49, width=64)
    with pytest.raises(
        ConfigError,
        match=r"camera 'front': an image of shape \(48, 64, 3\). Expected at least 96 x 96 pixels.*"
        "set the camera to 96 x 96 pixels or more",
    ):
        fit_image(image, height=96, width=96, where="camera 'front'")
    with pytest.raises(ConfigError, match=r"an image of shape \(48, 64\)"):
        fit_image(image[..., 0], height=4, width=4, where="camera 'front'")
