"""Exposures written in afw's shape come back as they were; damaged ones are refused by name."""

import numpy as np
import pytest
from astropy.io import fits
from scenes import gaussian_psf, make_exposure, tan_wcs, white_noise

from skydelta import Mask, PhotoCalib
from skydelta.errors import (
    BandMismatchError,
    CorruptFileError,
    InputError,
    UnsupportedError,
)
from skydelta.field import Field
from skydelta.io.afw.exposure_writer import VERSIONS, write_afw
from skydelta.io.index import index_folders
from skydelta.io.inputs import read_grid
from skydelta.io.native import write_exposure
from skydelta.io.reader import read_exposure
from skydelta.lsst.bounded_field import ChebyshevBoundedField
from skydelta.lsst.detector import Amplifier, Detector
from skydelta.lsst.exposure_info import (
    ApCorrMap,
    CoaddInputs,
    ExposureCatalog,
    ExposureInfo,
    FilterLabel,
    SummaryStats,
)
from skydelta.lsst.polygon import Polygon
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.lsst.visit_info import VisitInfo, tai_ns_of_mjd
from skydelta.psf import GridPsf

SHAPE = (60, 80)
XY0 = (400, -30)
BBOX = (400, -30, 479, 29)
MJD = 58000.123456789


def info():
    """Everything that an exposure can carry."""
    wcs = AstSkyWcs.from_fits(tan_wcs(SHAPE))
    field = ChebyshevBoundedField(np.array([[1.0, 0.1], [0.02, 0.003]]), BBOX)
    corner = ((400.0, -30.0), (479.0, -30.0), (400.0, 29.0))
    catalog = ExposureCatalog(
        {
            "id": np.array([7, 8]),
            **{
                f"bbox_{end}_{axis}": np.array([0, 5], np.int32)
                for end in ("min", "max")
                for axis in "xy"
            },
            "ccd": np.array([1, 2], np.int32),
            "weight": np.array([0.5, 2.0]),
            "filter": np.array(["i", "HSC-I2"]),
            "goodpsf": np.array([True, False]),
        },
        {
            "wcs": (wcs, wcs),
            "validPolygon": (Polygon(corner), None),
            "visitInfo": (VisitInfo(exposure_time=15.0, boresight_ra=30.5, target="x y"), None),
        },
    )
    amplifiers = (
        Amplifier("C 00", (0, 0, 39, 59), 0.7, 1e5, 5.0),
        Amplifier("C01", (40, 0, 79, 59), 0.75),
    )
    return ExposureInfo(
        visit_info=VisitInfo(
            exposure_time=30.0,
            tai_ns=tai_ns_of_mjd(MJD),
            boresight_ra=55.1,
            boresight_airmass=1.2,
            rotation_type="SKY",
            instrument="LSSTCam-imSim",
            visit=1013665,
            has_simulated_content=True,
        ),
        filter_label=FilterLabel("i", "i_sim_1.4"),
        exposure_id=181458145,
        components={
            "DETECTOR": Detector(
                "R20_S21", 79, "ITL 33", (0, 0, 79, 59), amplifiers, physical_type="ITL"
            ),
            "VALID_POLYGON": Polygon(corner),
            "AP_CORR_MAP": ApCorrMap({"base_PsfFlux_instFlux": field}),
            "COADD_INPUTS": CoaddInputs(catalog, catalog),
            "SUMMARY_STATS": SummaryStats({"psfSigma": 1.7, "raCorners": [1.0, 2.0, 3.0, 4.0]}),
        },
    )


def exposure(**fields):
    image = white_noise(SHAPE, 1) * 10
    mask = (
        Mask.empty(SHAPE)
        .with_plane("SAT", np.indices(SHAPE)[0] < 2)
        .with_plane("STREAK", image > 25)
    )
    defaults = {
        "photo_calib": PhotoCalib(0.7, 0.001),
        "mjd": MJD,
        "exptime": 30.0,
        "gain": 0.71,
        "saturate": 1e5,
        "xy0": XY0,
        "mask": mask,
        "info": info(),
        "meta": {"TIMESYS": "TAI", "PHYSFILT": "i_sim_1.4", "KSUM": 1.25, "OBJECT": "field 7"},
        "notes": ("something was estimated, and it takes more than one card to say how it was",),
        "wcs": tan_wcs(SHAPE, rotation=33.3, ra=57.076576),
    }
    return make_exposure(image, 100.0, **{**defaults, **fields})


def rewritten(path, out, change):
    """The file with its HDU list changed."""
    with fits.open(path) as hdul:
        change(hdul)
        hdul.writeto(out, overwrite=True)
    return out


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_round_trip(tmp_path, version, compress):
    before = exposure()
    write_afw(tmp_path / "e.fits", before, expinfo_version=version, compress=compress)
    after = read_exposure(tmp_path / "e.fits")
    for name in ("image", "variance"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.mask.array, before.mask.array)
    assert after.mask.planes == before.mask.planes
    for name in ("band", "mjd", "exptime", "gain", "saturate", "xy0", "notes", "bbox"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.meta == {**before.meta, "EXPID": 181458145, "DETNAME": "R20_S21"}
    tolerance = {"rel": 1e-15} if version == 0 else {"rel": 0}
    assert after.photo_calib.scale == pytest.approx(before.photo_calib.scale, **tolerance)
    assert after.photo_calib.scale_err == pytest.approx(before.photo_calib.scale_err, rel=1e-14)
    x, y = np.array([0.0, 79.0, 40.0]), np.array([59.0, 0.0, 30.0])
    sky = before.wcs.all_pix2world(x, y, 0)
    np.testing.assert_allclose(after.wcs.all_pix2world(x, y, 0), sky, rtol=0, atol=1e-13)
    there = after.info.sky_wcs.pixel_to_sky(x + XY0[0], y + XY0[1])
    np.testing.assert_allclose(there, sky, rtol=0, atol=1e-9)
    np.testing.assert_allclose(after.psf.stamps(x, y), before.psf.stamps(x, y), atol=1e-9)
    assert read_grid(tmp_path / "e.fits")[1] == SHAPE


def test_round_trip_of_what_else_there_is(tmp_path):
    write_afw(tmp_path / "e.fits", exposure(), expinfo_version=2)
    before, after = info(), read_exposure(tmp_path / "e.fits").info
    assert after.visit_info == VisitInfo(**{**before.visit_info.__dict__, "target": "field 7"})
    assert after.filter_label == before.filter_label
    assert after.exposure_id == before.exposure_id
    assert repr(after.detector) == repr(before.detector)
    assert after.valid_polygon == before.valid_polygon
    assert after.summary_stats == before.summary_stats
    assert after.ap_corr_map == before.ap_corr_map
    ours, theirs = before.coadd_inputs.ccds, after.coadd_inputs.ccds
    assert list(theirs.columns) != []
    for name, values in ours.columns.items():
        np.testing.assert_array_equal(theirs.columns[name], values, err_msg=name)
    assert theirs.bbox(1) == (5, 5, 5, 5)
    for kind in ("wcs", "validPolygon", "detector"):
        for row in (0, 1):
            assert theirs.component(kind, row) == ours.component(kind, row)
    visit = theirs.component("visitInfo", 0)
    assert (visit.exposure_time, visit.target) == (15.0, "x y")
    assert visit.boresight_ra == pytest.approx(30.5, rel=1e-15)
    # Written again, what was read lazily from one file goes into the next.
    write_afw(tmp_path / "again.fits", read_exposure(tmp_path / "e.fits"), expinfo_version=2)
    (tmp_path / "e.fits").unlink()
    again = read_exposure(tmp_path / "again.fits").info
    assert repr(again.detector) == repr(before.detector)
    assert again.coadd_inputs.ccds.component("wcs", 1) == ours.component("wcs", 1)


def test_layout_is_afw_s(tmp_path):
    write_afw(tmp_path / "e.fits", exposure(), expinfo_version=1)
    with fits.open(tmp_path / "e.fits") as hdul:
        types = [hdu.header.get("EXTTYPE") for hdu in hdul]
        assert types[:5] == [None, "IMAGE", "MASK", "VARIANCE", "ARCHIVE_INDEX"]
        assert set(types[5:]) == {"ARCHIVE_DATA"}
        primary, mask = hdul[0].header, hdul[2].header
        assert (primary["AR_HDU"], primary["EXPINFO_V"], primary["FILTER"]) == (5, 1, "i")
        assert primary["PSF_ID"] == primary["ARCHIVE_ID_PSF"] > 0
        assert (mask["LTV1"], mask["LTV2"]) == (-400.0, 30.0)
        assert (mask["CRVAL1A"], mask["CRVAL2A"], mask["CTYPE1A"]) == (400.0, -30.0, "LINEAR")
        assert (mask["MP_SAT"], mask["MP_STREAK"], mask["INHERIT"]) == (1, 11, True)
        for number, hdu in enumerate(hdul[4:]):
            assert hdu.header["AR_CATN"] == number
            assert hdu.header["AFW_TABLE_VERSION"] == 3
        assert hdul[4].header["AR_NCAT"] == len(hdul) - 4


def test_varying_calibration(tmp_path):
    field = Field(np.array([[1.0, 0.05, 0.01], [-0.02, 0.003, 0.0]]), SHAPE)
    before = exposure(photo_calib=PhotoCalib(0.7, 0.001, field))
    write_afw(tmp_path / "e.fits", before)
    after = read_exposure(tmp_path / "e.fits").photo_calib
    assert (after.scale, after.scale_err) == (0.7, 0.001)
    np.testing.assert_allclose(after.field.coefficients, field.coefficients, rtol=1e-15)
    with pytest.raises(ValueError, match="FLUXMAG0 cannot express"):
        write_afw(tmp_path / "old.fits", before, expinfo_version=0)
    assert not (tmp_path / "old.fits").exists()


def test_varying_psf_becomes_a_psfex_model(tmp_path):
    nodes = np.linspace(0, 79, 7)
    x, y = (a.ravel() for a in np.meshgrid(nodes, nodes * 59 / 79))
    stamps = np.array(
        [gaussian_psf(1.8 + 0.004 * a + 0.003 * b, 25).data[0] for a, b in zip(x, y, strict=True)]
    )
    before = exposure(psf=GridPsf(x, y, stamps))
    write_afw(tmp_path / "e.fits", before)
    after = read_exposure(tmp_path / "e.fits")
    assert type(after.psf.psf).__name__ == "PsfexPsf"
    deviation = fits.getheader(tmp_path / "e.fits")["PSFDEV"]
    assert deviation < 2e-3
    at = np.random.default_rng(4).random((2, 30)) * [[79], [59]]
    expected = before.psf.stamps(*at)
    expected /= expected.sum(axis=(1, 2), keepdims=True)
    error = np.abs(after.psf.stamps(*at) - expected).max() / expected.max()
    assert error < 1.5 * deviation
    assert type(read_exposure(tmp_path / "e.fits").psf.psf).__name__ == "PsfexPsf"


def test_times_are_converted_to_tai(tmp_path):
    write_afw(tmp_path / "e.fits", exposure(meta={}, info=None))
    after = read_exposure(tmp_path / "e.fits")
    assert after.mjd == pytest.approx(MJD + 37 / 86400, abs=1e-10)
    assert after.meta["TIMESYS"] == "TAI"


def test_origin_in_native_files(tmp_path):
    for xy0 in ((0, 0), XY0):
        write_exposure(tmp_path / "n.fits", exposure(xy0=xy0, info=None))
        assert read_exposure(tmp_path / "n.fits").xy0 == xy0
        assert ("LTV1" in fits.getheader(tmp_path / "n.fits", 1)) == (xy0 != (0, 0))


def test_band_of_table_and_file(tmp_path):
    write_afw(tmp_path / "e.fits", exposure(), expinfo_version=2)
    assert read_exposure(tmp_path / "e.fits", band="I2").band == "I2"
    with pytest.raises(BandMismatchError, match=r"e\.fits.*'r'.*'i'"):
        read_exposure(tmp_path / "e.fits", band="r")


def test_gain_of_the_detector_in_files_that_are_not_ours(tmp_path):
    write_afw(tmp_path / "e.fits", exposure())
    path = rewritten(
        tmp_path / "e.fits", tmp_path / "lsst.fits", lambda hdul: hdul[0].header.remove("CREATOR")
    )
    after = read_exposure(path)
    assert after.gain == pytest.approx(0.725)
    assert after.saturate == 1e5
    assert any("mean of the 2 amplifiers of detector R20_S21" in note for note in after.notes)
    assert read_exposure(path, gain=1.5, saturate=3e4).gain == 1.5


def test_image_in_nanojansky(tmp_path):
    def change(hdul):
        hdul[0].header.remove("CREATOR")
        hdul[0].header.remove("PHOTOCALIB_ID")
        hdul[0].header.remove("ARCHIVE_ID_PHOTOCALIB")
        hdul[1].header["BUNIT"] = "nJy"

    write_afw(tmp_path / "e.fits", exposure())
    after = read_exposure(rewritten(tmp_path / "e.fits", tmp_path / "n.fits", change))
    assert after.photo_calib == PhotoCalib(1.0)
    assert np.isnan(after.gain)


def test_index_of_afw_files(tmp_path):
    (tmp_path / "in").mkdir()
    write_afw(tmp_path / "in" / "e.fits", exposure(), expinfo_version=2)
    other = Detector("1_42", 4, bbox=(0, 0, 79, 59))
    components = {**info().components, "DETECTOR": other}
    write_afw(
        tmp_path / "in" / "f.fits",
        exposure(info=info().replace(components=components), meta={"TIMESYS": "TAI"}),
        expinfo_version=2,
    )
    rows = index_folders([tmp_path / "in"]).exposures
    assert [(row["visit"], row["detector"], row["band"]) for row in rows] == [
        (1013665, 79, "i"),
        (1013665, 4, "i"),
    ]


BAD = {
    "unnamed bits": (InputError, r"mask bits.*no MP_ card.*20 on 3 pixels"),
    "no variance": (InputError, "without the plane VARIANCE"),
    "shapes": (InputError, "of one shape"),
    "psf id": (CorruptFileError, "no object 999"),
    "no archive": (CorruptFileError, "table 0 of the archive should be HDU 4"),
    "no AR_HDU": (CorruptFileError, "but no AR_HDU"),
    "rows": (CorruptFileError, r"needs rows 0 to 4999 of table \d+, which has"),
    "class": (UnsupportedError, "is a NoSuchPsf, a class this version cannot read"),
    "later version": (UnsupportedError, "EXPINFO_V 3"),
    "time scale": (InputError, "TIMESYS is UTC"),
    "index columns": (CorruptFileError, "lacks the columns"),
    "wcs text": (CorruptFileError, "not that of a SkyWcs"),
}


def damage(kind):
    """A function that spoils an open file."""

    def change(hdul):
        primary = hdul[0].header
        index = hdul[4].data
        if kind == "unnamed bits":
            hdul[2].data[5, 5:8] |= 1 << 20
        elif kind == "no variance":
            del hdul[3]
        elif kind == "shapes":
            hdul[3].data = hdul[3].data[:, :-1]
        elif kind == "psf id":
            primary["PSF_ID"] = primary["ARCHIVE_ID_PSF"] = 999
        elif kind == "no archive":
            del hdul[4:]
        elif kind == "no AR_HDU":
            del primary["AR_HDU"]
        elif kind == "rows":
            index["nrows"][index["id"] == primary["PSF_ID"]] = 5000
        elif kind == "class":
            index["name"][index["id"] == primary["PSF_ID"]] = "NoSuchPsf"
        elif kind == "later version":
            primary["EXPINFO_V"] = 3
        elif kind == "time scale":
            primary["TIMESYS"] = "UTC"
        elif kind == "index columns":
            hdul[4].columns.change_name("row0", "row_0")
        elif kind == "wcs text":
            for i in (1, 2, 3):
                del hdul[i].header["CTYPE1"], hdul[i].header["CTYPE2"]
            table = next(hdu for hdu in hdul if hdu.header.get("AR_NAME") == "SkyWcs")
            table.data["wcs"][0][:8] = 32

    return change


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_by_name(tmp_path, kind):
    error, text = BAD[kind]
    write_afw(tmp_path / "good.fits", exposure(), expinfo_version=2)
    path = rewritten(tmp_path / "good.fits", tmp_path / "bad.fits", damage(kind))
    with pytest.raises(error, match=text) as caught:
        read_exposure(path)
    assert str(path) in str(caught.value)


def test_file_cut_short(tmp_path):
    write_afw(tmp_path / "good.fits", exposure())
    data = (tmp_path / "good.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(data[: len(data) - 2880 * 3])
    with pytest.raises(CorruptFileError, match=r"cut\.fits"):
        read_exposure(tmp_path / "cut.fits")


def test_wcs_of_the_header_stands_in_for_a_broken_one(tmp_path):
    def change(hdul):
        table = next(hdu for hdu in hdul if hdu.header.get("AR_NAME") == "SkyWcs")
        table.data["wcs"][0][:8] = 32

    write_afw(tmp_path / "good.fits", exposure())
    after = read_exposure(rewritten(tmp_path / "good.fits", tmp_path / "bad.fits", change))
    assert any("the header's WCS was taken" in note for note in after.notes)


def test_a_component_that_is_not_there_is_noted(tmp_path):
    def change(hdul):
        hdul[0].header["VALID_POLYGON_ID"] = hdul[0].header["ARCHIVE_ID_VALID_POLYGON"] = 777

    write_afw(tmp_path / "good.fits", exposure())
    after = read_exposure(rewritten(tmp_path / "good.fits", tmp_path / "bad.fits", change))
    assert any(
        note.startswith("VALID_POLYGON left out: the archive has no object 777")
        for note in after.notes
    )
    assert after.info.detector is not None


def test_side_files_are_refused(tmp_path):
    write_afw(tmp_path / "e.fits", exposure())
    with pytest.raises(InputError, match="leave weight empty"):
        read_exposure(tmp_path / "e.fits", weight=tmp_path / "w.fits")


@pytest.mark.parametrize("version", [-1, 3])
def test_versions_that_cannot_be_written(tmp_path, version):
    with pytest.raises(ValueError, match="expinfo_version"):
        write_afw(tmp_path / "e.fits", exposure(), expinfo_version=version)
