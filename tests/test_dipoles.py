from dataclasses import replace

import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, robust_sigma, star_field, white_noise

from skydelta.detect import detect
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.dipoles import DipoleFits, fit_all_dipoles, positive_peaks, resolve_dipoles
from skydelta.mask import Mask
from skydelta.psf import FWHM_PER_SIGMA

SIGMA = 2.0
FWHM = FWHM_PER_SIGMA * SIGMA
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
SIZE = 420


def scene(star, *, shift=(0.0, 0.0), new=0.0, distance=0.0, sky=50.0, noise=1.0, seed=0):
    """(difference, science, x, y) of 36 equal stars 60 px apart.

    `star` and `new` are S/N on the difference; the template's stars are `shift` px off, something
    new (or, negative, gone) is `distance` FWHM to the right of each.
    """
    rng = np.random.default_rng(seed)
    grid = np.arange(60, SIZE - 50, 60)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(grid, grid))
    flux, change = (np.full(x.size, snr * np.sqrt(2) / NORM) for snr in (star, new))
    shape = SIZE, SIZE
    science = star_field(shape, x, y, flux, SIGMA)
    template = star_field(shape, x + shift[0], y + shift[1], flux, SIGMA)
    science += star_field(shape, x + distance * FWHM, y, np.maximum(change, 0), SIGMA)
    template += star_field(shape, x + distance * FWHM, y, np.maximum(-change, 0), SIGMA)
    science += noise * white_noise(shape, seed) + sky
    template += noise * white_noise(shape, seed + 1000) + sky
    variance = noise**2 or 1.0
    difference = make_exposure(science - template, 2 * variance, sigma=SIGMA)
    return difference, make_exposure(science, variance, sigma=SIGMA), x, y


def run(difference, science, **options):
    sources = detect(difference).sources
    return sources, fit_all_dipoles(difference, science, sources, FWHM, **options)


def nearest(sources, x, y):
    return np.hypot(sources["x"][:, None] - x, sources["y"][:, None] - y).argmin(axis=1)


def true_flux(snr):
    return snr * np.sqrt(2) / NORM


class TestFit:
    @pytest.mark.parametrize("shift", [(0.1, 0.0), (0.3, -0.2), (-1.5, 1.0), (0.0, 4.0)])
    def test_noiseless_is_exact(self, shift):
        """Fluxes, places, separation and orientation, from 0.1 px to nearly 1 FWHM."""
        difference, science, x, y = scene(300, shift=shift, noise=0.0)
        sources, fits = run(difference, science)
        at = nearest(sources, x, y)
        ok = fits.attempted
        assert ok.sum() >= 36
        assert fits.flux[ok] == pytest.approx(true_flux(300), rel=2e-3)
        assert fits.x[ok, 0] == pytest.approx(x[at[ok]], abs=0.01)
        assert fits.y[ok, 1] == pytest.approx(y[at[ok]] + shift[1], abs=0.01)
        assert fits.separation[ok] == pytest.approx(np.hypot(*shift), abs=5e-3)
        # From the negative to the positive lobe.
        expected = np.arctan2(-shift[1], -shift[0])
        assert np.cos(fits.orientation[ok] - expected).min() > 0.999

    @pytest.fixture(scope="class")
    @classmethod
    def noisy(cls):
        parts = []
        for seed in range(6):
            difference, science, *_ = scene(400, shift=(0.3, 0.1), seed=seed)
            parts.append(run(difference, science)[1])
        return [f.take(np.flatnonzero(f.attempted)) for f in parts]

    def test_pulls(self, noisy):
        """Both lobes, their mean and their difference: width 1."""
        flux = np.concatenate([f.flux for f in noisy])
        error = np.concatenate([f.flux_error for f in noisy])
        pull = (flux - true_flux(400)) / error
        assert 0.85 < robust_sigma(pull[:, 0]) < 1.15
        assert 0.85 < robust_sigma(pull[:, 1]) < 1.15
        for value, name, true in (
            ([f.mean_flux for f in noisy], "mean_error", true_flux(400)),
            ([f.flux_difference for f in noisy], "difference_error", 0.0),
        ):
            error = np.concatenate([getattr(f, name) for f in noisy])
            assert 0.85 < robust_sigma((np.concatenate(value) - true) / error) < 1.15

    def test_the_images_break_the_degeneracy(self, noisy):
        """On the difference alone a 0.3 px dipole of S/N 60 has a flux error of tens of percent."""
        flux = np.concatenate([f.mean_flux for f in noisy])
        assert np.std(flux) < 0.01 * true_flux(400)

    def test_chi2(self, noisy):
        reduced = np.concatenate([f.chi2[:, 2] / f.n_data for f in noisy])
        assert np.mean(reduced) == pytest.approx(1.0, abs=0.05)

    def test_swapping_the_images_swaps_the_lobes(self):
        difference, science, *_ = scene(300, shift=(0.4, 0.0), seed=3)
        template = science.replace(image=science.image - difference.image)
        back = difference.replace(image=-difference.image)
        sources = detect(difference).sources
        swapped = sources.copy()
        one = fit_all_dipoles(difference, science, sources, FWHM)
        two = fit_all_dipoles(back, template, swapped, FWHM)
        both = one.attempted & two.attempted
        assert both.sum() >= 30
        assert two.flux[both] == pytest.approx(one.flux[both][:, ::-1], rel=1e-3)
        assert two.x[both] == pytest.approx(one.x[both][:, ::-1], abs=5e-3)

    def test_sky_of_the_images_does_not_matter(self):
        fits = [run(*scene(300, shift=(0.4, 0.0), sky=sky)[:2])[1] for sky in (0.0, 4000.0)]
        assert fits[1].flux == pytest.approx(fits[0].flux, rel=1e-3, nan_ok=True)


class TestClassification:
    """Part of the detections called dipoles; the figures of docs/measurement.md are stricter."""

    @pytest.mark.parametrize("shift", [(0.15, 0.0), (0.3, 0.2), (0.0, -0.5)])
    def test_misregistered_stars_are(self, shift):
        _, fits = run(*scene(500, shift=shift)[:2])
        assert fits.is_dipole.sum() >= 34
        assert fits.is_dipole.mean() > 0.95

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("star", [30, 300])
    def test_transients_beside_a_star_are_not(self, star, distance, sign):
        sources, fits = run(*scene(star, new=15 * sign, distance=distance)[:2])
        assert len(sources) >= 34
        assert fits.is_dipole.mean() < 0.03

    def test_transients_beside_a_star_have_their_own_flux(self):
        """The two-lobe fit of a variable gives the change as the difference of the lobes."""
        _, fits = run(*scene(300, new=30)[:2])
        some = fits.attempted
        pull = (fits.flux_difference - true_flux(30))[some] / fits.difference_error[some]
        assert some.sum() >= 30
        assert np.abs(pull).max() < 5

    def test_empty_sky_is_not_tried(self):
        difference, science, *_ = scene(0, new=20)
        sources, fits = run(difference, science)
        assert len(sources) >= 34
        assert not fits.attempted.any()
        assert np.isnan(fits.flux).all()

    def test_a_higher_preference_calls_fewer(self):
        images = scene(200, shift=(0.3, 0.0))[:2]
        counts = [run(*images, preference=p)[1].is_dipole.sum() for p in (0.3, 0.6, 0.99)]
        assert counts[0] > counts[1] > counts[2]


class TestBadInput:
    def test_at_the_edge(self):
        """Flags, and the others as they were."""
        difference, science, *_ = scene(400, shift=(0.4, 0.0))
        cut = np.s_[55:, 57:]
        pair = [
            make_exposure(e.image[cut], float(e.variance[0, 0]), sigma=SIGMA)
            for e in (difference, science)
        ]
        sources, fits = run(*pair)
        near = (sources["x"] < 8) | (sources["y"] < 8)
        assert fits.at_edge[near & fits.attempted].all()
        assert not fits.at_edge[~near].any()
        assert fits.is_dipole[~near].mean() > 0.9

    def test_masked(self):
        difference, science, x, y = scene(400, shift=(0.4, 0.0))
        sources = detect(difference).sources
        where = (
            np.hypot(*(np.indices(difference.shape) - np.array([y[0], x[0]])[:, None, None])) < 14
        )
        mask = Mask.empty(difference.shape).with_plane("SAT", where)
        fits = fit_all_dipoles(difference.replace(mask=mask), science, sources, FWHM)
        at = nearest(sources, x, y)
        assert not fits.is_dipole[at == 0].any()
        assert fits.is_dipole[at > 0].mean() > 0.9

    def test_nan_in_the_variance(self):
        difference, science, *_ = scene(400, shift=(0.4, 0.0))
        variance = difference.variance.copy()
        variance[::7, ::5] = np.nan
        sources = detect(difference).sources
        fits = fit_all_dipoles(difference.replace(variance=variance), science, sources, FWHM)
        assert np.isfinite(fits.chi2[fits.attempted]).all()
        assert fits.is_dipole.mean() > 0.9

    def test_nothing_detected(self):
        difference, science, *_ = scene(0)
        fits = fit_all_dipoles(difference, science, np.zeros(0, SOURCE_DTYPE), FWHM)
        assert len(fits.attempted) == 0


def sources_of(*rows):
    """(x, y, score, x-, y-, score-, footprint); NaN where there is no negative peak."""
    sources = np.zeros(len(rows), SOURCE_DTYPE)
    names = ("x", "y", "score", "x_negative", "y_negative", "score_negative", "footprint")
    for row, values in zip(sources, rows, strict=True):
        for name, value in zip(names, values, strict=True):
            row[name] = value
    sources["is_dipole"] = np.isfinite(sources["x_negative"])
    sources["n_peaks"] = np.bincount(sources["footprint"])[sources["footprint"]]
    sources["is_deblended"] = sources["n_peaks"] > 1
    return sources


def fits_of(n, is_dipole, x, y, *, failed=None):
    """Fits that were tried on all, lobes 0.4 px apart about (x, y)."""
    lobes = np.array([-0.2, 0.2])
    return replace(
        DipoleFits.none(n),
        attempted=np.ones(n, bool),
        is_dipole=np.array(is_dipole),
        failed=np.zeros(n, bool) if failed is None else np.array(failed),
        x=np.asarray(x, float)[:, None] + lobes,
        y=np.asarray(y, float)[:, None] + 0.0 * lobes,
    )


class TestResolve:
    PAIR = (10.5, 20.0, 8.0, 12.0, 20.0, -8.0, 1)

    def test_positive_peak_of_a_pair(self):
        x, y = positive_peaks(sources_of(self.PAIR, (5.0, 6.0, 9.0, *[np.nan] * 3, 2)))
        assert x == pytest.approx([9.0, 5.0])
        assert y == pytest.approx([20.0, 6.0])

    def test_dipole_stands_between_its_lobes(self):
        out, _ = resolve_dipoles(sources_of(self.PAIR), fits_of(1, [True], [10.3], [20.1]), FWHM)
        assert out["x"] == pytest.approx([10.3])
        assert out["is_dipole"].tolist() == [True]

    def test_pair_that_is_none_becomes_two(self):
        fits = fits_of(2, [False, False], [10.3, 50.0], [20.1, 50.0])
        alone = (50.0, 50.0, -9.0, *[np.nan] * 3, 2)
        out, rows = resolve_dipoles(sources_of(self.PAIR, alone), fits, FWHM)
        assert out["x"] == pytest.approx([9.0, 12.0, 50.0])
        assert out["score"] == pytest.approx([8.0, -8.0, -9.0])
        assert out["is_negative"].tolist() == [False, True, False]
        assert out["n_peaks"].tolist() == [2, 2, 1]
        assert out["is_deblended"].tolist() == [True, True, False]
        assert not out["is_dipole"].any()
        assert np.isnan(out["x_negative"]).all()
        assert len(rows.attempted) == 3

    def test_failed_fit_leaves_the_pair(self):
        fits = fits_of(1, [False], [10.3], [20.1], failed=[True])
        out, _ = resolve_dipoles(sources_of(self.PAIR), fits, FWHM)
        assert out["is_dipole"].tolist() == [True]
        assert out["x"] == pytest.approx([10.5])

    def test_detections_of_one_dipole_are_merged(self):
        second = (12.5, 20.0, -6.0, *[np.nan] * 3, 1)
        fits = fits_of(2, [True, True], [10.3, 10.4], [20.1, 20.1])
        out, rows = resolve_dipoles(sources_of(self.PAIR, second), fits, FWHM)
        assert out["score"].tolist() == [8.0]
        assert out["n_peaks"].tolist() == [1]
        assert len(rows.attempted) == 1

    def test_nothing(self):
        out, rows = resolve_dipoles(np.zeros(0, SOURCE_DTYPE), DipoleFits.none(0), FWHM)
        assert len(out) == len(rows.attempted) == 0
