import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian_psf, gaussian_stamp, white_noise

from skydelta.matching import RIDGE, matching_kernel, psf_kernels
from skydelta.psf import GridPsf, adaptive_shape, grid_nodes
from skydelta.whitening import convolve_stamps


def centroid(stamp):
    half = stamp.shape[0] // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    return (stamp * xx).sum() / stamp.sum(), (stamp * yy).sum() / stamp.sum()


class TestMatchingKernel:
    def test_gaussians(self):
        """1.5 to 2.2 px: a Gaussian of sqrt(2.2^2 - 1.5^2) = 1.609 px."""
        kernel = matching_kernel(gaussian_stamp(1.5), gaussian_stamp(2.2), 21)
        width = np.sqrt(2.2**2 - 1.5**2)
        expected = gaussian_stamp(width, 21)
        assert np.abs(kernel - expected).max() < 0.01 * expected.max()
        assert adaptive_shape(kernel).determinant_radius == pytest.approx(width, abs=5e-3)
        assert kernel.sum() == pytest.approx(1.0, abs=1e-3)

    @settings(max_examples=15, deadline=None)
    @given(st.floats(1.0, 2.5), st.floats(0.6, 2.5))
    def test_gaussians_of_any_width(self, narrow, width):
        wide = np.hypot(narrow, width)
        source, target = gaussian_stamp(narrow, 61), gaussian_stamp(wide, 61)
        kernel = matching_kernel(source, target, 21)
        left = convolve_stamps(source, kernel, 61) - target
        assert np.abs(left).max() < 2e-3 * target.max()

    def test_deconvolution(self):
        """2.2 to 1.9 px: what the ridge leaves falls with it, what noise becomes rises."""
        source, target = gaussian_stamp(2.2), gaussian_stamp(1.9)
        kernels = [matching_kernel(source, target, 21, ridge) for ridge in (RIDGE, 1e-8)]
        left = [np.abs(convolve_stamps(source, k, 41) - target).max() for k in kernels]
        assert left[0] < 5e-3 * target.max()
        assert left[1] < 1e-3 * target.max()
        assert kernels[0].min() < 0 < kernels[0].max()  # it rings
        assert (kernels[0] ** 2).sum() < 4 < (kernels[1] ** 2).sum()

    @pytest.mark.parametrize(("dx", "dy"), [(0.3, 0.0), (-0.2, 0.3)])
    def test_a_displaced_target_moves_the_kernel(self, dx, dy):
        kernel = matching_kernel(gaussian_stamp(1.5), gaussian_stamp(2.2, dx=dx, dy=dy), 21)
        assert centroid(kernel) == pytest.approx((dx, dy), abs=0.01)

    def test_flux_ratio_is_kept(self):
        kernel = matching_kernel(gaussian_stamp(1.5), 2.5 * gaussian_stamp(2.2), 21)
        assert kernel.sum() == pytest.approx(2.5, rel=1e-3)

    def test_identical_images_need_a_point(self):
        source = gaussian_stamp(1.2)
        left = convolve_stamps(source, matching_kernel(source, source, 15), 41) - source
        assert np.abs(left).max() < 1e-3 * source.max()

    def test_is_the_least_squares_solution(self):
        """Against the design matrix of all shifts of the source, ridge included."""
        source, target = gaussian_stamp(1.1, 9, dx=0.2), gaussian_stamp(1.4, 9)
        padded = np.pad(source, 8)
        columns = [
            np.roll(padded, (dy, dx), axis=(0, 1)).ravel()
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        ]
        design = np.stack(columns, axis=1)
        ridge = 1e-3
        matrix = design.T @ design + ridge * (source**2).sum() * np.eye(25)
        expected = np.linalg.solve(matrix, design.T @ np.pad(target, 8).ravel())
        kernel = matching_kernel(source, target, 5, ridge)
        assert kernel.ravel() == pytest.approx(expected, abs=1e-9)


class TestPsfKernels:
    def test_same_kernel_at_all_nodes(self):
        shape = (300, 500)
        x, y, kernels = psf_kernels(gaussian_psf(1.5), gaussian_psf(2.2), shape, 21, nodes=3)
        assert kernels.shape == (9, 21, 21)
        assert kernels.sum(axis=(1, 2)) == pytest.approx(1.0, abs=1e-5)
        assert x.tolist() == np.tile(grid_nodes(500, 3), 3).tolist()
        assert y.tolist() == np.repeat(grid_nodes(300, 3), 3).tolist()
        assert kernels == pytest.approx(np.tile(kernels[:1], (9, 1, 1)), abs=1e-6)

    def test_shift_moves_the_kernels(self):
        """From a star in the source image to the same star in the target."""
        x, _, kernels = psf_kernels(
            gaussian_psf(1.5),
            gaussian_psf(2.2),
            (300, 500),
            21,
            nodes=3,
            shift=lambda x, y: (0.3 * x / 500, 0.0 * y - 0.2),
        )
        found = np.array([centroid(kernel) for kernel in kernels])
        assert found[:, 0] == pytest.approx(0.3 * x / 500, abs=0.01)
        assert found[:, 1] == pytest.approx(-0.2, abs=0.01)

    def test_cut_stamps_leave_no_ringing(self):
        """Wings that end at the stamp's edge: the kernel stays that of the cores."""
        kernels = [
            psf_kernels(gaussian_psf(2.5, size), gaussian_psf(3.2, size), (99, 99), 21, nodes=1)[2]
            for size in (41, 81)
        ]
        assert np.abs(kernels[0] - kernels[1]).max() < 0.02 * kernels[1].max()

    def test_follows_a_psf_that_varies(self):
        shape = (400, 400)
        x, y = (a.ravel() for a in np.meshgrid(grid_nodes(400, 3), grid_nodes(400, 3)))
        widths = 2.0 + 0.3 * x / 400
        target = GridPsf(x, y, np.stack([gaussian_stamp(w) for w in widths]))
        at_x, _, kernels = psf_kernels(gaussian_psf(1.4), target, shape, 21, nodes=3)
        found = [adaptive_shape(kernel).determinant_radius for kernel in kernels]
        wanted = np.sqrt((2.0 + 0.3 * at_x / 400) ** 2 - 1.4**2)
        assert found == pytest.approx(wanted, abs=0.02)


def test_noise_of_the_target_is_not_amplified_without_limit():
    """Frequencies that the source lacks stay out: the ridge bounds what noise becomes."""
    source = gaussian_stamp(2.5)
    noise = 1e-4 * source.max() * white_noise((41, 41), 1)
    clean = matching_kernel(source, gaussian_stamp(2.2), 21)
    noisy = matching_kernel(source, gaussian_stamp(2.2) + noise, 21)
    assert np.abs(noisy - clean).max() < 0.05 * clean.max()
