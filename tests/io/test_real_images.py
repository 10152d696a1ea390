"""Real images of three cameras, read and checked against what is known of them."""

import numpy as np
import pytest
from astropy.io import fits

from skydelta.background import estimate_background
from skydelta.errors import NoWcsError
from skydelta.io.reader import read_exposure
from skydelta.stars import find_stars

LEGACY_PAIRS = ["150411_035242_ooi_z_ls9.N3", "170316_062107_ooi_z_ls9.N2"]
LEGACY = [
    *LEGACY_PAIRS,
    "170329_044212_ooi_g_ls9.N3",
    "170419_042827_ooi_z_ls9.S1",
    "170522_005829_ooi_r_ls9.N2",
    "180128_083845_ooi_r_ls9.N3",
    "180212_083009_ooi_z_ls9.N3",
    "180225_074106_ooi_g_ls9.S1",
    "180314_055922_ooi_r_ls9.S1",
]
SFFT = [f"DEC-OBS{night}{letter}" for night in ("04", "18") for letter in "abcde"]


def middle_fwhm(exposure):
    ny, nx = exposure.shape
    return exposure.psf.compute_shape(nx / 2, ny / 2).fwhm


def blank_pull(exposure):
    """Scatter of blank sky in units of its expected noise."""
    background = estimate_background(
        exposure.image, exposure.mask.any("BAD", "SAT", "CR", "NO_DATA")
    )
    pull = (exposure.image - background.level)[background.blank]
    pull = pull / np.sqrt(exposure.variance[background.blank])
    return 1.4826 * np.median(np.abs(pull - np.median(pull)))


def star_fit(exposure, star):
    """Reduced chi2 of a star under the PSF, within 6 px; free flux, sky and position."""
    from scipy.optimize import least_squares

    ix, iy, half = round(star["x"]), round(star["y"]), 9
    cut = np.s_[iy - half : iy + half + 1, ix - half : ix + half + 1]
    data, sigma = exposure.image[cut].astype(float), np.sqrt(exposure.variance[cut])
    core = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1]) < 6

    def residual(p):
        stamps, x0, y0 = exposure.psf.images([p[2]], [p[3]])
        ox, oy = ix - half - x0[0], iy - half - y0[0]
        model = stamps[0, oy : oy + 2 * half + 1, ox : ox + 2 * half + 1]
        return ((data - p[1] - 1e4 * p[0] * model) / sigma)[core]

    start = [star["flux"] / 1e4, np.median(data), star["x"], star["y"]]
    fit = least_squares(residual, start, x_scale=[1.0, 10.0, 0.1, 0.1])
    return 2 * fit.cost / (core.sum() - 4)


def legacy(shared_data, name, *, side_files=True):
    folder = shared_data / "decam_legacypipe_tc4"
    stem = f"c4d_{name}"
    options = {}
    if side_files:
        options = {
            "weight": folder / f"{stem.replace('ooi', 'oow')}.fits.gz",
            "mask": folder / f"{stem.replace('ooi', 'ood')}.fits.gz",
            "psf": folder / f"{stem.replace('ls9.', 'ls9-')}-psfex.fits.gz",
            "mask_codes": "decam",
        }
    return read_exposure(folder / f"{stem}.fits.gz", **options)


@pytest.mark.parametrize("name", SFFT)
def test_decam_subtracted_and_resampled(shared_data, name):
    path = shared_data / "decam_sfft_i" / f"{name}.mini.fits.gz"
    exposure = read_exposure(path)
    header = fits.getheader(path)
    assert exposure.band == "i"
    assert exposure.gain == header["GAIN"]
    assert exposure.saturate == header["ESATUR"]
    assert exposure.photo_calib is None
    # SExtractor's and our Gaussian-weighted moments agree this well for Moffat profiles.
    assert middle_fwhm(exposure) == pytest.approx(header["FWHM"], rel=0.08)
    assert blank_pull(exposure) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", LEGACY)
def test_decam_with_weight_mask_and_psfex(shared_data, name):
    exposure = legacy(shared_data, name)
    assert blank_pull(exposure) == pytest.approx(1.0, abs=0.05)
    stars = find_stars(exposure.image, exposure.variance, exposure.mask, psf=exposure.psf)
    stars = stars[stars["usable"] & (stars["snr"] > 100)]
    stars = stars[(stars["x"] > 10) & (stars["x"] < exposure.shape[1] - 10)]
    assert len(stars)
    chi2 = [star_fit(exposure, star) for star in stars]
    assert np.median(chi2) < 2.0


@pytest.mark.parametrize("name", LEGACY)
def test_own_estimates_agree_with_the_pipeline(shared_data, name):
    """PSF and variance from the image alone, against PSFEx and the weight map."""
    alone, given = legacy(shared_data, name, side_files=False), legacy(shared_data, name)
    assert middle_fwhm(alone) == pytest.approx(middle_fwhm(given), rel=0.03)
    both = ~alone.mask.any("NO_DATA") & ~given.mask.any("NO_DATA", "BAD", "CR", "SAT")
    ratio = (alone.variance / given.variance)[both]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    # The weight maps hold the sources' photon noise: so must ours where they are bright.
    background = estimate_background(alone.image)
    bright = both & (alone.image - background.level > 20 * background.rms)
    assert np.median((alone.variance / given.variance)[bright]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("name", "fwhm"), [("sci_injected", 3.4), ("ref_median3", 3.3)])
def test_goto_with_two_linear_wcs(shared_data, name, fwhm):
    path = shared_data / "goto_virgo_injected" / f"goto_{name}.fits.fz"
    exposure = read_exposure(path)
    assert any("CD was kept" in note for note in exposure.notes)
    scales = [scale.to_value("arcsec") for scale in exposure.wcs.proj_plane_pixel_scales()]
    np.testing.assert_allclose(scales, 1.2385, atol=0.003)  # the solver's own COMMENT
    x, y = exposure.wcs.all_world2pix(*exposure.wcs.all_pix2world(900, 1000, 0), 0)
    np.testing.assert_allclose((x, y), (900, 1000), atol=0.05)
    widths = [exposure.psf.compute_shape(x, y).fwhm for x, y in ((300, 1500), (900, 900))]
    assert fwhm * 0.9 < min(widths) < max(widths) < fwhm * 1.3
    assert blank_pull(exposure) == pytest.approx(1.0, abs=0.05)


def test_image_without_wcs(shared_data):
    with pytest.raises(NoWcsError, match="astrometry"):
        read_exposure(shared_data / "eaba_eso085" / "aligned_eso085-030-004.fits.gz")
