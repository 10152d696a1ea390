"""Flux ratio and shift of two images of the same stars."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.errors import TooFewStarsError
from skydelta.kernel_stars import StarOptions, kernel_stars
from skydelta.registration import register

SHAPE = (400, 420)
RATIO = 2.5
CENTRE = (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2


def nothing(x, _y):
    return np.zeros_like(x), np.zeros_like(x)


def constant(x, _y):
    return np.full_like(x, 0.21), np.full_like(x, -0.13)


def linear(x, y):
    u, v = (x - CENTRE[0]) / CENTRE[0], (y - CENTRE[1]) / CENTRE[1]
    return 0.1 + 0.25 * u - 0.1 * v, -0.05 + 0.08 * u + 0.2 * v


def pair(shift=nothing, *, scatter=0.0, change=(), seed=3, sigmas=(2.2, 1.7), noise=(2.0, 0.5)):
    """49 stars; those of index `change` differ by a factor 1.5 between the images."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(np.linspace(30, 390, 7), np.linspace(30, 370, 7))
    x, y = (a.ravel() + rng.uniform(-4, 4, 49) for a in grid)
    flux = rng.uniform(1e4, 1e5, 49)
    dx, dy = shift(x, y)
    moved = x + dx + rng.normal(0, scatter, 49), y + dy + rng.normal(0, scatter, 49)
    factor = np.full(49, RATIO)
    factor[list(change)] *= 1.5
    science = star_field(SHAPE, *moved, factor * flux, sigmas[0])
    template = star_field(SHAPE, x, y, flux, sigmas[1])
    # Photon noise of a gain of 1 beside that of the sky.
    variances = [n**2 + image for n, image in zip(noise, (science, template), strict=True)]
    images = []
    for k, (image, variance, sigma) in enumerate(
        zip((science, template), variances, sigmas, strict=True)
    ):
        image = image + np.sqrt(variance) * white_noise(SHAPE, [seed, k])
        images.append(make_exposure(image, variance, sigma=sigma))
    return *images, (x, y)


def registered(*args, **changes):
    science, template, _ = pair(*args, **changes)
    stars = kernel_stars(science, template, 8, 8, StarOptions(cell_size=60.0))
    assert len(stars) > 40
    return register(science, template, stars)


def index_of(registration, x, y):
    stars = registration.stars
    return int(np.argmin(np.hypot(stars["x"] - x, stars["y"] - y)))


class TestFluxRatio:
    @pytest.mark.parametrize("seed", [3, 4, 5])
    @pytest.mark.parametrize("sigmas", [(2.2, 1.7), (1.7, 2.2)])
    def test_is_recovered_within_its_error(self, seed, sigmas):
        found = registered(seed=seed, sigmas=sigmas)
        assert abs(found.flux_ratio - RATIO) < 4 * found.flux_ratio_error
        assert found.flux_ratio_error < 0.004 * RATIO

    def test_error_is_that_of_the_noise(self):
        """The scatter over realisations."""
        found = [registered(seed=seed) for seed in range(8)]
        pull = [(f.flux_ratio - RATIO) / f.flux_ratio_error for f in found]
        assert 0.4 < np.sqrt(np.mean(np.square(pull))) < 1.7

    def test_variable_stars_are_left_out(self):
        science, template, (x, y) = pair(change=(10, 24, 37))
        stars = kernel_stars(science, template, 8, 8, StarOptions(cell_size=60.0))
        found = register(science, template, stars)
        for k in (10, 24, 37):
            row = index_of(found, x[k], y[k])
            assert not found.stars["used"][row]
            assert found.stars["reason"][row] == "flux ratio"
            assert found.stars["flux_ratio"][row] == pytest.approx(1.5, rel=0.05)
        assert found.stars["used"].sum() >= len(stars) - 4
        assert abs(found.flux_ratio - RATIO) < 4 * found.flux_ratio_error


class TestShift:
    PLACES = tuple(a.ravel() for a in np.meshgrid([40.0, 210.0, 380.0], [40.0, 200.0, 360.0]))

    @pytest.mark.parametrize("shift", [nothing, constant, linear])
    @pytest.mark.parametrize("sigmas", [(2.2, 1.7), (1.7, 2.2)])
    def test_field_is_recovered(self, shift, sigmas):
        """A star at p in the template is at p + shift in the science image."""
        found = registered(shift, sigmas=sigmas)
        assert found.order == 2
        for got, wanted in zip(found.shift(*self.PLACES), shift(*self.PLACES), strict=True):
            assert got == pytest.approx(wanted, abs=0.02)

    def test_flux_ratio_does_not_depend_on_it(self):
        found = registered(linear)
        assert abs(found.flux_ratio - RATIO) < 4 * found.flux_ratio_error

    def test_without_scatter_there_is_none(self):
        found = registered(linear)
        assert max(found.rms_x, found.rms_y) < 0.01

    @pytest.mark.parametrize("scatter", [0.05, 0.1, 0.2])
    def test_rms_is_the_scatter_put_in(self, scatter):
        """Per axis, measurement errors taken off; 49 stars less 6 terms."""
        found = [registered(linear, scatter=scatter, seed=seed) for seed in (3, 4, 5)]
        rms = np.mean([[f.rms_x, f.rms_y] for f in found])
        assert rms == pytest.approx(scatter, rel=0.12)

    def test_an_order_that_few_stars_carry(self):
        science, template, _ = pair(constant)
        stars = kernel_stars(science, template, 8, 8, StarOptions(cell_size=60.0))
        orders = [register(science, template, stars[:n]).order for n in (4, 10, 20)]
        assert orders == [0, 1, 2]


class TestTooFew:
    def test_none(self):
        science, template, _ = pair()
        stars = kernel_stars(science, template, 8, 8)
        with pytest.raises(TooFewStarsError) as caught:
            register(science, template, stars[:0])
        assert caught.value.details == {"n_stars": 0, "n_required": 3}

    def test_fewer_than_asked_for(self):
        science, template, _ = pair()
        stars = kernel_stars(science, template, 8, 8)[:5]
        assert register(science, template, stars, min_stars=5).stars["used"].sum() == 5
        with pytest.raises(TooFewStarsError, match="need 6"):
            register(science, template, stars, min_stars=6)

    def test_bad_pixels_under_all_stars(self):
        science, template, _ = pair()
        stars = kernel_stars(science, template, 8, 8)
        bad = template.mask.with_plane("NO_DATA", np.ones(SHAPE, bool))
        with pytest.raises(TooFewStarsError):
            register(science, replace(template, mask=bad), stars)
