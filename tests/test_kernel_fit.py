import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian, gaussian_stamp, star_field, white_noise
from scipy.signal import fftconvolve

from skydelta.bases import GaussianBasis
from skydelta.errors import BadKernelError, TooFewStarsError
from skydelta.field import polynomial_field
from skydelta.kernel_basis import BasisSpec, gaussian_basis, scaled_spec
from skydelta.kernel_fit import FitOptions, fit_kernel
from skydelta.kernel_problem import affordable_order
from skydelta.kernel_solver import normal_equations, solve, spatial_system
from skydelta.kernel_stamps import Stamps
from skydelta.polynomial import chebyshev, n_terms
from skydelta.psf import adaptive_shape

SHAPE = (1000, 1000)
STAMP_HALF = 12


def spread(n, seed=0):
    return np.random.default_rng(seed).integers(40, 960, (2, n))


def stamps_of(science, template, x, y, variance=1.0, good=None):
    science = np.asarray(science, float)
    variance = np.broadcast_to(variance, science.shape).astype(float)
    good = np.ones(science.shape, bool) if good is None else good
    return Stamps(np.asarray(x), np.asarray(y), science, variance, np.asarray(template), good)


def gaussian_stamps(
    n=40, *, sigma_t=1.5, sigma_s=2.2, ratio=3.0, noise=0.0, half=12, flux=(2e3, 5e4), seed=0
):
    """Isolated stars: template of sigma_t, science of sigma_s and `ratio` times the flux."""
    rng = np.random.default_rng(seed)
    x, y = spread(n, seed)
    fluxes = rng.uniform(*flux, n)
    size = 2 * STAMP_HALF + 1
    template, science = [], []
    for f in fluxes:
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        template.append(f * gaussian_stamp(sigma_t, size + 2 * half, dx, dy))
        science.append(ratio * f * gaussian_stamp(sigma_s, size, dx, dy))
    science = np.array(science) + noise * rng.normal(size=(n, size, size))
    return stamps_of(science, np.array(template), x, y, max(noise, 1.0) ** 2)


class TestInTheSpan:
    """S = K0 conv T + bg with K0 made of the basis: the residual is round-off."""

    SPEC = BasisSpec((0.9, 1.8), (3, 2), 15)

    def scene(self, order, background_order, n=60, seed=1):
        rng = np.random.default_rng(seed)
        x, y = spread(n, seed)
        basis = gaussian_basis(self.SPEC)
        coefficients = rng.normal(0, 0.1, (len(basis), n_terms(order)))
        coefficients[0] = 0.0
        coefficients[0, 0] = 2.5
        background = rng.normal(0, 20, n_terms(background_order))
        width = 2 * STAMP_HALF + 1 + 14
        template = np.array(
            [
                star_field(
                    (width, width), *rng.uniform(5, width - 5, (2, 4)), [900, 500, 300, 100], 1.6
                )
                for _ in range(n)
            ]
        )
        kernels = np.einsum("nt,bt,bij->nij", chebyshev(order, x, y, SHAPE), coefficients, basis)
        level = chebyshev(background_order, x, y, SHAPE) @ background
        science = np.array(
            [
                fftconvolve(t, k, mode="valid") + b
                for t, k, b in zip(template, kernels, level, strict=True)
            ]
        )
        return stamps_of(science, template, x, y), coefficients, background

    @pytest.mark.parametrize(("order", "background_order"), [(0, 0), (1, 2), (2, 1)])
    def test_recovered_to_round_off(self, order, background_order):
        stamps, coefficients, background = self.scene(order, background_order)
        options = FitOptions(
            order=order, background_order=background_order, ridge=0.0, model_error=0.0
        )
        solution = fit_kernel(stamps, GaussianBasis(self.SPEC), SHAPE, options)
        assert solution.used.all()
        images = np.einsum("bt,byx->tyx", coefficients, gaussian_basis(self.SPEC))
        assert solution.kernel.images == pytest.approx(images, abs=1e-6)
        level = polynomial_field(background, background_order, SHAPE)
        fitted = solution.kernel.background.coefficients
        assert fitted == pytest.approx(level.coefficients, abs=1e-6)
        assert solution.kernel.sum == pytest.approx(2.5, abs=1e-6)
        assert solution.residual.max() < 1e-6
        assert solution.flux_ratio == pytest.approx(1.0, abs=1e-8)
        assert solution.flux_error == pytest.approx(0.0, abs=1e-6)

    def test_higher_order_than_needed_does_no_harm(self):
        stamps, _, _ = self.scene(0, 0)
        options = FitOptions(order=2, background_order=2, ridge=0.0, model_error=0.0)
        solution = fit_kernel(stamps, GaussianBasis(self.SPEC), SHAPE, options)
        assert solution.order == 2
        assert np.abs(solution.kernel.images[1:]).max() < 1e-6


class TestGaussians:
    def test_kernel_is_the_gaussian_between(self):
        """1.5 px to 2.2 px: a kernel of sqrt(2.2^2 - 1.5^2) = 1.609 px."""
        spec = scaled_spec(2.2, 1.5)
        solution = fit_kernel(gaussian_stamps(half=spec.half), GaussianBasis(spec), SHAPE)
        kernel = solution.kernel.image(500, 500)
        width = np.sqrt(2.2**2 - 1.5**2)
        assert adaptive_shape(kernel).determinant_radius == pytest.approx(width, abs=0.005)
        assert kernel.sum() == pytest.approx(3.0, rel=1e-3)
        expected = 3 * gaussian_stamp(width, spec.size)
        assert np.abs(kernel - expected).max() < 0.02 * expected.max()

    def test_sum_and_its_error_with_noise(self):
        spec = scaled_spec(2.2, 1.5)
        pulls = []
        for seed in range(12):
            stamps = gaussian_stamps(25, noise=30.0, half=spec.half, seed=seed)
            solution = fit_kernel(
                stamps, GaussianBasis(spec), SHAPE, FitOptions(order=1, background_order=0)
            )
            pulls.append((solution.kernel.sum - 3.0) / solution.sum_error)
            assert np.median(solution.residual) == pytest.approx(1.0, abs=0.05)
        assert abs(np.mean(pulls)) < 1.2
        assert 0.4 < np.std(pulls) < 2.0

    def test_sharper_science(self):
        """A deconvolution keeps the flux ratio, too."""
        spec = scaled_spec(1.8, 2.1)
        stamps = gaussian_stamps(sigma_t=2.1, sigma_s=1.8, half=spec.half)
        assert fit_kernel(stamps, GaussianBasis(spec), SHAPE).kernel.sum == pytest.approx(
            3.0, rel=0.01
        )


class TestRejection:
    def test_variable_stars(self):
        spec = scaled_spec(2.2, 1.5)
        stamps = gaussian_stamps(noise=10.0, half=spec.half)
        variable = [3, 17, 30]
        science = stamps.target.copy()
        science[variable] *= np.array([0.5, 1.6, 1.25])[:, None, None]
        changed = stamps_of(science, stamps.source, stamps.x, stamps.y, 100.0)
        solution = fit_kernel(changed, GaussianBasis(spec), SHAPE)
        assert not solution.used[variable].any()
        assert (solution.reason[variable] == 1).all()
        assert solution.used.sum() >= 33
        assert solution.kernel.sum == pytest.approx(3.0, rel=5e-3)
        assert solution.flux_ratio[variable] == pytest.approx([0.5, 1.6, 1.25], rel=0.02)

    def test_artefacts(self):
        """A cosmic ray in the core leaves by its residual, and the kernel does not care."""
        spec = scaled_spec(2.2, 1.5)
        stamps = gaussian_stamps(noise=10.0, half=spec.half)
        science = stamps.target.copy()
        science[5, 12:16, 12] += 3e3
        changed = stamps_of(science, stamps.source, stamps.x, stamps.y, 100.0)
        solution = fit_kernel(changed, GaussianBasis(spec), SHAPE)
        assert solution.reason[5] in (1, 2)
        assert solution.kernel.sum == pytest.approx(3.0, rel=5e-3)

    def test_masked_pixels_do_not_matter(self):
        spec = scaled_spec(2.2, 1.5)
        stamps = gaussian_stamps(half=spec.half)
        science, good = stamps.target.copy(), stamps.good.copy()
        science[:, 8:11, 3:9] = 1e7
        good[:, 8:11, 3:9] = False
        changed = stamps_of(science, stamps.source, stamps.x, stamps.y, 1.0, good)
        assert fit_kernel(changed, GaussianBasis(spec), SHAPE).kernel.sum == pytest.approx(
            3.0, rel=1e-3
        )

    def test_mostly_masked_stars_have_no_weight(self):
        spec = scaled_spec(2.2, 1.5)
        stamps = gaussian_stamps(half=spec.half)
        good = stamps.good.copy()
        good[4, :20] = False
        changed = stamps_of(stamps.target, stamps.source, stamps.x, stamps.y, 1.0, good)
        assert fit_kernel(changed, GaussianBasis(spec), SHAPE).reason[4] == 3


class TestFallback:
    @pytest.mark.parametrize(
        ("stars", "order"), [(2, 0), (8, 0), (9, 1), (17, 1), (18, 2), (99, 2)]
    )
    def test_affordable_order(self, stars, order):
        assert affordable_order(2, stars, 3.0) == order

    def test_few_stars_make_a_constant_kernel(self):
        spec = scaled_spec(2.2, 1.5)
        solution = fit_kernel(gaussian_stamps(6, half=spec.half), GaussianBasis(spec), SHAPE)
        assert solution.order == 0
        assert solution.background_order == 0
        assert solution.kernel.sum == pytest.approx(3.0, rel=2e-3)

    @pytest.mark.parametrize("n", [0, 2])
    def test_too_few_stars(self, n):
        spec = scaled_spec(2.2, 1.5)
        stamps = gaussian_stamps(3, half=spec.half)
        cut = stamps.first(n)
        with pytest.raises(TooFewStarsError, match=f"{n} usable stars.*need 3: lower") as caught:
            fit_kernel(cut, GaussianBasis(spec), SHAPE)
        assert caught.value.details == {"n_stars": n, "n_required": 3}

    def test_blank_images(self):
        zeros = stamps_of(np.zeros((5, 25, 25)), np.zeros((5, 45, 45)), *spread(5))
        with pytest.raises((BadKernelError, TooFewStarsError)):
            fit_kernel(zeros, GaussianBasis(BasisSpec((1.0, 2.0), (2, 2), 21)), SHAPE)

    def test_negative_of_the_sky(self):
        spec = scaled_spec(2.2, 1.5)
        with pytest.raises(BadKernelError, match="do not show the same sky"):
            fit_kernel(gaussian_stamps(ratio=-1.0, half=spec.half), GaussianBasis(spec), SHAPE)


class TestAlgebra:
    def test_convolved_stamps_against_direct_convolution(self):
        spec = BasisSpec((0.8, 1.7), (2, 3), 9)
        template = white_noise((2, 23, 23), 3)
        design = GaussianBasis(spec).design(template, *np.zeros((2, 2)))[:, :-1]
        design = design.reshape(2, len(spec.terms), 15, 15)
        for k, function in enumerate(gaussian_basis(spec)):
            expected = fftconvolve(template[1], function, mode="valid")
            assert design[1, k] == pytest.approx(expected, abs=1e-10)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(0, 2), st.integers(1, 6))
    def test_solver_recovers_what_is_in_the_span(self, seed, order, background_order, count):
        """Random designs, weights and coefficients: a_0 constant, the others polynomials."""
        rng = np.random.default_rng(seed)
        n, pixels = 12, 40
        design = np.concatenate([rng.normal(size=(n, count, pixels)), np.ones((n, 1, pixels))], 1)
        x, y = rng.uniform(0, 1000, (2, n))
        p = chebyshev(order, x, y, SHAPE)
        q = chebyshev(background_order, x, y, SHAPE)
        kernel = rng.normal(size=(count, p.shape[1]))
        kernel[0, 1:] = 0
        background = rng.normal(size=q.shape[1])
        data = np.einsum("nt,kt,nkp->np", p, kernel, design[:, :-1]) + (q @ background)[:, None]
        weights = rng.uniform(0.5, 2, (n, pixels))
        system, right = spatial_system(*normal_equations(design, data, weights), p, q)
        solved = solve(system, right)
        expected = np.concatenate([kernel[0, :1], kernel[1:].ravel(), background])
        assert solved.values == pytest.approx(expected, abs=1e-7)
        assert np.allclose(system, system.T)
        assert solved.apply_inverse(system[:, -1]) == pytest.approx(
            np.eye(len(right))[-1], abs=1e-6
        )
        assert solved.condition >= 1

    def test_covariance_is_that_of_noise(self):
        """Scatter of a_0 over noise realisations is the root of the inverse's diagonal."""
        rng = np.random.default_rng(0)
        design = rng.normal(size=(4, 3, 30))
        ones = np.ones((4, 1))
        weights = np.full((4, 30), 0.25)
        found = []
        for _ in range(400):
            data = 1.5 * design[:, 0] + rng.normal(0, 2, (4, 30))
            system, right = spatial_system(*normal_equations(design, data, weights), ones, ones)
            solved = solve(system, right)
            found.append(solved.values[0])
        assert np.mean(found) == pytest.approx(1.5, abs=0.03)
        error = np.sqrt(solved.variance(np.eye(len(right))[0]))
        assert np.std(found) == pytest.approx(error, rel=0.12)

    def test_null_functions_stay_out(self):
        system = np.diag([2.0, 0.0, 4.0])
        solution = solve(system, np.array([2.0, 0.0, 8.0])).values
        assert solution == pytest.approx([1, 0, 2])

    @pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.full((2, 2), np.nan)])
    def test_no_system(self, bad):
        with pytest.raises(BadKernelError):
            solve(bad, np.zeros(2))


def test_sub_pixel_registration_is_absorbed():
    """A shift of 0.3 px is within the basis: odd terms carry it."""
    spec = scaled_spec(2.2, 1.5)
    width = 25 + 2 * spec.half
    template = np.array([1e4 * gaussian((width, width), width // 2, width // 2, 1.5)] * 9)
    science = np.array([2e4 * gaussian_stamp(2.2, 25, 0.3, -0.2)] * 9)
    x, y = (a.ravel() for a in np.meshgrid([100, 500, 900], [100, 500, 900]))
    solution = fit_kernel(stamps_of(science, template, x, y), GaussianBasis(spec), SHAPE)
    half = spec.half
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = solution.kernel.image(500, 500)
    assert (kernel * xx).sum() / kernel.sum() == pytest.approx(0.3, abs=0.02)
    assert (kernel * yy).sum() / kernel.sum() == pytest.approx(-0.2, abs=0.02)
