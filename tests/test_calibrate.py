import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import make_exposure, star_field, tan_wcs, white_noise

from skydelta.calibrate import COLUMNS, calibrate, dia_source_ids, empty_catalogue
from skydelta.detect import detect
from skydelta.errors import NoPhotoCalibError
from skydelta.measure import measure
from skydelta.photocalib import PhotoCalib

SHAPE = (300, 300)


@pytest.fixture(scope="module")
def measured():
    """Five sources of both signs, two of them in one footprint, and what is measured."""
    x, y = [60.0, 60.0, 200.0, 200.0, 212.0], [60.0, 220.0, 60.0, 220.0, 220.0]
    flux = [3e3, -2e3, 1e3, 4e3, 2e3]
    image = star_field(SHAPE, x, y, flux, 2.0) + white_noise(SHAPE, 3)
    exposure = make_exposure(
        image, 1.0, wcs=tan_wcs(SHAPE, rotation=35), photo_calib=PhotoCalib(2.0), mjd=60000.25
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
    assert catalogue["snr"] == pytest.approx(
        np.abs(columns["base_PsfFlux_instFlux"] / columns["base_PsfFlux_instFluxErr"]), rel=1e-6
    )


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
    assert catalogue["raErr"] == pytest.approx(ra.reshape(x.shape).std(axis=0), rel=0.03)
    assert catalogue["decErr"] == pytest.approx(dec.reshape(x.shape).std(axis=0), rel=0.03)


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
    assert sorted(parents)[:4] == [0, 0, 0, 0]
    child = int(np.argmax(parents))
    parent = int(np.flatnonzero(ids == parents[child])[0])
    assert {round(catalogue["x"][k] / 10) for k in (child, parent)} == {20, 21}


def test_one_exposure_one_time(catalogue):
    assert set(catalogue["visit"]) == {12345}
    assert set(catalogue["detector"]) == {79}
    assert set(catalogue["band"]) == {"i"}
    assert set(catalogue["midpointMjdTai"]) == {60000.25}


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


class TestIds:
    @given(
        st.integers(0, 2**31 - 1),
        st.integers(0, 1023),
        st.integers(0, 2**31 - 1),
        st.integers(0, 1023),
    )
    def test_unique(self, visit, detector, other_visit, other_detector):
        ids = dia_source_ids(visit, detector, 3)
        others = dia_source_ids(other_visit, other_detector, 3)
        assert ids.dtype == np.int64
        assert (ids > 0).all()
        same = (visit, detector) == (other_visit, other_detector)
        assert len({*ids, *others}) == (3 if same else 6)

    def test_extremes_do_not_collide(self):
        last = dia_source_ids(5, 7, 2**22 - 1)[-1]
        assert last < dia_source_ids(5, 8, 1)[0]
        assert dia_source_ids(5, 1023, 2**22 - 1)[-1] < dia_source_ids(6, 0, 1)[0]

    @pytest.mark.parametrize("numbers", [(2**31, 0, 1), (-1, 0, 1), (0, 1024, 1), (0, 0, 2**22)])
    def test_what_does_not_fit(self, numbers):
        with pytest.raises(ValueError, match="no id for visit"):
            dia_source_ids(*numbers)
