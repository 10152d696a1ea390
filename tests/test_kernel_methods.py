"""The kernel fit's variants: noisy sources, varying flux scales, components, delta functions."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import gaussian_stamp
from scipy.signal import fftconvolve

from skydelta.bases import DeltaBasis, GaussianBasis
from skydelta.kernel_basis import BasisSpec, scaled_spec
from skydelta.kernel_fit import FitOptions, fit_kernel
from skydelta.kernel_stamps import Stamps

SHAPE = (1000, 1000)
WIDTH = 25
PLAIN = FitOptions(order=0, background_order=0, model_error=0.0)


def star_stamps(rng, half, target, *, n, flux, sigma=1.5, noise=0.0, source_noise=0.0):
    """n stars; `target(flux, dx, dy, source, x, y)` draws each on the image to be matched."""
    x, y = rng.integers(40, 960, (2, n))
    fluxes, offsets = rng.uniform(*flux, n), rng.uniform(-0.5, 0.5, (n, 2))
    width = WIDTH + 2 * half
    source = fluxes[:, None, None] * np.array([gaussian_stamp(sigma, width, *d) for d in offsets])
    wanted = np.array([target(*row) for row in zip(fluxes, *offsets.T, source, x, y, strict=True)])
    wanted += noise * rng.normal(size=wanted.shape)
    noisy = source + source_noise * rng.normal(size=source.shape)
    variance = np.full(wanted.shape, max(noise, 1.0) ** 2)
    stamps = Stamps(x, y, wanted, variance, noisy, np.ones(wanted.shape, bool))
    if source_noise:
        plane = np.full(wanted.shape, source_noise**2)
        stamps = replace(stamps, source_variance=plane)
    return stamps


def broader_star(ratio=3.0, sigma=2.2):
    def draw(flux, dx, dy, *_):
        return ratio * flux * gaussian_stamp(sigma, WIDTH, dx, dy)

    return draw


def convolved_star(kernel):
    """A star under the kernel of its place."""

    def draw(_flux, _dx, _dy, source, x, y):
        return fftconvolve(source, kernel.image(x, y), mode="valid")

    return draw


@pytest.fixture(scope="module")
def fits():
    """Of 12 realisations: kernels with the source's noise known and not; without noise."""
    basis = GaussianBasis(BasisSpec((0.8, 1.6), (2, 2), 15))
    free = replace(PLAIN, ridge=0.0)
    known, ignored = [], []
    for seed in range(12):
        args = {"n": 60, "flux": (1e4, 3e4)}
        rng = np.random.default_rng(seed)
        stamps = star_stamps(rng, 7, broader_star(), noise=10.0, source_noise=10.0, **args)
        known.append(fit_kernel(stamps, basis, SHAPE, free))
        blind = replace(stamps, source_variance=None)
        ignored.append(fit_kernel(blind, basis, SHAPE, free))
    clean = star_stamps(np.random.default_rng(0), 7, broader_star(), **args)
    return known, ignored, fit_kernel(clean, basis, SHAPE, free).kernel.middle


class TestNoisySource:
    """A source image as noisy as its target: the normal matrix holds noise besides stars."""

    @staticmethod
    def pull(solutions):
        """Bias of the kernel sum in units of its standard error over the realisations."""
        sums = np.array([s.kernel.sum for s in solutions])
        return (sums.mean() - 3.0) / (sums.std(ddof=1) / np.sqrt(len(sums)))

    def test_sum_is_not_biased(self, fits):
        assert abs(self.pull(fits[0])) < 4

    def test_ignored_noise_biases_the_sum_low(self, fits):
        assert self.pull(fits[1]) < -5

    def test_error_of_the_sum_is_its_scatter(self, fits):
        sums = np.array([s.kernel.sum for s in fits[0]])
        claimed = np.median([s.sum_error for s in fits[0]])
        assert 0.5 < np.std(sums - 3.0, ddof=1) / claimed < 1.6

    def test_kernel_is_less_biased(self, fits):
        """The mean kernel's deviation from that without noise, over its norm; what is left lies in
        directions that hold little more than noise, of which nothing is taken off.
        """
        known, ignored, true = fits
        bias = []
        for solutions in (known, ignored):
            mean = np.mean([s.kernel.middle for s in solutions], axis=0)
            bias.append(np.sqrt(((mean - true) ** 2).sum() / (true**2).sum()))
        assert bias[0] < 0.8 * bias[1]
        assert bias[0] < 0.03
        power = [np.mean([(s.kernel.middle**2).sum() for s in fit]) for fit in (known, ignored)]
        assert power[0] == pytest.approx((true**2).sum(), rel=5e-3)
        assert power[1] < 0.985 * (true**2).sum()

    def test_noise_dominated_directions_are_not_blown_up(self):
        """Faint stars, many functions: what the kernel makes of noise stays below the truth's."""
        spec = scaled_spec(2.2, 1.5)
        wanted = 9 * (gaussian_stamp(np.sqrt(2.2**2 - 1.5**2), spec.size) ** 2).sum()
        options = FitOptions(order=1, background_order=0)
        for seed in range(4):
            rng = np.random.default_rng(seed)
            stamps = star_stamps(
                rng, spec.half, broader_star(), n=40, flux=(2e3, 6e3), noise=10.0, source_noise=10.0
            )
            solution = fit_kernel(stamps, GaussianBasis(spec), SHAPE, options)
            assert 0.5 * wanted < (solution.kernel.middle**2).sum() < 1.2 * wanted
            assert solution.kernel.sum == pytest.approx(3.0, rel=0.15)


class TestFluxScale:
    """True flux ratios that vary over the image."""

    BASIS = GaussianBasis(scaled_spec(2.2, 1.5))
    PLACES = tuple(a.ravel() for a in np.meshgrid([150, 320, 500, 680, 850], [150, 500, 850]))

    @staticmethod
    def linear(x, y):
        return 3 * (1 + 0.10 * (x / 500 - 1) - 0.06 * (y / 500 - 1))

    @staticmethod
    def dimmed(x, y):
        """As by vignetting."""
        return 3 * np.exp(-((x - 450) ** 2 + (y - 520) ** 2) / (2 * 900.0**2))

    def fit(self, ratio, n, **options):
        def draw(flux, dx, dy, _source, x, y):
            return ratio(x, y) * flux * gaussian_stamp(2.2, WIDTH, dx, dy)

        rng = np.random.default_rng(3)
        stamps = star_stamps(rng, self.BASIS.half, draw, n=n, flux=(5e3, 5e4), noise=5.0)
        options = FitOptions(order=2, background_order=0, **options)
        return fit_kernel(stamps, self.BASIS, SHAPE, options)

    def errors(self, solution, ratio):
        sums = solution.kernel.at(*self.PLACES).sum(axis=(1, 2))
        return np.abs(sums / ratio(*self.PLACES) - 1)

    def test_polynomial(self):
        solution = self.fit(self.linear, 60, flux_scale="polynomial", flux_scale_order=1)
        assert self.errors(solution, self.linear).max() < 3e-3
        assert solution.flux_error < 2e-3
        assert solution.used.all()
        assert solution.kernel.fields[-1].kind == "chebyshev"

    def test_spline(self):
        solution = self.fit(self.dimmed, 150, flux_scale="bspline", flux_scale_order=2)
        assert self.errors(solution, self.dimmed).max() < 4e-3
        assert solution.flux_error < 4e-3
        assert solution.used.sum() > 135
        assert solution.kernel.fields[-1].kind == "bspline"

    @pytest.mark.parametrize("name", ["linear", "dimmed"])
    def test_a_constant_cannot_follow(self, name):
        ratio = getattr(self, name)
        solution = self.fit(ratio, 60, flux_scale="constant")
        assert self.errors(solution, ratio).max() > 0.05
        assert solution.flux_error > 0.02

    def test_sum_at_the_centre_and_its_error(self):
        solution = self.fit(self.linear, 60, flux_scale="polynomial", flux_scale_order=1)
        assert solution.kernel.sum == pytest.approx(self.linear(499.5, 499.5), rel=3e-3)
        assert 0 < solution.sum_error < 0.02

    def test_constant_sum_does_not_vary(self):
        kernel = self.fit(self.linear, 60, flux_scale="constant").kernel
        assert kernel.at(*self.PLACES).sum(axis=(1, 2)) == pytest.approx(kernel.sum, rel=1e-6)


class TestComponents:
    """Kernels K_0 + u A + v B with u and v linear in the position: two components and a mean."""

    BASIS = GaussianBasis(BasisSpec((0.9, 1.8), (2, 2), 13))
    OPTIONS = FitOptions(order=1, background_order=0, model_error=0.0)
    PLACES = tuple(a.ravel() for a in np.meshgrid([80, 500, 920], [80, 500, 920]))

    def scene(self, n=40, noise=10.0, size=0.15):
        rng = np.random.default_rng(3)
        coefficients = rng.normal(0, size, (len(self.BASIS), 3))
        coefficients[0] = [2.5, 0.0, 0.0]
        true = self.BASIS.kernel(coefficients, SHAPE)
        draw = convolved_star(true)
        stamps = star_stamps(
            rng, self.BASIS.half, draw, n=n, flux=(5e3, 5e4), sigma=1.4, noise=noise
        )
        return stamps, true.at(*self.PLACES)

    def error(self, stamps, true, components):
        """rms error of the kernels over the rms of their variation, and the solution."""
        solution = fit_kernel(stamps, self.BASIS, SHAPE, self.OPTIONS, components=components)
        left = solution.kernel.at(*self.PLACES) - true
        return np.sqrt((left**2).sum() / ((true - true.mean(axis=0)) ** 2).sum()), solution

    @pytest.mark.parametrize(("noise", "left"), [(0.0, 1e-3), (10.0, 0.05)])
    def test_two_components_hold_the_family(self, noise, left):
        error, solution = self.error(*self.scene(noise=noise), 2)
        assert error < left
        assert solution.n_basis == 3
        assert solution.basis == "gaussian components"
        assert solution.kernel.sum == pytest.approx(2.5, rel=2e-3)

    def test_one_does_not(self):
        error, solution = self.error(*self.scene(), 1)
        assert error > 0.3
        assert solution.n_basis == 2
        assert solution.median_residual > 2

    def test_none_is_the_mean_kernel(self):
        error, solution = self.error(*self.scene(size=0.03), 0)
        assert solution.n_basis == 1
        assert error == pytest.approx(1.0, abs=0.2)
        assert solution.kernel.sum == pytest.approx(2.5, rel=0.01)

    @pytest.mark.parametrize("n", [5, 8])
    def test_never_more_than_the_stars_allow(self, n):
        """The deviations of n stars from their mean span n - 1 dimensions."""
        stamps, true = self.scene(n, size=0.01)
        solution = self.error(stamps, true, 50)[1]
        assert solution.n_basis <= n
        assert np.isfinite(solution.kernel.images).all()

    def test_never_more_than_the_basis_has(self):
        solution = self.error(*self.scene(), 50)[1]
        assert solution.n_basis <= len(self.BASIS)


class TestDelta:
    def scene(self, kernel, n=25, noise=0.0, sigma=1.5, seed=1):
        def draw(_flux, _dx, _dy, source, *_):
            return fftconvolve(source, kernel, mode="valid") + 5.0

        rng = np.random.default_rng(seed)
        half = kernel.shape[0] // 2
        return star_stamps(rng, half, draw, n=n, flux=(5e3, 5e4), sigma=sigma, noise=noise)

    @pytest.mark.parametrize("sigma", [0.8, 1.4])
    def test_any_kernel_is_recovered(self, sigma):
        """7 x 7 random numbers, negative ones among them."""
        kernel = np.random.default_rng(5).normal(size=(7, 7))
        kernel *= 2.2 / kernel.sum()
        options = replace(PLAIN, ridge=0.0)
        stamps = self.scene(kernel, 12, sigma=sigma)
        solution = fit_kernel(stamps, DeltaBasis(7), SHAPE, options, regularisation=0.0)
        assert solution.kernel.middle == pytest.approx(kernel, abs=1e-6)
        assert solution.kernel.background.at([500], [500]) == pytest.approx(5.0, abs=1e-4)
        assert solution.basis == "delta"
        assert solution.n_basis == 49

    @pytest.mark.parametrize("noise", [10.0, 30.0])
    def test_chosen_prior_is_better_than_none_and_than_the_strongest(self, noise):
        kernel = 3 * gaussian_stamp(1.6, 11)
        kernel *= 3 / kernel.sum()
        stamps = self.scene(kernel, noise=noise)
        options = FitOptions(order=0, background_order=0)
        basis = DeltaBasis(11)
        error, penalty = {}, {}
        for choice in ("auto", 0.0, 10.0):
            solution = fit_kernel(stamps, basis, SHAPE, options, regularisation=choice)
            left = solution.kernel.middle - kernel
            error[choice] = np.sqrt((left**2).sum() / (kernel**2).sum())
            penalty[choice] = solution.penalty
        assert error["auto"] < 0.1
        assert error["auto"] < 0.3 * min(error[0.0], error[10.0])
        assert 1e-6 < penalty["auto"] < 10
        assert (penalty[0.0], penalty[10.0]) == (0.0, 10.0)

    def test_more_noise_asks_for_a_stronger_prior(self):
        kernel = gaussian_stamp(1.6, 11)
        options = FitOptions(order=0, background_order=0)
        found = [
            fit_kernel(self.scene(kernel, noise=noise), DeltaBasis(11), SHAPE, options).penalty
            for noise in (3.0, 300.0)
        ]
        assert found[0] < found[1]

    def test_gaussians_take_no_prior_by_themselves(self):
        spec = scaled_spec(2.2, 1.5)
        rng = np.random.default_rng(1)
        stamps = star_stamps(rng, spec.half, broader_star(), n=20, flux=(5e3, 5e4), noise=10.0)
        assert fit_kernel(stamps, GaussianBasis(spec), SHAPE, PLAIN).penalty == 0.0


def test_more_stars_than_fit_into_memory_are_noted(monkeypatch):
    spec = scaled_spec(2.2, 1.5)
    rng = np.random.default_rng(1)
    stamps = star_stamps(rng, spec.half, broader_star(), n=20, flux=(5e3, 5e4), noise=10.0)
    basis = GaussianBasis(spec)
    monkeypatch.setattr("skydelta.kernel_fit._DESIGN_BYTES", 12 * 8 * (len(basis) + 1) * WIDTH**2)
    solution = fit_kernel(stamps, basis, SHAPE, PLAIN)
    assert len(solution.used) == 12
    assert any("the first 12 of 20 stars" in note for note in solution.notes)


def test_without_a_background_none_is_fitted():
    """`background_order` None: an offset of the target stays in the residual."""
    spec = scaled_spec(2.2, 1.5)
    rng = np.random.default_rng(1)
    stamps = star_stamps(rng, spec.half, broader_star(), n=20, flux=(5e3, 5e4), noise=10.0)
    stamps = replace(stamps, target=stamps.target + 7.0)
    backgrounds = []
    for order in (0, None):
        options = replace(PLAIN, background_order=order)
        kernel = fit_kernel(stamps, GaussianBasis(spec), SHAPE, options).kernel
        backgrounds.append(float(kernel.background.at([500], [500])[0]))
    assert backgrounds[0] == pytest.approx(7.0, abs=0.5)
    assert backgrounds[1] == pytest.approx(0.0, abs=1e-3)
