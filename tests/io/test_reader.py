"""Every image through one door: formats, side files, and failures that say what to do."""

import gzip
import io
import shutil

import numpy as np
import pytest
from astropy.io import fits

from skydelta import Exposure, Mask, PhotoCalib, errors, write_exposure
from skydelta.io.reader import open_fits, read_exposure
from skydelta.io.wcs import wcs_from_header
from skydelta.psf import GridPsf
from skydelta.timescale import time_scale

N = 96
SKY, SIGMA, GAIN = 1000.0, 10.0, 4.0


def wcs_cards():
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 30.0, -20.0
    header["CRPIX1"], header["CRPIX2"] = N / 2, N / 2
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -7e-5, 0.0, 0.0, 7e-5
    return header


def sky_image(seed=0):
    return np.random.default_rng(seed).normal(SKY, SIGMA, (N, N)).astype(np.float32)


def gaussian_stamp(size=15, sigma=1.5):
    r = np.arange(size) - size // 2
    stamp = np.exp(-0.5 * (r**2 + r[:, None] ** 2) / sigma**2)
    return stamp / stamp.sum()


@pytest.fixture
def folder(tmp_path):
    """An image with its psf, weight and mask, and paths for more."""
    header = wcs_cards()
    header["GAIN"], header["SATURATE"], header["MAGZERO"] = GAIN, 5e4, 27.0
    primary = fits.PrimaryHDU()
    primary.header["EXPTIME"] = 86.4
    primary.header["MJD-OBS"] = 58000.0
    primary.header["FILTER"] = "i DECam SDSS c0003 7835.0 1470.0"
    fits.HDUList([primary, fits.ImageHDU(sky_image(), header, name="N4")]).writeto(
        tmp_path / "image.fits"
    )
    fits.writeto(tmp_path / "psf.fits", gaussian_stamp())
    weight = np.full((N, N), SIGMA**-2, np.float32)
    weight[:, :5] = 0
    fits.writeto(tmp_path / "weight.fits", weight)
    mask = np.zeros((N, N), np.int16)
    mask[10, 10], mask[20, 20], mask[30, 30] = 1, 3, 5
    fits.writeto(tmp_path / "mask.fits", mask)
    return tmp_path


def read(folder, name="image.fits", **options):
    options.setdefault("psf", folder / "psf.fits")
    return read_exposure(folder / name, **options)


def rewrite(folder, name="image.fits", image=None, **cards):
    """The fixture's image with other pixels or cards; None removes a card."""
    with fits.open(folder / "image.fits") as hdul:
        hdul = fits.HDUList([hdu.copy() for hdu in hdul])
    if image is not None:
        hdul[1].data = image
    for key, value in cards.items():
        key = key.replace("__", "-")
        for hdu in hdul:
            hdu.header.remove(key, ignore_missing=True)
        if value is not None:
            hdul[1].header[key] = value
    hdul.writeto(folder / name, overwrite=True)
    return name


def test_plain_image_inherits_primary_keywords(folder):
    exposure = read(folder)
    assert exposure.shape == (N, N)
    assert exposure.image.dtype == exposure.variance.dtype == np.float32
    assert exposure.band == "i"
    assert exposure.meta["PHYSFILT"][0].startswith("i DECam")
    assert exposure.exptime == 86.4
    # A plain header tells the start: half of 86.4 s is half a thousandth of a day.
    assert exposure.mjd == pytest.approx(58000.0005, abs=1e-9)
    assert (exposure.gain, exposure.saturate) == (GAIN, 5e4)
    assert exposure.photo_calib.zero_point == pytest.approx(27.0)


def test_arguments_override_the_header(folder):
    exposure = read(folder, band="I2", gain=2.0, saturate=1e4)
    assert (exposure.band, exposure.gain, exposure.saturate) == ("I2", 2.0, 1e4)
    assert exposure.meta["PHYSFILT"][0].startswith("i DECam")


@pytest.mark.parametrize("name", ["image.fits.gz", "image.fits.fz"])
def test_compressed_files(folder, name):
    if name.endswith("gz"):
        data = gzip.compress((folder / "image.fits").read_bytes())
        (folder / name).write_bytes(data)
    else:
        with fits.open(folder / "image.fits") as hdul:
            packed = fits.CompImageHDU(
                hdul[1].data, hdul[1].header, compression_type="GZIP_2", quantize_level=0
            )
            fits.HDUList([hdul[0].copy(), packed]).writeto(folder / name)
    np.testing.assert_array_equal(read(folder, name).image, read(folder).image)


def test_unsigned_integers(folder):
    counts = sky_image().astype(np.uint16)
    counts[40, 40] = 65535
    exposure = read(folder, rewrite(folder, "u16.fits", counts, SATURATE=None))
    np.testing.assert_array_equal(exposure.image, counts)
    assert exposure.saturate == 65535
    assert exposure.mask.any("SAT").sum() == 9  # grown by a pixel


def test_nan_pixels_have_no_data(folder):
    image = sky_image()
    image[3:6, 7] = np.nan
    exposure = read(folder, rewrite(folder, "nan.fits", image))
    assert exposure.mask.any("NO_DATA").sum() == 3
    assert np.isfinite(exposure.image).all()
    assert np.isnan(exposure.variance[3:6, 7]).all()


def test_weight_map(folder):
    exposure = read(folder, weight=folder / "weight.fits")
    assert exposure.mask.any("NO_DATA")[:, :5].all()
    np.testing.assert_allclose(exposure.variance[:, 5:], SIGMA**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (None, {"BAD": 3}),
        ("decam", {"BAD": 1, "SAT": 1, "CR": 1}),
        ({"SUSPECT": [1, 5]}, {"BAD": 0, "SUSPECT": 2}),
    ],
)
def test_integer_mask(folder, codes, expected):
    mask = read(folder, mask=folder / "mask.fits", mask_codes=codes).mask
    assert {name: mask.any(name).sum() for name in expected} == expected


def test_mask_with_named_planes(folder):
    header = fits.Header({"MP_CR": 0, "MP_BAD": 2})
    bits = np.zeros((N, N), np.int16)
    bits[1, 1], bits[2, 2] = 1, 4
    fits.writeto(folder / "named.fits", bits, header)
    mask = read(folder, mask=folder / "named.fits").mask
    assert np.argwhere(mask.any("CR")).tolist() == [[1, 1]]
    assert np.argwhere(mask.any("BAD")).tolist() == [[2, 2]]


def test_estimated_variance(folder):
    exposure = read(folder)
    np.testing.assert_allclose(exposure.variance, SIGMA**2, rtol=0.15)
    assert any("variance estimated" in note for note in exposure.notes)
    assert abs(exposure.meta["NOISECOR"][0]) < 0.05


def test_gain_from_the_sky(folder):
    name = rewrite(folder, "nogain.fits", GAIN=None)
    assert read(folder, name).gain == pytest.approx(SKY / SIGMA**2, rel=0.1)


def test_unknown_gain_of_a_subtracted_image(folder):
    name = rewrite(folder, "flat.fits", sky_image() - SKY, GAIN=None)
    exposure = read(folder, name)
    assert np.isnan(exposure.gain)
    assert any("gain is unknown" in note for note in exposure.notes)


def test_saturation_of_a_subtracted_image_minds_the_sky(folder):
    name = rewrite(folder, "flat.fits", sky_image() - SKY)
    exposure = read(folder, name)
    assert exposure.saturate == pytest.approx(5e4 - GAIN * SIGMA**2, rel=0.01)


def test_default_zero_point(folder):
    name = rewrite(folder, "nozp.fits", MAGZERO=None)
    assert read(folder, name).photo_calib is None
    exposure = read(folder, name, default_zero_point=25.0)
    assert exposure.photo_calib.zero_point == pytest.approx(25.0)


def test_a_vega_zero_point_is_not_taken(folder):
    exposure = read(folder, rewrite(folder, "vega.fits", PHOTSYS="VEGA"))
    assert exposure.photo_calib is None
    assert any("Vega" in note for note in exposure.notes)


def test_the_time_scale_is_kept(folder):
    exposure = read(folder, rewrite(folder, "tai.fits", TIMESYS="TAI"))
    assert time_scale(exposure.meta) == ("TAI", "TIMESYS")


@pytest.mark.parametrize(
    ("cards", "mjd"),
    [
        ({"MJD__OBS": None, "DATE__OBS": "2017-09-04T00:00:00"}, 58000.0005),
        ({"MJD__OBS": None, "JD": 2458000.5}, 58000.0005),
        ({"MJD__OBS": None}, np.nan),
    ],
)
def test_time_of_observation(folder, cards, mjd):
    np.testing.assert_allclose(read(folder, rewrite(folder, "t.fits", **cards)).mjd, mjd, atol=1e-8)


def test_both_cd_and_pc_is_repaired(folder):
    name = rewrite(folder, "pc.fits", PC1_1=5e-5, PC2_2=-5e-5, CDELT1=2.0, PV1_1="nan")
    exposure = read(folder, name)
    np.testing.assert_allclose(exposure.wcs.pixel_scale_matrix, [[-7e-5, 0], [0, 7e-5]])
    assert sum("repaired" in note for note in exposure.notes) == 2


def test_several_images_in_a_file(folder):
    with fits.open(folder / "image.fits") as hdul:
        second = fits.ImageHDU(hdul[1].data + 1, hdul[1].header, name="N5")
        fits.HDUList([hdul[0], hdul[1], second]).writeto(folder / "mef.fits")
    exposure = read(folder, "mef.fits")
    np.testing.assert_array_equal(exposure.image, read(folder).image)
    assert any("2 images" in note for note in exposure.notes)


def native(folder, **changes):
    exposure = Exposure(
        image=sky_image(),
        variance=np.full((N, N), SIGMA**2, np.float32),
        mask=Mask.empty((N, N)),
        wcs=wcs_from_header(wcs_cards()),
        psf=GridPsf.constant(gaussian_stamp()),
        photo_calib=PhotoCalib.from_zero_point(27.0),
        band="i",
    ).replace(**changes)
    write_exposure(folder / "native.fits", exposure)
    return exposure


def test_native_file(folder):
    written = native(folder)
    exposure = read_exposure(folder / "native.fits")
    np.testing.assert_array_equal(exposure.image, written.image)
    np.testing.assert_allclose(exposure.psf.data, written.psf.data, atol=1e-7)
    broad = GridPsf.constant(gaussian_stamp(sigma=2.0))
    assert read_exposure(folder / "native.fits", psf=broad).psf is broad


def test_native_file_takes_no_weight(folder):
    native(folder)
    with pytest.raises(errors.InputError, match="leave weight empty"):
        read_exposure(folder / "native.fits", weight=folder / "weight.fits")


def test_native_planes_of_different_shapes(folder):
    native(folder)
    with fits.open(folder / "native.fits") as hdul:
        hdul["VARIANCE"].data = hdul["VARIANCE"].data[:-1]
        hdul.writeto(folder / "odd.fits")
    with pytest.raises(errors.InputError, match=rf"\({N}, {N}\).*\({N - 1}, {N}\)"):
        read_exposure(folder / "odd.fits")


def test_lsst_file_is_refused_clearly(folder):
    with fits.open(folder / "image.fits") as hdul:
        archive = fits.BinTableHDU.from_columns([fits.Column("a", "J")], name="ARCHIVE_INDEX")
        fits.HDUList([*hdul, archive]).writeto(folder / "afw.fits")
    with pytest.raises(errors.InputError, match="LSST"):
        read(folder, "afw.fits")


def test_missing_file(folder):
    with pytest.raises(errors.MissingFileError, match="nothing"):
        read(folder, "nothing.fits")
    with pytest.raises(errors.MissingFileError, match="nothing"):
        read(folder, weight=folder / "nothing.fits")


@pytest.mark.parametrize("keep", [0, 100, 2880 * 3, 2880 * 6 + 17, 2880 * 10])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_file(folder, keep, packed):
    data = (folder / "image.fits").read_bytes()
    if packed:
        data = gzip.compress(data)
    name = "cut.fits.gz" if packed else "cut.fits"
    (folder / name).write_bytes(data[:keep])
    with pytest.raises(errors.InputError, match=r"cut\.fits"):
        read(folder, name)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "fits.fz"])
def test_no_truncated_image_is_filled_up(folder, suffix, fraction):
    whole = folder / "whole.fits"
    if suffix == "fits.fz":
        with fits.open(folder / "image.fits") as hdul:
            hdu = fits.CompImageHDU(hdul[1].data, hdul[1].header, quantize_level=0)
            fits.HDUList([hdul[0].copy(), hdu]).writeto(whole)
    else:
        shutil.copy(folder / "image.fits", whole)
    data = whole.read_bytes()
    if suffix == "fits.gz":
        data = gzip.compress(data)
    (folder / f"cut.{suffix}").write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(errors.InputError):
        read(folder, f"cut.{suffix}")


def test_gzip_cut_after_any_hdu(tmp_path):
    """Whole HDUs may be missing from what is left; it still is no image."""
    rng = np.random.default_rng(1)
    planes = [fits.ImageHDU(rng.normal(size=(60, 60)), name=n) for n in ("A", "B", "C")]
    for hdu in planes:
        hdu.add_checksum()
    path = tmp_path / "whole.fits"
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path)
    size = path.stat().st_size
    data = gzip.compress(path.read_bytes())
    for fraction in np.linspace(0.1, 0.999, 30):
        cut = tmp_path / "cut.fits.gz"
        cut.write_bytes(data[: int(fraction * len(data))])
        with pytest.raises(errors.CorruptFileError, match="cut"), open_fits(cut):
            pass
    assert size > 3 * 2880  # there were HDUs to lose


@pytest.mark.parametrize("text", [b"", b"hello", b"SIMPLE  =                    T"])
def test_not_fits(folder, text):
    (folder / "text.fits").write_bytes(text)
    with pytest.raises(errors.CorruptFileError):
        read(folder, "text.fits")


def test_no_wcs(folder):
    name = rewrite(folder, "nowcs.fits", CTYPE1=None, CTYPE2=None)
    with pytest.raises(errors.NoWcsError, match=r"nowcs\.fits.*astrometry"):
        read(folder, name)


def test_wcs_not_celestial(folder):
    name = rewrite(folder, "linear.fits", CTYPE1="LINEAR", CTYPE2="LINEAR")
    with pytest.raises(errors.NoWcsError):
        read(folder, name)


def test_all_nan(folder):
    name = rewrite(folder, "empty.fits", np.full((N, N), np.nan, np.float32))
    with pytest.raises(errors.BadImageError):
        read(folder, name)


def test_no_image(folder):
    fits.writeto(folder / "cube.fits", np.zeros((2, N, N)))
    with pytest.raises(errors.InputError, match="two-dimensional"):
        read(folder, "cube.fits")


def test_wrong_shapes_name_both(folder):
    fits.writeto(folder / "small.fits", np.ones((N, N - 1), np.int16))
    for kind in ("weight", "mask"):
        with pytest.raises(errors.InputError, match=rf"\({N}, {N - 1}\).*\({N}, {N}\)"):
            read(folder, **{kind: folder / "small.fits"})


def test_negative_weights(folder):
    weight = fits.getdata(folder / "weight.fits").copy()
    weight[: N // 2] = -1
    fits.writeto(folder / "negative.fits", weight)
    with pytest.raises(errors.BadVarianceError):
        read(folder, weight=folder / "negative.fits")
    fits.writeto(folder / "zero.fits", weight * 0)
    with pytest.raises(errors.BadVarianceError):
        read(folder, weight=folder / "zero.fits")


def test_mask_that_is_no_mask(folder):
    fits.writeto(folder / "float.fits", np.full((N, N), 0.5, np.float32))
    with pytest.raises(errors.InputError, match="integers"):
        read(folder, mask=folder / "float.fits")


def test_image_without_stars_needs_a_psf(folder):
    with pytest.raises(errors.NoPsfError, match="give a PSF"):
        read(folder, psf=None)


def test_errors_keep_their_type_and_name_the_file(folder):
    stream = io.BytesIO()
    fits.PrimaryHDU(gaussian_stamp(16)).writeto(stream)
    (folder / "even.fits").write_bytes(stream.getvalue())
    with pytest.raises(errors.BadPsfError, match=r"even\.fits"):
        read(folder, psf=folder / "even.fits")
