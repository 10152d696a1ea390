import json

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import skydelta
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.dia_source import COLUMNS
from skydelta.errors import (
    CorruptFileError,
    MissingFileError,
    NoWcsError,
    SkydeltaError,
    TooFewStarsError,
)
from skydelta.exposure import Exposure
from skydelta.footprints import SPAN_DTYPE
from skydelta.io.catalogues import write_catalogue
from skydelta.io.detections import write_detections
from skydelta.io.native import write_exposure
from skydelta.io.outcome import write_failure
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.mask import Mask
from skydelta.overlap import Overlap
from skydelta.repository import Repository
from skydelta.spans import spans_of

EXPOSURE = {"visit": 1013665, "detector": 79, "band": "i"}
ID = "01013665-i-det079"
IMAGES = {
    "deepDiff_templateExp": f"deepDiff/v01013665-fi/template_{ID}.fits",
    "deepDiff_subtractedExp": f"deepDiff/v01013665-fi/subtracted_{ID}.fits",
    "deepDiff_differenceExp": f"deepDiff/v01013665-fi/diffexp_{ID}.fits",
}


@pytest.fixture
def root(tmp_path):
    results = tmp_path / "results"
    status = {"status": "ok", "message": ""}
    (results / "status").mkdir(parents=True)
    (results / "status" / f"{ID}.json").write_text(json.dumps(status))
    (results / "deepDiff" / "v01013665-fi").mkdir(parents=True)
    overlaps = [
        Overlap(1013665, 79, "i", 4639, (0, 0), 0.5),
        Overlap(1013665, 79, "i", 4639, (1, 0), 0.5),
        Overlap(8, 3, "r", 4639, (0, 0), 0.5),
    ]
    write_tracts_mapping(results / "overlaps" / "tracts_mapping.sqlite3", overlaps)
    return results


def small_exposure():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cdelt = -1e-4, 1e-4
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Exposure(image, np.ones_like(image), Mask.empty(image.shape), wcs, band="i")


@pytest.mark.parametrize("name", IMAGES)
def test_images(root, name):
    repo = skydelta.Repository(root)
    path = repo.path(name, **EXPOSURE)
    assert path == root / IMAGES[name]
    write_exposure(path, small_exposure())
    exposure = repo.get(name, **EXPOSURE)
    np.testing.assert_array_equal(exposure.image, small_exposure().image)
    assert exposure.band == "i"


def test_difference_has_what_detection_marked(root):
    repo = Repository(root)
    path = repo.path("deepDiff_differenceExp", **EXPOSURE)
    write_exposure(path, small_exposure())
    assert "STREAK" not in repo.get("deepDiff_differenceExp", **EXPOSURE).mask.planes
    where = np.zeros((3, 4), bool)
    where[1, 1:3] = True
    sources, spans = np.zeros(1, SOURCE_DTYPE), np.zeros(1, SPAN_DTYPE)
    sources["footprint"], sources["is_negative"] = 1, True
    spans["footprint"], spans["y"], spans["x0"], spans["x1"] = 1, 2, 0, 3
    detections = Detections(sources, spans, 1.0, 1.0, planes=spans_of("STREAK", where))
    footprints = path.with_name(f"footprints_{ID}.fits")
    write_detections(footprints, detections)
    mask = repo.get("deepDiff_differenceExp", **EXPOSURE).mask
    assert np.array_equal(mask.any("STREAK"), where)
    assert mask.any("DETECTED_NEGATIVE").sum() == mask.any("DETECTED_NEGATIVE")[2].sum() == 4
    assert not mask.any("DETECTED").any()
    write_failure(footprints, TooFewStarsError("no luck"), "detect")
    difference = repo.get("deepDiff_differenceExp", **EXPOSURE)
    assert "STREAK" not in difference.mask.planes
    assert any("no luck" in note for note in difference.notes)


def test_filter_is_another_name_of_band_which_may_be_left_out(root):
    repo = Repository(root)
    data_id = {"visit": 1013665, "detector": 79}
    name = "deepDiff_differenceExp"
    expected = repo.path(name, **EXPOSURE)
    assert repo.path(name, **data_id, filter="i") == expected
    assert repo.path(name, **data_id) == expected
    assert repo.path(name, visit=np.int64(1013665), detector=np.int32(79)) == expected
    with pytest.raises(ValueError, match="two names of one thing"):
        repo.path(name, **EXPOSURE, filter="r")
    with pytest.raises(MissingFileError, match=r"name the band .* it has no status"):
        repo.path(name, visit=1, detector=79)
    (root / "status" / "01013665-r-det079.json").write_text("{}")
    with pytest.raises(MissingFileError, match="it was taken in i, r"):
        repo.path(name, **data_id)


def test_units_of_arrow_fields(root):
    repo = Repository(root)
    field = pa.field("psfFlux", pa.float64(), metadata={"unit": "nJy", "description": "flux"})
    schema = pa.schema([field, ("n", pa.int64()), ("flag", pa.bool_()), ("band", pa.string())])
    table = pa.table([[1.5, 2.5], [1, 2], [True, False], ["i", "z"]], schema=schema)
    pq.write_table(table, repo.path("deepDiff_diaSrc", **EXPOSURE))
    back = repo.get("deepDiff_diaSrc", **EXPOSURE)
    assert back["psfFlux"].unit == u.nJy
    assert back["psfFlux"].description == "flux"
    assert back["n"].unit is None
    assert back["flag"].tolist() == [True, False]
    assert back["band"].dtype.kind == "U"


def test_catalogue_as_the_workflow_writes_it(root):
    repo = Repository(root)
    columns = {c.name: np.zeros(2, "U1" if c.dtype == "U" else c.dtype) for c in COLUMNS}
    write_catalogue(repo.path("deepDiff_diaSrc", **EXPOSURE), columns)
    back = repo.get("deepDiff_diaSrc", **EXPOSURE)
    assert back.colnames == [c.name for c in COLUMNS]
    assert back["parentDiaSourceId"].dtype == np.int64
    assert back["psfFlux"].unit == u.nJy


def test_nulls_of_a_catalogue_are_masked(root):
    """64-bit ids beside nulls stay whole: a number with a point would round them."""
    repo = Repository(root)
    columns = {c.name: np.zeros(2, object if c.dtype == "U" else c.dtype) for c in COLUMNS}
    columns |= {"band": ["i", "i"], "reliabilityVersion": [None, "1"]}
    one = 2**62 + 1
    columns["parentDiaSourceId"] = np.ma.array([one, 0], mask=[False, True])
    write_catalogue(repo.path("deepDiff_diaSrc", **EXPOSURE), columns)
    back = repo.get("deepDiff_diaSrc", **EXPOSURE)
    assert back["parentDiaSourceId"].tolist() == [one, None]
    assert back["reliabilityVersion"].tolist() == [None, "1"]


def test_sources(root):
    repo = Repository(root)
    table = Table({"base_PsfFlux_instFlux": [1.0] * u.count})
    table.write(repo.path("deepDiff_sources", **EXPOSURE))
    assert repo.get("deepDiff_sources", **EXPOSURE)["base_PsfFlux_instFlux"].unit == u.count


def test_missing_product_quotes_the_status(root):
    status = {"status": "too_few_stars", "message": "3 stars, need 5", "n_stars": 3}
    (root / "status" / f"{ID}.json").write_text(json.dumps(status))
    with pytest.raises(MissingFileError) as caught:
        Repository(root).get("deepDiff_differenceExp", **EXPOSURE)
    assert f"diffexp_{ID}.fits does not exist" in str(caught.value)
    assert '"message": "3 stars, need 5"' in str(caught.value)
    (root / "status" / f"{ID}.json").unlink()
    with pytest.raises(MissingFileError, match="has not been through the workflow"):
        Repository(root).get("deepDiff_differenceExp", **EXPOSURE)


@pytest.mark.parametrize("name", [*IMAGES, "deepDiff_sources", "deepDiff_diaSrc"])
def test_failed_exposure_raises_its_own_failure(root, name):
    repo = Repository(root)
    message = "3 stars, need 5: lower match.min_stars or give another template " * 3
    path = repo.path(name, **EXPOSURE)
    write_failure(path.with_suffix(".fits"), TooFewStarsError(message), "subtract")
    path.with_suffix(".fits").replace(path)
    with pytest.raises(SkydeltaError, match="too_few_stars: 3 stars, need 5") as caught:
        repo.get(name, **EXPOSURE)
    assert caught.value.status == "too_few_stars"
    assert caught.value.stage == "subtract"
    assert message.strip() in str(caught.value)


@pytest.mark.parametrize("name", ["deepDiff_differenceExp", "deepDiff_diaSrc", "deepDiff_sources"])
@pytest.mark.parametrize(
    "content", [b"", b"SIMPLE but no FITS", b"PAR1 but no parquet", b"XTENSION" * 720]
)
def test_damaged_product(root, name, content):
    repo = Repository(root)
    repo.path(name, **EXPOSURE).write_bytes(content)
    with pytest.raises(CorruptFileError, match=ID):
        repo.get(name, **EXPOSURE)


def test_product_that_is_no_exposure(root):
    repo = Repository(root)
    path = repo.path("deepDiff_differenceExp", **EXPOSURE)
    planes = [fits.ImageHDU(np.ones((3, 4), np.float32), name=n) for n in ("IMAGE", "VARIANCE")]
    mask = fits.ImageHDU(np.zeros((3, 4), np.int32), fits.Header({"MP_BAD": 0}), name="MASK")
    fits.HDUList([fits.PrimaryHDU(), *planes, mask]).writeto(path)
    with pytest.raises(NoWcsError, match=path.name):
        repo.get("deepDiff_differenceExp", **EXPOSURE)


def test_status(root):
    repo = Repository(root)
    assert repo.status(**EXPOSURE)["status"] == "ok"
    assert repo.status(visit=1013665, detector=79)["status"] == "ok"
    with pytest.raises(MissingFileError, match=r"00000001-i-det002\.json does not exist"):
        repo.status(visit=1, detector=2, band="i")
    (root / "status" / f"{ID}.json").write_text("{")
    with pytest.raises(CorruptFileError, match="is not a status file"):
        repo.status(**EXPOSURE)


def test_find(root):
    repo = Repository(root)
    assert repo.find_coadds(visit=1013665, detector=79) == [
        {"tract": 4639, "patch": (0, 0), "band": "i"},
        {"tract": 4639, "patch": (1, 0), "band": "i"},
    ]
    assert repo.find_coadds(visit=1013665, detector=79, filter="r") == []
    assert repo.find_exposures(tract=4639, patch=(0, 0), band="i") == [EXPOSURE]
    assert len(repo.find_exposures(tract=4639, patch=(0, 0))) == 2
    (root / "overlaps" / "tracts_mapping.sqlite3").unlink()
    with pytest.raises(MissingFileError, match=r"tracts_mapping\.sqlite3 does not exist"):
        repo.find_coadds(visit=1013665, detector=79)


def test_unknown_dataset(root):
    with pytest.raises(ValueError, match="there is no dataset 'calexp'; there are deepDiff_temp"):
        Repository(root).get("calexp", **EXPOSURE)


def test_root_without_results(root, tmp_path):
    with pytest.raises(MissingFileError, match=r"open .*results"):
        Repository(tmp_path)
    with pytest.raises(MissingFileError, match="run the workflow first"):
        Repository(tmp_path / "nowhere")
    assert repr(Repository(root)) == f"Repository({str(root)!r})"
