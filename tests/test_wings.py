"""PSF stamps continued by their wings."""

import numpy as np
import pytest
from scenes import gaussian_stamp

from skydelta.moffat import MoffatField
from skydelta.wings import with_wings


def moffat(size, fwhm=6.0, beta=3.0, ellipticity=0.0):
    scale = fwhm / 2.0 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    axes = scale**2 * np.array([[1.0 + ellipticity, 1.0 - ellipticity, 0.0]])
    field = MoffatField(axes, beta, (100, 100), 0)
    return field.stamps(np.array([50.0]), np.array([50.0]), size)


@pytest.mark.parametrize("beta", [2.5, 3.0, 4.5])
def test_moffat_goes_on(beta):
    """What light the stamp lacks comes back, at the radii where it was."""
    whole, cut = moffat(81, beta=beta)[0], moffat(41, beta=beta)
    found = with_wings(cut, 40)[0]
    lost = whole.sum() - cut.sum()
    assert abs(found.sum() - whole.sum()) < 0.15 * lost
    u = np.arange(-40, 41)
    ring = np.abs(np.hypot(u[:, None], u) - 30) < 1
    assert found[ring].mean() == pytest.approx(whole[ring].mean(), rel=0.3)
    assert np.array_equal(found[35:46, 35:46], whole[35:46, 35:46])  # the core stays


def test_ellipticity_of_the_core_stays():
    cut = moffat(41, ellipticity=0.1)
    found = with_wings(cut, 30)[0]
    assert np.array_equal(found[20:41, 20:41], cut[0, 10:31, 10:31])


def test_a_gaussian_has_no_wings():
    found = with_wings(gaussian_stamp(2.0, 41)[None], 40)[0]
    assert found.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("level", [1e-4, -1e-4])
def test_a_sky_is_not_continued(level):
    stamp = gaussian_stamp(2.0, 41)[None] + level
    found = with_wings(stamp, 40)[0]
    assert not found[:20].any()
    assert not found[:, -20:].any()


def test_each_stamp_on_its_own():
    stamps = np.concatenate([moffat(41), gaussian_stamp(2.0, 41)[None] + 1e-4, moffat(41, 4.0)])
    found = with_wings(stamps, 30)
    for k in range(3):
        assert found[k] == pytest.approx(with_wings(stamps[k : k + 1], 30)[0])


def test_narrower_stamps_are_cut():
    stamp = gaussian_stamp(2.0, 41)
    assert np.array_equal(with_wings(stamp[None], 10)[0], stamp[10:31, 10:31])
