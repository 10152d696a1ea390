"""Blended tiles: their windows, and that filtering in them is filtering the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian_stamp, white_noise
from scipy.signal import fftconvolve

from skydelta.tiling import BLEND, blended_tiles, filtered_tile, tile_transform

KERNEL = gaussian_stamp(2.0, 21, dx=1.3, dy=-0.7, sigma_y=3.0, angle=0.4)
HALF = KERNEL.shape[0] // 2


def tiles_of(shape, half, transform=256):
    """The tiles for transforms of another size, px."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skydelta.tiling.SMALL", transform)
        patch.setattr("skydelta.tiling.LARGE", transform)
        return list(blended_tiles(shape, half))


def filtered(image, kernel=KERNEL, beyond="zero"):
    out = np.zeros(image.shape, np.float32)
    half = kernel.shape[0] // 2
    for tile in tiles_of(image.shape, half):
        out[tile.inside] += tile.window * filtered_tile(image, kernel, tile, half, beyond)
    return out


sizes = st.integers(1, 900)


class TestWindows:
    @settings(max_examples=60, deadline=None)
    @given(sizes, sizes, st.integers(0, 200), st.sampled_from([256, 512, 768]))
    def test_sum_to_one(self, ny, nx, half, transform):
        total = np.zeros((ny, nx))
        for tile in tiles_of((ny, nx), half, transform):
            assert tile.window.min() > 0
            assert tile.window.shape == total[tile.inside].shape
            total[tile.inside] += tile.window
        assert np.abs(total - 1).max() < 1e-5

    @settings(max_examples=60, deadline=None)
    @given(sizes, sizes, st.integers(0, 200), st.sampled_from([256, 512, 768]))
    def test_transforms_hold_output_and_margin(self, ny, nx, half, transform):
        for tile in tiles_of((ny, nx), half, transform):
            y0, y1, x0, x1 = tile.box
            assert 0 <= y0 < y1 <= ny
            assert 0 <= x0 < x1 <= nx
            assert max(y1 - y0, x1 - x0) + 2 * half <= tile.size

    def test_centres_are_those_of_the_tiles_without_blending_zones(self):
        tiles = tiles_of((200, 600), 20)
        assert len(tiles) > 3
        for tile in tiles:
            x = np.arange(tile.box[2], tile.box[3])
            inner = x[tile.window[tile.window.shape[0] // 2] >= 0.5]
            assert tile.centre[0] == pytest.approx(0.5 * (inner[0] + inner[-1]), abs=0.5)

    def test_neighbours_blend_linearly(self):
        first, second = tiles_of((120, 300), 20)[:2]
        ramp = second.window[60, : 2 * BLEND]
        assert np.diff(ramp) == pytest.approx(1 / (2 * BLEND), abs=1e-6)
        assert first.window[60, -2 * BLEND :] == pytest.approx(1 - ramp, abs=1e-6)

    def test_grown(self):
        tile = tiles_of((120, 300), 20)[0]
        y0, y1, x0, x1 = tile.box
        assert tile.grown(3).box == (y0 - 3, y1 + 3, x0 - 3, x1 + 3)
        assert tile.grown(3).size == tile.size


class TestFiltered:
    @pytest.mark.parametrize("shape", [(40, 30), (300, 170), (523, 401), (60, 700)])
    @pytest.mark.parametrize("half", [HALF, 33])
    def test_zeros_beyond_the_edge(self, shape, half):
        image = white_noise(shape, 1).astype(np.float32)
        expected = fftconvolve(image, KERNEL, mode="same")
        kernel = np.pad(KERNEL, half - HALF)
        assert filtered(image, kernel) == pytest.approx(expected, abs=2e-6)

    def test_edge_values_beyond_the_edge(self):
        image = white_noise((260, 330), 1).astype(np.float32) + np.float32(5)
        padded = np.pad(image, HALF, mode="edge")
        expected = fftconvolve(padded, KERNEL, mode="valid")
        assert filtered(image, beyond="edge") == pytest.approx(expected, abs=2e-5)

    def test_a_constant_stays_constant(self):
        image = np.full((260, 330), 7, np.float32)
        assert filtered(image, beyond="edge") == pytest.approx(7 * KERNEL.sum(), abs=2e-5)

    def test_noise_beyond_the_edge(self):
        """Inside nothing changes; at the edges the noise keeps its power."""
        image = 3 * white_noise((260, 330), 1).astype(np.float32)
        out = filtered(image, beyond=(np.random.default_rng(4), 3.0))
        plain = filtered(image)
        inner = np.s_[HALF:-HALF, HALF:-HALF]
        assert out[inner] == pytest.approx(plain[inner], abs=1e-5)
        expected = 3 * np.sqrt((KERNEL**2).sum())
        frame = np.ones(image.shape, bool)
        frame[2:-2, 2:-2] = False
        assert np.std(out[frame]) == pytest.approx(expected, rel=0.15)
        assert np.std(plain[frame]) < 0.85 * expected

    def test_noise_is_that_of_the_generator(self):
        image = white_noise((100, 120), 1).astype(np.float32)
        tile = tiles_of(image.shape, HALF)[0]
        one, same, other = (
            tile_transform(image, tile, HALF, (np.random.default_rng(seed), 1.0))
            for seed in (1, 1, 2)
        )
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)
