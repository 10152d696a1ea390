import numpy as np
import pytest
from scenes import make_exposure, star_field, tan_wcs, white_noise

from skydelta.calibrate import OPTIONAL, CalibrateOptions, calibrate, not_measured
from skydelta.detect import detect
from skydelta.dia_source import COLUMNS, empty_catalogue
from skydelta.errors import NoPhotoCalibError
from skydelta.field import Field
from skydelta.measure import measure
from skydelta.photocalib import PhotoCalib
from skydelta.source_ids import NoIdError, unpack_id

SHAPE = (300, 300)


@pytest.fixture(scope="module")
def measured():
    """Five sources of both signs, two of them in one footprint, and what is measured."""
    x, y = [60.0, 60.0, 200.0, 200.0, 212.0], [60.0, 220.0, 60.0, 220.0, 220.0]
    flux = [3e3, -2e3, 1e3, 4e3, 2e3]
    image = star_field(SHAPE, x, y, flux, 2.0) + white_noise(SHAPE, 3)
    exposure = make_exposure(
        image,
        1.0,
        wcs=tan_wcs(SHAPE, rotation=35),
        photo_calib=PhotoCalib(2.0),
        mjd=60000.25,
        exptime=30.0,
    )
    return exposure, measure(exposure, exposure, exposure, detect(exposure))


@pytest.fixture(scope="module")
def catalogue(measured):
    exposure, columns = measured
    return calibrate(columns, exposure, 12345, 79, template_scale=0.5)


def test_columns_types_and_order(catalogue):
    assert list(catalogue) == [c.name for c in COLUMNS]
    for column in COLUMNS:
        assert len(catalogue[column.name]) == 5
        kind = "O" if column.dtype == "U" else np.dtype(column.dtype)
        assert catalogue[column.name].dtype == kind
        assert column.description


def test_fluxes(measured, catalogue):
    columns = measured[1]
    for name, source in (("psfFlux", "base_PsfFlux"), ("apFlux", "base_CircularApertureFlux_12_0")):
        assert catalogue[name] == pytest.approx(2.0 * columns[f"{source}_instFlux"], rel=1e-6)
        error = 2.0 * columns[f"{source}_instFluxErr"]
        assert catalogue[f"{name}Err"] == pytest.approx(error, rel=1e-6)
    assert (catalogue["snr"] == np.abs(columns["detect_score"])).all()


def test_forced_fluxes_are_each_on_their_own_scale(measured, catalogue):
    columns = measured[1]
    name = "ip_diffim_forced_PsfFlux_instFlux"
    assert catalogue["scienceFlux"] == pytest.approx(2.0 * columns[name], rel=1e-6)
    name = "ip_diffim_forced_template_PsfFlux_instFlux"
    assert catalogue["templateFlux"] == pytest.approx(0.5 * columns[name], rel=1e-6)


def test_negative_sources_have_nanojansky_but_no_magnitude(catalogue):
    negative = catalogue["isNegative"]
    assert negative.sum() == 1
    assert (catalogue["psfFlux"][negative] < -3000).all()
    assert np.isnan(catalogue["psfMag"][negative]).all()
    assert np.isnan(catalogue["psfMagErr"][negative]).all()
    assert np.isfinite(catalogue["psfMag"][~negative]).all()


def test_magnitudes(catalogue):
    positive = ~catalogue["isNegative"]
    flux = catalogue["psfFlux"][positive].astype(float)
    assert catalogue["psfMag"][positive] == pytest.approx(31.4 - 2.5 * np.log10(flux), abs=1e-5)
    error = 2.5 / np.log(10) * catalogue["psfFluxErr"][positive] / flux
    assert catalogue["psfMagErr"][positive] == pytest.approx(error, rel=1e-5)


def test_sky_errors_against_monte_carlo(measured, catalogue):
    """Positions scattered by their pixel errors, carried through the WCS."""
    exposure, columns = measured
    rng = np.random.default_rng(0)
    x = columns["base_NaiveCentroid_x"] + columns["base_NaiveCentroid_xErr"] * rng.normal(
        size=(20000, 5)
    )
    y = columns["base_NaiveCentroid_y"] + columns["base_NaiveCentroid_yErr"] * rng.normal(
        size=(20000, 5)
    )
    ra, dec = exposure.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    ra = (ra.reshape(x.shape) - catalogue["ra"]) * np.cos(np.radians(catalogue["dec"]))
    dec = dec.reshape(x.shape) - catalogue["dec"]
    assert catalogue["raErr"] == pytest.approx(ra.std(axis=0), rel=0.03)
    assert catalogue["decErr"] == pytest.approx(dec.std(axis=0), rel=0.03)


def test_covariance_on_the_sky_against_monte_carlo(measured):
    """Correlated errors of x and y on a rotated grid of unequal errors."""
    exposure, columns = measured
    ex, ey, rho = 0.2, 0.05, 0.6
    n = len(columns["base_NaiveCentroid_x"])
    columns = columns | {
        "base_NaiveCentroid_xErr": np.full(n, ex),
        "base_NaiveCentroid_yErr": np.full(n, ey),
        "base_NaiveCentroid_x_y_Cov": np.full(n, rho * ex * ey),
    }
    catalogue = calibrate(columns, exposure, 1, 1, template_scale=1.0)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 200_000))
    x = columns["base_NaiveCentroid_x"][0] + ex * a
    y = columns["base_NaiveCentroid_y"][0] + ey * (rho * a + np.sqrt(1 - rho**2) * b)
    ra, dec = exposure.wcs.all_pix2world(x, y, 0)
    truth = np.cov(ra * np.cos(np.radians(catalogue["dec"][0])), dec)
    assert catalogue["ra_dec_Cov"][0] == pytest.approx(truth[0, 1], rel=0.03)
    assert catalogue["raErr"][0] ** 2 == pytest.approx(truth[0, 0], rel=0.03)
    assert catalogue["decErr"][0] ** 2 == pytest.approx(truth[1, 1], rel=0.03)


def test_sky_errors_across_the_origin_of_ra(measured):
    exposure, columns = measured
    moved = exposure.replace(wcs=tan_wcs(SHAPE, rotation=35, ra=0.0))
    plain = calibrate(columns, exposure, 1, 1, template_scale=1.0)
    across = calibrate(columns, moved, 1, 1, template_scale=1.0)
    assert across["raErr"] == pytest.approx(plain["raErr"], rel=1e-3)
    assert across["ra"].min() >= 0
    assert across["ra"].max() < 360


def test_parents(catalogue):
    """The second source of a footprint names the first; loners and firsts name none."""
    parents, ids = catalogue["parentDiaSourceId"], catalogue["diaSourceId"]
    assert np.ma.getmaskarray(parents).sum() == 4
    child = int(np.flatnonzero(~parents.mask)[0])
    parent = int(np.flatnonzero(ids == parents[child])[0])
    assert {round(catalogue["x"][k] / 10) for k in (child, parent)} == {20, 21}


def test_one_exposure_one_time(catalogue):
    assert set(catalogue["visit"]) == {12345}
    assert set(catalogue["detector"]) == {79}
    assert set(catalogue["band"]) == {"i"}
    assert set(catalogue["exposureTime"]) == {30.0}
    # UTC, since nothing else is said: 37 s behind TAI since 2017.
    assert catalogue["midpointMjdTai"] == pytest.approx(60000.25 + 37 / 86400, abs=1e-10)


def test_no_zero_point(measured):
    exposure, columns = measured
    with pytest.raises(NoPhotoCalibError, match=r"set input\.coadd_zero_point"):
        calibrate(columns, exposure.replace(photo_calib=None), 1, 1, template_scale=1.0)


def test_empty():
    catalogue = empty_catalogue()
    assert list(catalogue) == [c.name for c in COLUMNS]
    assert all(len(values) == 0 for values in catalogue.values())
    exposure = make_exposure(np.zeros((50, 50)))
    columns = measure(exposure, exposure, exposure, detect(exposure))
    calibrated = calibrate(columns, exposure, 1, 1, template_scale=1.0)
    for name, values in calibrated.items():
        assert values.dtype == catalogue[name].dtype
        assert len(values) == 0


def test_time_scale_of_the_header(measured):
    exposure, columns = measured
    for scale, seconds in (("TAI", 0.0), ("TT", -32.184), ("GPS", 19.0), ("UTC", 37.0)):
        timed = exposure.replace(meta={"TIMESYS": (scale, "comment")})
        mjd = calibrate(columns, timed, 1, 1, template_scale=1.0)["midpointMjdTai"][0]
        assert (mjd - 60000.25) * 86400 == pytest.approx(seconds, abs=1e-5)


def test_local_scale_is_that_of_the_position(measured):
    """A zero point that rises along x: what lies at x = 200 is calibrated with its own."""
    exposure, columns = measured
    field = Field(np.array([[1.0, 0.2]]), SHAPE)
    varying = exposure.replace(photo_calib=PhotoCalib(2.0, 0.1, field))
    plain, tilted = (calibrate(columns, e, 1, 1, template_scale=1.0) for e in (exposure, varying))
    factor = 1.0 + 0.2 * ((2 * columns["base_NaiveCentroid_x"] + 1) / SHAPE[1] - 1)
    for name in ("psfFlux", "psfFluxErr", "apFlux", "scienceFluxErr"):
        assert tilted[name] == pytest.approx(plain[name] * factor, rel=1e-6)
    assert tilted["localPhotoCalib"] == pytest.approx(2.0 * factor, rel=1e-6)
    assert tilted["localPhotoCalibErr"] == pytest.approx(0.1 * factor, rel=1e-6)
    assert tilted["templateFlux"] == pytest.approx(plain["templateFlux"])


def test_zero_point_error_where_asked(measured):
    exposure, columns = measured
    uncertain = exposure.replace(photo_calib=PhotoCalib(2.0, 0.02))
    without, with_it = (
        calibrate(
            columns,
            uncertain,
            1,
            1,
            template_scale=1.0,
            options=CalibrateOptions(zero_point_error=asked),
        )
        for asked in (False, True)
    )
    expected = np.hypot(without["psfFluxErr"], 0.01 * without["psfFlux"])
    assert with_it["psfFluxErr"] == pytest.approx(expected, rel=1e-5)
    positive = with_it["psfFlux"] > 0
    expected = np.hypot(without["psfMagErr"], 0.01 * 2.5 / np.log(10))[positive]
    assert with_it["psfMagErr"][positive] == pytest.approx(expected, rel=1e-5)
    assert (with_it["psfFlux"] == without["psfFlux"]).all()


def test_moments_are_in_arcsec(measured, catalogue):
    """The scene's PSF: a Gaussian of 2 px on pixels of 0.2 arcsec."""
    assert catalogue["ixxPSF"] == pytest.approx(0.04 * 4.0, rel=1e-3)
    assert catalogue["iyyPSF"] == pytest.approx(0.04 * 4.0, rel=1e-3)
    assert catalogue["ixyPSF"] == pytest.approx(0.0, abs=1e-4)
    columns = measured[1]
    assert catalogue["ixx"] == pytest.approx(0.04 * columns["base_SdssShape_xx"], rel=1e-4)


class TestDipole:
    """A dipole of 2 px: its bearing on the sky is that of its lobes' true positions."""

    def columns(self, columns, angle):
        n = len(columns["base_NaiveCentroid_x"])
        names = ("instFlux", "instFluxErr", "fluxDiff", "fluxDiffErr", "separation", "orientation")
        values = (500.0, 10.0, -20.0, 14.0, 2.0, angle)
        fit = {
            f"ip_diffim_DipoleFit_{name}": np.full(n, value)
            for name, value in zip(names, values, strict=True)
        }
        return columns | fit

    @pytest.mark.parametrize("angle", [0.0, 0.7, 2.5, -1.2])
    def test_length_and_bearing(self, measured, angle):
        from astropy.coordinates import SkyCoord

        exposure, columns = measured
        catalogue = calibrate(self.columns(columns, angle), exposure, 1, 1, template_scale=1.0)
        x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
        dx, dy = np.cos(angle), np.sin(angle)
        lobes = [
            SkyCoord(*exposure.wcs.all_pix2world(x + s * dx, y + s * dy, 0), unit="deg")
            for s in (-1, 1)
        ]
        length = lobes[0].separation(lobes[1]).arcsec
        assert catalogue["dipoleLength"] == pytest.approx(length, rel=1e-4)
        bearing = lobes[0].position_angle(lobes[1]).deg
        off = (catalogue["dipoleAngle"] - bearing + 180) % 360 - 180
        assert off == pytest.approx(0, abs=0.02)

    def test_fluxes(self, measured):
        exposure, columns = measured
        catalogue = calibrate(self.columns(columns, 0.0), exposure, 1, 1, template_scale=1.0)
        for name, value in (
            ("dipoleMeanFlux", 1000.0),
            ("dipoleMeanFluxErr", 20.0),
            ("dipoleFluxDiff", -40.0),
            ("dipoleFluxDiffErr", 28.0),
        ):
            assert catalogue[name] == pytest.approx(value)

    def test_half_a_fit_is_an_error(self, measured):
        exposure, columns = measured
        fit = self.columns(columns, 0.0)
        del fit["ip_diffim_DipoleFit_separation"]
        with pytest.raises(KeyError, match="separation"):
            calibrate(fit, exposure, 1, 1, template_scale=1.0)


def test_what_was_not_measured_is_named(measured):
    exposure, columns = measured
    assert not not_measured(columns)
    columns = {name: values for name, values in columns.items() if name not in OPTIONAL}
    catalogue = calibrate(columns, exposure, 1, 1, template_scale=1.0)
    missing = not_measured(columns)
    assert {"reliability"} <= set(missing)
    for name in missing:
        values = catalogue[name]
        if values.dtype.kind == "f":
            assert np.isnan(values).all(), name
        else:
            assert not any(values), name
    assert missing == list(OPTIONAL)
    given = columns | {name: np.ones(5) for name in OPTIONAL}
    assert not not_measured(given)


def test_a_missing_measurement_is_an_error(measured):
    exposure, columns = measured
    columns = {k: v for k, v in columns.items() if k != "base_PsfFlux_chi2"}
    with pytest.raises(KeyError, match="base_PsfFlux_chi2"):
        calibrate(columns, exposure, 1, 1, template_scale=1.0)


def test_sky_sources_are_marked_and_nobodys_children(measured):
    exposure, columns = measured
    sky = np.array([False, False, False, False, True])
    shared = columns | {"sky_source": sky, "footprint": np.zeros(5, np.int32)}
    catalogue = calibrate(shared, exposure, 1, 1, template_scale=1.0)
    assert (catalogue["sky_source"] == sky).all()
    parents = catalogue["parentDiaSourceId"]
    assert np.ma.getmaskarray(parents).tolist() == [True, False, False, False, True]
    assert set(parents.compressed()) == {catalogue["diaSourceId"][0]}


def test_flags_of_the_edge(measured):
    """Within 12 px of the edge the aperture is cut; the PSF's stamp reaches 20 px."""
    exposure, columns = measured
    x = np.array([11.4, 11.6, 19.4, 19.6, np.nan])
    moved = columns | {"base_NaiveCentroid_x": x}
    catalogue = calibrate(moved, exposure, 1, 1, template_scale=1.0)
    assert catalogue["apFlux_flag_apertureTruncated"].tolist() == [True, False, False, False, True]
    assert catalogue["psfFlux_flag_edge"].tolist() == [True, True, True, False, True]
    assert catalogue["pixelFlags"].tolist() == [False] * 4 + [True]


def test_ids_say_exposure_and_place(catalogue):
    back = unpack_id(catalogue["diaSourceId"])
    assert set(back.visit) == {12345}
    assert set(back.detector) == {79}
    assert set(back.band) == {3}
    assert back.counter.tolist() == [1, 2, 3, 4, 5]


def test_a_band_without_number(measured):
    exposure, columns = measured
    with pytest.raises(NoIdError, match=r"append it to calibrate\.bands"):
        calibrate(columns, exposure.replace(band="N708"), 1, 1, template_scale=1.0)
