from dataclasses import replace

import numpy as np
import pytest

from skydelta.simulate.detector import (
    Defects,
    add_bad_columns,
    add_cosmic_rays,
    background_residual,
    bleed,
    coadd_conditions,
    exposure_conditions,
    read_out,
)

CONDITIONS = exposure_conditions("i")
CLEAN = Defects(False, False, False, False, False)


def rng(seed=5):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("conditions", [CONDITIONS, coadd_conditions(CONDITIONS, 15)])
def test_variance_is_that_of_blank_sky(conditions):
    read = read_out(np.zeros((400, 400), np.float32), conditions, rng(), CLEAN)
    assert read.image.mean() == pytest.approx(0, abs=5 * np.sqrt(conditions.sky_variance) / 400)
    assert np.std(read.image / np.sqrt(read.variance)) == pytest.approx(1.0, abs=0.03)
    assert read.image.var() == pytest.approx(conditions.sky_variance, rel=0.02)


def test_bright_pixels_have_photon_noise():
    source = np.full((300, 300), 20000.0, np.float32)
    read = read_out(source, CONDITIONS, rng(), CLEAN)
    assert read.image.var() == pytest.approx(read.expected_variance[0, 0], rel=0.03)
    assert read.image.var() == pytest.approx(20000 / 1.5, rel=0.1)


def test_coadd_is_the_mean_of_its_exposures():
    coadd = coadd_conditions(CONDITIONS, 10)
    ratio = CONDITIONS.counts_per_njy / coadd.counts_per_njy
    assert coadd.sky_variance * ratio**2 == pytest.approx(CONDITIONS.sky_variance / 10)
    assert coadd.saturate * ratio == pytest.approx(CONDITIONS.saturate)


def test_lower_zero_point_is_a_smaller_telescope():
    small = exposure_conditions("i", CONDITIONS.zero_point - 2.5)
    assert small.sky == pytest.approx(CONDITIONS.sky / 10)
    assert small.point_source_error(0.8) > 3 * CONDITIONS.point_source_error(0.8)


def test_bleeding_moves_charge_along_the_column_and_keeps_it():
    level = np.ones((60, 5), np.float32)
    level[30, 2] = 1000.0
    before = level.sum()
    bleed(level, 100.0)
    assert level.sum() == pytest.approx(before, rel=1e-5)
    assert level.max() == pytest.approx(100.0)
    rows = np.flatnonzero(level[:, 2] > 99.0)
    assert rows.min() == 26
    assert rows.max() == 34
    assert np.all(level[:, [0, 1, 3, 4]] == 1.0)


def test_bleeding_stops_at_the_edge():
    level = np.zeros((10, 1), np.float32)
    level[1, 0] = 500.0
    bleed(level, 100.0)
    assert level.max() <= 100.0


def test_saturated_pixels_are_clipped_and_flagged():
    source = np.zeros((50, 50), np.float32)
    source[25, 25] = 1e6
    read = read_out(source, CONDITIONS, rng(), replace(CLEAN, saturation=True, bleeding=True))
    saturated = read.mask.any("SAT")
    assert read.image.max() == pytest.approx(CONDITIONS.saturate, rel=1e-4)
    assert saturated[20:31, 25].all()
    assert not saturated[:, :20].any()
    assert np.all(saturated[read.image > 0.99 * CONDITIONS.saturate])


def test_cosmic_rays_are_flagged_where_they_hit():
    image = np.zeros((1000, 1000), np.float32)
    hit = add_cosmic_rays(image, 1.5, rng())
    assert 10 < hit.sum() < 1000
    assert np.all((image > 0) == hit)


def test_bad_columns_stay_with_the_detector():
    first, second = (np.zeros((100, 100), np.float32) for _ in range(2))
    assert np.array_equal(add_bad_columns(first, rng(7)), add_bad_columns(second, rng(7)))


def test_background_residual_is_smooth():
    background = background_residual((200, 300), rng(), 40.0)
    assert np.ptp(background) == pytest.approx(40.0, rel=1e-3)
    assert background.mean() == pytest.approx(0.0, abs=1e-2)
    assert np.abs(np.diff(background, axis=1)).max() < 1.0


def test_background_never_swallows_a_faint_sky():
    dim = exposure_conditions("u")
    read = read_out(np.zeros((300, 300), np.float32), dim, rng(), replace(CLEAN, gradient=True))
    assert np.std(read.image) < 1.2 * np.sqrt(dim.sky_variance)
