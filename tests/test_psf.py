import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian_psf, gaussian_stamp

from skydelta.errors import BadPsfError
from skydelta.psf import (
    FWHM_PER_SIGMA,
    GridPsf,
    Shape,
    adaptive_shape,
    grid_nodes,
    resize_stamps,
    sample_psf,
    shift_stamps,
)


def centroid(stamp):
    half = stamp.shape[0] // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    return (stamp * xx).sum() / stamp.sum(), (stamp * yy).sum() / stamp.sum()


class TestShift:
    @settings(max_examples=30, deadline=None)
    @given(dx=st.floats(-1, 1), dy=st.floats(-1, 1))
    def test_moves_the_centroid_and_keeps_the_flux(self, dx, dy):
        moved = shift_stamps(gaussian_stamp(1.8, 33)[None], [dx], [dy])[0]
        assert moved.sum() == pytest.approx(1.0, abs=1e-9)
        assert centroid(moved) == pytest.approx((dx, dy), abs=1e-6)
        assert moved == pytest.approx(gaussian_stamp(1.8, 33, dx, dy), abs=1e-7)

    def test_back_and_forth(self):
        stamp = gaussian_stamp(1.8, 33)
        there = shift_stamps(stamp[None], [0.37], [-0.81])
        assert shift_stamps(there, [-0.37], [0.81])[0] == pytest.approx(stamp, abs=1e-6)

    def test_every_stamp_has_its_own_shift(self):
        stamps = np.stack([gaussian_stamp(1.5, 21)] * 2)
        moved = shift_stamps(stamps, [0.5, 0.0], [0.0, -0.25])
        assert centroid(moved[0]) == pytest.approx((0.5, 0.0), abs=1e-5)
        assert centroid(moved[1]) == pytest.approx((0.0, -0.25), abs=1e-5)


class TestGridPsf:
    @pytest.fixture
    def grid(self):
        """3 x 2 nodes in shuffled order, each stamp of its own width."""
        x, y = (a.ravel() for a in np.meshgrid([0.0, 50.0, 120.0], [10.0, 90.0]))
        order = np.random.default_rng(0).permutation(6)
        data = np.stack([gaussian_stamp(1.5 + 0.1 * k, 15) for k in range(6)])
        return GridPsf(x[order], y[order], data)

    def test_exact_at_the_nodes(self, grid):
        assert grid.stamps(grid.x, grid.y) == pytest.approx(grid.data, abs=1e-15)

    def test_bilinear_between_them(self, grid):
        corners = grid.stamps([0, 50, 0, 50], [10, 10, 90, 90])
        weights = np.array([0.8 * 0.75, 0.2 * 0.75, 0.8 * 0.25, 0.2 * 0.25])
        expected = np.tensordot(weights, corners, 1)
        assert grid.stamp(10.0, 30.0) == pytest.approx(expected, abs=1e-15)

    def test_nearest_edge_value_outside(self, grid):
        assert grid.stamp(-400, 50) == pytest.approx(grid.stamp(0, 50), abs=1e-15)
        assert grid.stamp(500, 500) == pytest.approx(grid.stamp(120, 90), abs=1e-15)

    def test_one_position_makes_a_constant(self):
        psf = gaussian_psf(2.0, 21)
        assert np.array_equal(psf.stamp(-7, 3000), psf.data[0])

    def test_scattered_nodes(self):
        """Linear in position on the triangles, nearest outside, exact at the nodes."""
        rng = np.random.default_rng(1)
        x, y = rng.uniform(0, 100, (2, 12))
        x[:4], y[:4] = [0, 100, 0, 100], [0, 0, 100, 100]
        base, slope = gaussian_stamp(2.0, 11), 1e-4 * gaussian_stamp(1.5, 11)

        def plane(x, y):
            return base + (x - 2 * y + 300)[:, None, None] * slope

        psf = GridPsf(x, y, plane(x, y))
        assert psf.stamps(x, y) == pytest.approx(psf.data, abs=1e-12)
        at = rng.uniform(0, 100, (2, 20))
        assert psf.stamps(*at) == pytest.approx(plane(*at), abs=1e-12)
        assert psf.stamp(-50, -40) == pytest.approx(plane(x, y)[0], abs=1e-12)

    def test_positions_on_a_line_take_the_nearest(self):
        """Three positions on a diagonal span no triangle."""
        data = np.stack([gaussian_stamp(s, 11) for s in (1.2, 1.6, 2.0)])
        psf = GridPsf(np.array([0.0, 10, 20]), np.array([0.0, 10, 20]), data)
        assert np.array_equal(psf.stamp(12, 9), data[1])

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (np.ones((1, 8, 8)), "odd size, got .8, 8.*pad or crop"),
            (np.ones((1, 9, 7)), "square"),
            (np.ones((9, 9)), "square"),
            (np.full((1, 9, 9), np.nan), "not finite"),
            (np.zeros((1, 9, 9)), "stamp 0 has no positive sum"),
            (np.stack([np.ones((5, 5)), -np.ones((5, 5))]), "stamp 1 has no positive sum"),
        ],
    )
    def test_what_cannot_be_a_psf_is_refused(self, data, message):
        with pytest.raises(BadPsfError, match=message):
            GridPsf(np.zeros(len(data)), np.zeros(len(data)), data)


class TestImages:
    @settings(max_examples=30, deadline=None)
    @given(x=st.floats(-3, 200), y=st.floats(-3, 200))
    def test_a_star_is_seen_where_it_is(self, x, y):
        psf = gaussian_psf(1.7, 25)
        stamps, x0, y0 = psf.images([x], [y])
        dx, dy = centroid(stamps[0])
        assert x0[0] + 12 + dx == pytest.approx(x, abs=1e-5)
        assert y0[0] + 12 + dy == pytest.approx(y, abs=1e-5)
        assert max(abs(dx), abs(dy)) <= 0.5 + 1e-5

    def test_compute_image_is_the_first(self):
        psf = gaussian_psf(1.7, 25)
        assert np.array_equal(psf.compute_image(10.3, 4.8), psf.images([10.3], [4.8])[0][0])


class TestShape:
    @pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
    def test_elliptical_gaussians_are_exact(self, angle):
        a, b = 2.6, 1.7
        shape = adaptive_shape(gaussian_stamp(a, 41, sigma_y=b, angle=angle))
        c, s = np.cos(angle), np.sin(angle)
        expected = (a * a * c * c + b * b * s * s, a * a * s * s + b * b * c * c)
        assert (shape.ixx, shape.iyy) == pytest.approx(expected, rel=1e-4)
        assert shape.ixy == pytest.approx((a * a - b * b) * s * c, abs=1e-3)

    def test_about_its_own_centroid(self):
        shape = adaptive_shape(gaussian_stamp(1.9, 41, 0.7, -0.4))
        assert shape.ixx == pytest.approx(1.9**2, rel=1e-4)

    def test_two_radii(self):
        """trace^2 = (a^2 + b^2) / 2, determinant^2 = a b: equal only for a circle."""
        shape = Shape(9.0, 4.0, 0.0)
        assert shape.trace_radius == pytest.approx(np.sqrt(6.5))
        assert shape.determinant_radius == pytest.approx(np.sqrt(6.0))
        assert shape.fwhm == pytest.approx(2.354820045 * np.sqrt(6.0))
        turned = Shape(6.5, 6.5, 2.5)  # the same ellipse at 45 degrees
        assert turned.determinant_radius == pytest.approx(shape.determinant_radius)
        assert turned.trace_radius == pytest.approx(shape.trace_radius)

    def test_compute_shape(self):
        shape = gaussian_psf(2.1).compute_shape(5, 5)
        assert shape.determinant_radius == pytest.approx(2.1, rel=1e-4)
        assert shape.fwhm == pytest.approx(2.1 * FWHM_PER_SIGMA, rel=1e-4)

    @pytest.mark.parametrize("stamp", [-gaussian_stamp(2.0, 21), np.zeros((21, 21))])
    def test_no_object(self, stamp):
        with pytest.raises(BadPsfError, match="second moments"):
            adaptive_shape(stamp)


class TestSampling:
    def test_nodes_span_the_image(self):
        assert grid_nodes(101, 5) == pytest.approx([0, 25, 50, 75, 100])
        assert grid_nodes(101, 1) == pytest.approx([50])

    def test_sample_equals_the_original_at_the_nodes(self):
        x, y = np.array([0.0, 99, 0, 99]), np.array([0.0, 0, 79, 79])
        psf = GridPsf(x, y, np.stack([gaussian_stamp(s, 21) for s in (1.4, 1.6, 1.8, 2.0)]))
        sampled = sample_psf(psf, (80, 100), 4)
        assert sampled.data.shape == (16, 21, 21)
        # Bilinear sampled on a finer grid is the same function.
        assert sampled.stamp(33.0, 51.0) == pytest.approx(psf.stamp(33.0, 51.0), abs=1e-12)

    def test_other_size(self):
        psf = gaussian_psf(2.0, 21)
        assert sample_psf(psf, (50, 50), 2, size=15).size == 15
        wide = sample_psf(psf, (50, 50), 2, size=31)
        assert wide.data.sum(axis=(1, 2)) == pytest.approx(psf.data.sum())

    def test_resize_keeps_the_middle(self):
        stamp = gaussian_stamp(1.5, 11)
        grown = resize_stamps(stamp, 15)
        assert grown[7, 7] == stamp[5, 5]
        assert np.array_equal(resize_stamps(grown, 11), stamp)
