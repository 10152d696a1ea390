"""Files that lsst.afw wrote: all open, or are refused with the reason."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from numpy.polynomial.chebyshev import chebval2d
from scenes import gaussian_psf

from skydelta.errors import BadVarianceError, NoWcsError, UnsupportedError, UntrustedError
from skydelta.io.afw.archive import InputArchive
from skydelta.io.afw.exposure_wcs import largest_offset
from skydelta.io.footprints import read_footprint
from skydelta.io.inputs import read_grid
from skydelta.io.reader import read_exposure
from skydelta.lsst.exposure_info import FilterLabel
from skydelta.lsst.sky_wcs import AstSkyWcs, FitsSkyWcs

HSC = "REAL_obs_base_calexp_HSC"
OLD = "REAL_afw_HSC-0908120-056-small"
SDSS = "REAL_sdss_s82_deepcoadd_mini-r-3-113_0"
VERSION_2 = "SIM_afw_exposure-version-2"
INPUTS = "SIM_pipe_tasks_coadd_with_CoaddInputs_v1"
READABLE = (HSC, OLD, SDSS, VERSION_2, "SIM_diffimTests_im1", "SIM_diffimTests_im2")
READABLE += ("SIM_meas_base_calexp", "SIM_piff_exp")
REFUSED = {
    "SIM_ip_diffim_scienceMI": (NoWcsError, "no WCS, neither in its header nor in its archive"),
    "SIM_ip_diffim_templateMI": (NoWcsError, "no WCS"),
    INPUTS: (BadVarianceError, "nowhere positive"),
}


@pytest.fixture
def path_of(shared_data):
    return lambda name: shared_data / "lsst_format" / f"{name}.fits.gz"


def read(path, **options):
    options.setdefault("psf", gaussian_psf(2.0))
    return read_exposure(path, **options)


def archive_of(path):
    with fits.open(path) as hdul:
        for hdu in hdul:
            _ = hdu.data
        return InputArchive(hdul)


def test_every_file_is_accounted_for(shared_data):
    names = {
        path.name.removesuffix(".fits.gz") for path in (shared_data / "lsst_format").glob("*.gz")
    }
    assert names == {*READABLE, *REFUSED}


@pytest.mark.parametrize("name", READABLE)
def test_planes_equal_those_of_astropy(path_of, name):
    exposure = read(path_of(name))
    with fits.open(path_of(name)) as hdul:
        image, mask, variance = (hdul[i].data for i in (1, 2, 3))
        cards = hdul[2].header
        known = np.isfinite(image) & (variance > 0)
        assert known.any()
        np.testing.assert_array_equal(exposure.image[known], image[known])
        np.testing.assert_array_equal(exposure.variance[known], variance[known])
        for key in cards:
            if key.startswith("MP_"):
                plane = exposure.mask.any(key[3:])
                expected = (mask.astype(np.int64) >> cards[key] & 1).astype(bool)
                if key == "MP_NO_DATA":
                    expected |= ~known
                np.testing.assert_array_equal(plane, expected, err_msg=key)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(path_of, name):
    error, text = REFUSED[name]
    with pytest.raises(error, match=text) as caught:
        read(path_of(name))
    assert name in str(caught.value)


def test_pickled_psf_needs_trust(path_of):
    with pytest.raises(UntrustedError, match=r"SIM_piff_exp.*trust_pickles"):
        read_exposure(path_of("SIM_piff_exp"))


def test_hsc_calexp(path_of):
    exposure = read_exposure(path_of(HSC))
    assert (exposure.band, exposure.meta["PHYSFILT"]) == ("300", "HSC-I")
    assert exposure.exptime == 30.0
    # DATE-AVG 2013-11-02T06:01:31.7885 TAI.
    assert exposure.mjd == pytest.approx(56598 + (6 * 3600 + 91.7885) / 86400, abs=1e-11)
    assert exposure.meta["TIMESYS"] == "TAI"
    assert exposure.gain == pytest.approx(np.mean([3.9351, 3.9913, 3.9616, 4.0744]))
    assert exposure.saturate == 45000.0
    assert exposure.photo_calib.scale == 1.9940875054616918
    assert exposure.photo_calib.scale_err == 0.00034856714373740624
    assert exposure.photo_calib.field is None
    assert exposure.xy0 == (0, 0)
    assert exposure.psf.compute_shape(10.0, 10.0).determinant_radius > 0
    visit = exposure.info.visit_info
    assert visit.boresight_airmass == 1.10305078976126
    assert (visit.rotation_type, visit.target) == ("SKY", "STRIPE82L")
    assert exposure.info.exposure_id == 180802004
    detector = exposure.info.detector
    assert (detector.name, detector.number, detector.physical_type) == ("1_42", 4, "CCD")
    assert len(detector.amplifiers) == 4
    assert exposure.info.summary_stats.values["psfSigma"] > 0
    assert len(exposure.info.coadd_inputs.ccds) == 0
    assert exposure.info.component("TRANSMISSION_CURVE").name == "ProductTransmissionCurve"


def test_hsc_valid_polygon(path_of):
    polygon = read(path_of(HSC)).info.valid_polygon
    assert len(polygon.vertices) == 8
    assert polygon.contains(np.array([1000.0, 100.0]), np.array([100.0, 3900.0])).tolist() == [
        True,
        False,
    ]


def test_hsc_aperture_corrections(path_of):
    corrections = read(path_of(HSC)).info.ap_corr_map.fields
    assert len(corrections) == 46
    archive, compared = archive_of(path_of(HSC)), 0
    x, y = np.random.default_rng(0).random((2, 50)) * [[2048], [4176]]
    for row in archive.rows(250):
        field = archive.row(row["field"])
        table = field["coefficients"]
        if np.size(table) != 9:
            continue
        u = (2 * x - 2047) / 2048
        v = (2 * y - 4175) / 4176
        assert (field["bbox_max_x"], field["bbox_max_y"]) == (2047, 4175)
        expected = chebval2d(v, u, np.reshape(table, (3, 3)))
        name = row["name"].strip()
        np.testing.assert_allclose(corrections[name].evaluate(x, y), expected, rtol=1e-13)
        compared += 1
    assert compared == 23


def test_hsc_wcs_of_header_and_archive(path_of):
    exposure = read(path_of(HSC))
    assert isinstance(exposure.info.sky_wcs, AstSkyWcs)
    offset = largest_offset(exposure.wcs, exposure.info.sky_wcs, (4176, 2048), (0, 0))
    assert 0.01 < offset < 0.2  # mas
    assert not any("not quite" in note for note in exposure.notes)


def test_hsc_wcs_from_the_archive_alone(path_of, tmp_path):
    with fits.open(path_of(HSC)) as hdul:
        for i in (1, 2, 3):
            for axis in (1, 2):
                hdul[i].header.remove(f"CTYPE{axis}")
        hdul.writeto(tmp_path / "bare.fits")
    exposure, whole = read(tmp_path / "bare.fits"), read(path_of(HSC))
    assert any("fitted to the archive's SkyWcs" in note for note in exposure.notes)
    assert largest_offset(exposure.wcs, whole.info.sky_wcs, (32, 64), (0, 0)) < 0.02
    wcs, shape = read_grid(tmp_path / "bare.fits")
    assert shape == (32, 64)
    assert largest_offset(wcs, FitsSkyWcs(exposure.wcs), shape, (0, 0)) < 1e-6
    outline = np.array(read_footprint(tmp_path / "bare.fits").outline)
    np.testing.assert_allclose(outline, read_footprint(path_of(HSC)).outline, atol=1e-8)


def test_approximate_header_gives_way_to_the_archive(path_of, tmp_path):
    with fits.open(path_of(HSC)) as hdul:
        hdul[1].header["CRVAL2"] += 0.05 / 3600
        hdul.writeto(tmp_path / "off.fits")
    exposure = read(tmp_path / "off.fits")
    assert any("off by up to 50" in note for note in exposure.notes)
    assert largest_offset(exposure.wcs, exposure.info.sky_wcs, (32, 64), (0, 0)) < 0.02
    wcs, _ = read_grid(tmp_path / "off.fits")
    assert largest_offset(wcs, FitsSkyWcs(exposure.wcs), (32, 64), (0, 0)) < 1e-6


@pytest.mark.parametrize("name", [OLD, "SIM_meas_base_calexp"])
def test_old_rows_of_wcs_equal_the_header(path_of, name):
    exposure = read(path_of(name))
    assert isinstance(exposure.info.sky_wcs, FitsSkyWcs)
    assert largest_offset(exposure.wcs, exposure.info.sky_wcs, (4176, 2048), exposure.xy0) < 1e-6
    if name == OLD:
        assert exposure.xy0 == (100, 100)
        assert exposure.info.sky_wcs.wcs.sip is not None
        header = fits.getheader(path_of(name), 1)
        assert exposure.info.sky_wcs.wcs.sip.a[1, 2] == pytest.approx(header["A_1_2"], rel=1e-12)
        assert exposure.info.sky_wcs.wcs.sip.ap[3, 1] == pytest.approx(header["AP_3_1"], rel=1e-12)


def test_old_coadd(path_of):
    exposure = read_exposure(path_of(SDSS))
    assert exposure.xy0 == (231324, 0)
    assert exposure.bbox == (231324, 0, 231835, 511)
    assert exposure.band == "r"
    # FLUXMAG0 = 63095734448.0194 counts are AB magnitude 0, that is 10^(31.4/2.5) nJy.
    assert exposure.photo_calib.zero_point == pytest.approx(27.0, abs=1e-12)
    assert np.isnan(exposure.exptime)
    assert np.isnan(exposure.mjd)  # TIME-MID of 1970-01-01 TAI: not known
    assert any("PSF estimated" in note for note in exposure.notes)
    assert wcs_ctype(exposure) == "RA---CEA"


def wcs_ctype(exposure):
    return exposure.wcs.wcs.ctype[0]


def test_version_2(path_of):
    exposure = read(path_of(VERSION_2))
    assert exposure.info.filter_label == FilterLabel("N656", "ha")
    assert exposure.photo_calib.scale == 1e6
    assert exposure.info.detector.name == "detector 1"
    assert exposure.info.visit_info.dark_time == 600.0


def test_kernel_psf_of_the_file(path_of):
    psf = read_exposure(path_of("SIM_diffimTests_im1")).psf
    stamp = psf.stamp(100.0, 100.0)
    assert stamp.sum() == pytest.approx(1.0, abs=1e-6)
    row = archive_of(path_of("SIM_diffimTests_im1")).row(2)
    image = np.array(row["image"]).reshape(25, 25)
    np.testing.assert_allclose(stamp, image / image.sum(), atol=1e-12)


def test_coadd_inputs(path_of):
    archive = archive_of(path_of(INPUTS))
    inputs = archive.load(1)
    assert len(inputs.visits) == len(inputs.ccds) == 3
    assert inputs.ccds.columns["visit"].tolist() == [0, 1, 2]
    assert inputs.ccds.bbox(1) == (100, 100, 109, 109)
    assert inputs.visits.columns["weight"] == pytest.approx(1 / 3)
    wcs = inputs.ccds.component("wcs", 2)
    np.testing.assert_allclose(wcs.pixel_to_sky(5.0, 5.0), (10.0, 45.0))
    assert inputs.ccds.component("psf", 0).stamp(0, 0).sum() == pytest.approx(1.0)
    # Calib: 1.1e12 counts of magnitude 0, known to 2 per cent.
    calib = inputs.ccds.component("photoCalib", 0)
    assert calib.mean == pytest.approx(3630.780547701 / 1100, rel=1e-9)
    assert calib.error / calib.mean == pytest.approx(0.02)
    polygon = inputs.ccds.component("validPolygon", 0)
    assert polygon.bbox[2] > polygon.bbox[0]
    assert set(inputs.ccds.component("apCorrMap", 1).fields) == {"a", "b", "c"}
    assert inputs.ccds.component("detector", 0) is None


def test_a_psf_that_is_given_spares_the_file_s_own(path_of):
    psf = gaussian_psf(2.0)
    assert read(path_of("SIM_piff_exp"), psf=psf).psf is psf


def test_class_that_is_not_known(path_of, monkeypatch):
    from skydelta.io.afw import archive

    readers = {k: v for k, v in archive.READERS.items() if k not in ("GaussianPsf", "Polygon")}
    monkeypatch.setattr(archive, "READERS", readers)
    with pytest.raises(UnsupportedError, match=r"calexp_HSC.*PSF.*object 249 is a GaussianPsf"):
        read_exposure(path_of(HSC))
    monkeypatch.setattr("skydelta.io.afw.components.READERS", readers)
    exposure = read(path_of(HSC))
    assert any(note.startswith("VALID_POLYGON left out: a Polygon") for note in exposure.notes)
    assert exposure.info.valid_polygon is None


def test_reading_warns_of_nothing(path_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_exposure(path_of(HSC))
