import numpy as np
import pytest
from scenes import gaussian_psf, gaussian_stamp, make_exposure, tan_wcs

from skydelta.field import Field
from skydelta.io.native import write_exposure
from skydelta.io.products import read_image
from skydelta.local_calibration import (
    local_columns,
    local_jacobian,
    on_constant_scale,
    on_sky,
    psf_moments,
)
from skydelta.photocalib import PhotoCalib
from skydelta.psf import GridPsf

SHAPE = (120, 200)
TILTED = PhotoCalib(2.0, 0.1, Field(np.array([[1.0, 0.2], [-0.1, 0.0]]), SHAPE))


def factor(x, y):
    """TILTED's variation, written out: 1 + 0.2 T1(x) - 0.1 T1(y), edge to edge."""
    return 1 + 0.2 * ((2 * x + 1) / SHAPE[1] - 1) - 0.1 * ((2 * y + 1) / SHAPE[0] - 1)


def test_jacobian_of_a_rotated_grid():
    """0.2 arcsec a pixel, x running to the west before the rotation by 35 degrees."""
    wcs = tan_wcs((300, 300), rotation=35)
    jacobian = local_jacobian(wcs, np.array([150.0, np.nan]), np.array([150.0, 3.0]))
    c, s = np.cos(np.radians(35)), np.sin(np.radians(35))
    assert jacobian[0] == pytest.approx(0.2 * np.array([[-c, s], [s, c]]), abs=1e-6)
    assert np.isnan(jacobian[1]).all()


def test_bearings_of_the_axes():
    """Unrotated: x points west (270 deg), y north (0 deg)."""
    jacobian = local_jacobian(tan_wcs(SHAPE), np.full(2, 100.0), np.full(2, 60.0))
    length, bearing = on_sky(jacobian, np.full(2, 3.0), np.array([0.0, np.pi / 2]))
    assert length == pytest.approx(0.6, rel=1e-5)
    assert (bearing - [270.0, 0.0] + 180) % 360 - 180 == pytest.approx(0, abs=0.01)


def test_local_columns():
    exposure = make_exposure(np.zeros(SHAPE), photo_calib=TILTED)
    x, y = np.array([3.0, 150.5]), np.array([10.0, 99.0])
    columns = local_columns(exposure, x, y)
    assert columns["base_LocalPhotoCalib"] == pytest.approx(2.0 * factor(x, y))
    assert columns["base_LocalPhotoCalibErr"] == pytest.approx(0.1 * factor(x, y))
    pixel = np.radians(0.2 / 3600)
    assert columns["base_LocalWcs_CDMatrix_1_1"] == pytest.approx(-pixel, rel=1e-5)
    assert columns["base_LocalWcs_CDMatrix_2_2"] == pytest.approx(pixel, rel=1e-5)


def test_local_columns_without_zero_point():
    exposure = make_exposure(np.zeros(SHAPE), photo_calib=None)
    columns = local_columns(exposure, np.array([3.0]), np.array([10.0]))
    assert np.isnan(columns["base_LocalPhotoCalib"]).all()


def test_a_varying_scale_survives_the_file(tmp_path):
    exposure = make_exposure(np.ones(SHAPE), photo_calib=TILTED)
    write_exposure(tmp_path / "a.fits", exposure)
    back = read_image(tmp_path / "a.fits").photo_calib
    assert (back.scale, back.scale_err) == (2.0, 0.1)
    x, y = np.array([0.0, 77.0, 199.0]), np.array([119.0, 3.0, 0.0])
    assert back.local(x, y)[0] == pytest.approx(2.0 * factor(x, y), rel=1e-12)


def test_to_a_constant_scale():
    """Equal counts are unequal fluxes before, and after it nJy are the same as before."""
    exposure = make_exposure(np.ones(SHAPE), 4.0, photo_calib=TILTED)
    flat = on_constant_scale(exposure)
    assert flat.photo_calib == PhotoCalib(2.0, 0.1)
    x, y = np.array([3, 150]), np.array([10, 99])
    assert flat.photo_calib.to_nanojansky(flat.image[y, x]) == pytest.approx(
        TILTED.to_nanojansky(exposure.image[y, x], x=x, y=y), rel=1e-6
    )
    assert np.sqrt(flat.variance[y, x]) == pytest.approx(2.0 * factor(x, y), rel=1e-6)
    plain = make_exposure(np.ones(SHAPE))
    assert on_constant_scale(plain) is plain


def test_a_varying_scale_asks_for_positions():
    with pytest.raises(ValueError, match="give positions x, y"):
        TILTED.to_nanojansky(1.0)


def test_moments_of_a_constant_psf():
    x, y = np.array([3.0, 150.0]), np.array([10.0, 99.0])
    xx, yy, xy = psf_moments(gaussian_psf(2.5), SHAPE, x, y)
    assert xx == pytest.approx(6.25, rel=1e-4)
    assert yy == pytest.approx(6.25, rel=1e-4)
    assert xy == pytest.approx(0.0, abs=1e-6)


def test_moments_of_a_varying_psf():
    """Between two PSFs: known at the ends, near that of the mixed stamp in the middle."""
    stamps = np.stack([gaussian_stamp(2.0), gaussian_stamp(3.0)])
    psf = GridPsf(np.array([0.0, 199.0]), np.array([0.0, 0.0]), stamps)
    xx, yy, _ = psf_moments(psf, SHAPE, np.array([0.0, 199.0]), np.array([10.0, 50.0]))
    assert xx == pytest.approx([4.0, 9.0], rel=1e-4)
    assert yy == pytest.approx([4.0, 9.0], rel=1e-4)
    middle = psf_moments(psf, SHAPE, np.array([88.0]), np.array([31.0]))[0, 0]
    assert middle == pytest.approx(psf.compute_shape(88.0, 31.0).ixx, rel=0.01)
