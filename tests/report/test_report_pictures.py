"""Pixels of the report's pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from skydelta.report import pictures


def decoded(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_data_uri_keeps_pixels_and_puts_the_first_row_at_the_bottom():
    pixels = np.zeros((3, 2, 3), np.uint8)
    pixels[0, 1] = 200, 10, 30
    back = decoded(pictures.data_uri(pixels))
    assert back.shape == (3, 2, 4)
    assert back[2, 1].tolist() == [200, 10, 30, 255]
    assert (back[:2, :, :3] == 0).all()


def test_data_uri_of_more_than_256_colours():
    pixels = np.arange(20 * 20 * 3, dtype=np.int64).reshape(20, 20, 3).astype(np.uint8)
    pixels[..., 0] = np.arange(20)[:, None]
    pixels[..., 1] = np.arange(20)
    np.testing.assert_array_equal(decoded(pictures.data_uri(pixels))[::-1, :, :3], pixels)


def test_downsample_means_and_masks():
    image = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(pictures.downsample(image, 2), [[2.5, 4.5], [10.5, 12.5]])
    mask = np.zeros((5, 4), bool)
    mask[1, 3] = mask[4, 0] = True  # the last row does not fill a block
    small = pictures.downsample_mask(mask, 2)
    np.testing.assert_array_equal(small, [[False, True], [False, False]])


@pytest.mark.parametrize(
    ("shape", "factor"), [((100, 200), 1), ((1024, 300), 2), ((4096, 2048), 8)]
)
def test_shrink_factor(shape, factor):
    assert pictures.shrink_factor(shape) == factor


def test_diverging_is_symmetric_and_light_at_zero():
    blue, white, red = pictures.diverging(np.array([[-1.0, 0.0, 1.0]]))[0].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert white.min() > 240
    assert (pictures.diverging(np.array([[np.nan]])) == white).all()


def test_cutout_beyond_the_edge_is_nan():
    image = np.arange(100.0).reshape(10, 10)
    cut = pictures.cutout(image, 1.2, 8.0, half=2)
    assert cut[2, 2] == image[8, 1]
    assert np.isnan(cut[:, 0]).all()
    assert np.isnan(cut[4]).all()


def test_grid_of_starts_at_the_bottom_left():
    panels = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 30, 40)]
    grid = pictures.grid_of(panels, 2, gap=1)
    assert grid.shape == (5, 5, 4)
    assert grid[0, 0, 0] == 10
    assert grid[0, 4, 0] == 20
    assert grid[4, 0, 0] == 30
    assert grid[2, 0, 3] == 0  # the gap is clear
