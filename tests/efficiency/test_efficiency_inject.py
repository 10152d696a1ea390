"""Injected sources: flux, noise, saturation, position, and the same bytes for the same seed."""

import numpy as np
import pytest
from scenes import gaussian, gaussian_stamp, make_exposure
from scipy.optimize import least_squares

from skydelta.efficiency.draw import generator
from skydelta.efficiency.inject import inject
from skydelta.psf import GridPsf

GAIN = 2.0
SHAPE = (160, 160)


def blank(**fields):
    return make_exposure(np.zeros(SHAPE), 25.0, sigma=1.8, **{"gain": GAIN, **fields})


def rng(seed=5):
    return np.random.default_rng(seed)


def added(exposure, after):
    return (after.image - exposure.image).astype(float)


def test_flux_is_that_of_the_enclosed_stamp():
    stamp = 0.97 * gaussian_stamp(1.8, size=31)
    exposure = blank(psf=GridPsf.constant(stamp), gain=np.nan)
    x, y, counts = np.array([40.2, 99.6]), np.array([50.7, 110.1]), np.array([1e4, 3e3])
    after = inject(exposure, x, y, counts, rng())
    assert added(exposure, after).sum() == pytest.approx(0.97 * counts.sum(), rel=1e-4)


def test_without_a_gain_a_note_says_that_photons_carry_no_noise():
    exposure = blank(gain=np.nan)
    after = inject(exposure, np.array([40.0]), np.array([40.0]), np.array([1e4]), rng())
    assert np.array_equal(after.variance, exposure.variance)
    assert "no photon noise" in after.notes[-1]


def test_photon_noise_is_poissons_and_in_the_variance_plane():
    """Many draws of one bright source: the scatter of its sum is sqrt(F / gain)."""
    exposure, counts = blank(), 4e3
    x = y = np.array([80.3])
    generator_ = rng()
    runs = [inject(exposure, x, y, np.array([counts]), generator_) for _ in range(300)]
    sums = np.array([added(exposure, run).sum() for run in runs])
    expected = np.sqrt(counts / GAIN)
    assert sums.mean() == pytest.approx(counts, abs=4 * expected / np.sqrt(len(runs)))
    # The standard error of a standard deviation is 1 / sqrt(2 n) of it.
    assert sums.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * len(runs)))
    raised = (runs[0].variance - exposure.variance).astype(float).sum()
    assert raised == pytest.approx(counts / GAIN, rel=1e-3)


def test_negative_sources_take_light_without_noise():
    exposure = blank()
    x = y = np.array([80.0])
    after = inject(exposure, x, y, np.array([-500.0]), rng())
    assert added(exposure, after).sum() == pytest.approx(-500.0, rel=1e-4)
    assert np.array_equal(after.variance, exposure.variance)


def test_pixels_beyond_saturation_are_cut_and_flagged():
    exposure = blank(saturate=2000.0)
    x = y = np.array([80.0])
    after = inject(exposure, x, y, np.array([1e6]), rng())
    full = after.mask.any("SAT")
    assert full[80, 80]
    assert np.all(after.image[full] == 2000.0)
    assert np.all(after.image[~full] < 2000.0)
    assert not exposure.mask.any("SAT").any()


def test_pixels_without_data_or_already_saturated_stay():
    exposure = blank()
    fixed = np.zeros(SHAPE, bool)
    fixed[80, 78:83] = True
    exposure = exposure.replace(
        mask=exposure.mask.with_plane("SAT", fixed),
        variance=np.where(fixed, np.float32(np.nan), exposure.variance),
    )
    after = inject(exposure, np.array([80.0]), np.array([80.0]), np.array([1e4]), rng())
    assert np.all(after.image[fixed] == exposure.image[fixed])
    assert np.array_equal(np.isnan(after.variance), fixed)


@pytest.mark.parametrize(("x", "y"), [(50.0, 60.0), (50.37, 60.12), (100.81, 90.5)])
def test_sources_lie_where_they_were_put(x, y):
    """A Gaussian fitted to the image finds position and flux again."""
    exposure = blank(gain=np.nan)
    after = inject(exposure, np.array([x]), np.array([y]), np.array([5e4]), rng())

    def residual(parameters):
        return (gaussian(SHAPE, *parameters[:2], 1.8, 1e4 * parameters[2]) - after.image).ravel()

    fitted = least_squares(residual, [np.rint(x), np.rint(y), 4.0]).x
    assert fitted == pytest.approx([x, y, 5.0], abs=2e-3)


def test_sources_across_the_edge_are_cut_there():
    exposure = make_exposure(np.zeros(SHAPE), 25.0, sigma=1.8)
    after = inject(exposure, np.array([0.0]), np.array([-0.4]), np.array([1000.0]), rng())
    assert 150 < after.image.sum() < 350


def test_the_same_seed_gives_the_same_bytes_and_another_realisation_others():
    x = y = np.array([80.3])

    def once(realisation, band="r"):
        draw = generator(1, realisation, 500001, 3, band)
        return inject(blank(), x, y, np.array([1e4]), draw).image.tobytes()

    assert once(1) == once(1)
    assert once(1) != once(2)
    assert once(1) != once(1, band="i")


def test_the_exposure_itself_is_left_alone():
    exposure = blank()
    before = exposure.image.copy(), exposure.variance.copy(), exposure.mask.array.copy()
    inject(exposure, np.array([80.0]), np.array([80.0]), np.array([1e6]), rng())
    for old, new in zip(
        before, (exposure.image, exposure.variance, exposure.mask.array), strict=True
    ):
        assert np.array_equal(old, new)
