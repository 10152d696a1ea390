"""Results written as an LSST repository."""

import json

import numpy as np
import pytest
from astropy.table import Table
from scenes import make_exposure, white_noise

from skydelta import Repository
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.errors import TooFewStarsError
from skydelta.footprints import SPAN_DTYPE
from skydelta.io.detections import write_detections
from skydelta.io.lsst_export import SLOTS, export_configuration, export_exposure, stack_sources
from skydelta.io.native import write_exposure
from skydelta.io.outcome import write_failure
from skydelta.io.sources import read_sources_table, write_sources
from skydelta.source_ids import unpack_id

ID = {"visit": 1013665, "detector": 79, "band": "i"}
BANDS = ("g", "i")
NAMES = [
    f"deepDiff/v01013665-fi/R20/{name}_01013665-i-R20-S21-det079.fits"
    for name in ("diaSrc", "diffexp")
]


def columns(n=3):
    numbers = np.arange(n, dtype=float)
    return {
        "footprint": np.arange(1, n + 1, dtype=np.int32),
        "parent": np.arange(1, n + 1, dtype=np.int32),
        "coord_ra": np.radians(55.0 + numbers / 3600),
        "coord_dec": np.radians(-30.0 + numbers / 3600),
        "base_NaiveCentroid_x": 10.0 + numbers,
        "base_NaiveCentroid_y": 20.0 + numbers,
        "base_NaiveCentroid_xErr": np.full(n, 0.1),
        "ip_diffim_DipoleFit_pos_centroid_x": 11.0 + numbers,
        "base_PsfFlux_instFlux": 100.0 * (numbers + 1),
        "base_CircularApertureFlux_12_0_instFlux": 101.0 * (numbers + 1),
        "is_negative": numbers == 1,
        "reliabilityVersion": np.full(n, "1"),
    }


@pytest.fixture
def products(tmp_path):
    """Difference, detections and measurements of one exposure."""
    difference = make_exposure(white_noise((60, 60), 1))
    paths = {name: tmp_path / f"{name}.fits" for name in ("diffexp", "footprints", "sources")}
    write_exposure(paths["diffexp"], difference)
    sources, spans = np.zeros(1, SOURCE_DTYPE), np.zeros(1, SPAN_DTYPE)
    sources["footprint"] = 1
    spans["footprint"], spans["y"], spans["x0"], spans["x1"] = 1, 2, 0, 3
    write_detections(paths["footprints"], Detections(sources, spans, 1.0, 1.0))
    write_sources(paths["sources"], columns())
    return paths


def export(tmp_path, products):
    root, manifest = tmp_path / "lsst", tmp_path / "lsst" / "exported" / "ID.json"
    export_configuration(root)
    export_exposure(root, manifest, ID, **products, bands=BANDS)
    return root, json.loads(manifest.read_text())


def test_sources_as_the_stack_has_them(products):
    table = read_sources_table(products["sources"])
    out = stack_sources(table, ID, (4000, 300), BANDS)
    assert out.colnames[:4] == ["id", "parent", "coord_ra", "coord_dec"]
    assert out["coord_ra"].unit == "rad"
    found = unpack_id(out["id"])
    assert set(found.visit) == {1013665}
    assert set(found.band) == {1}
    assert found.counter.tolist() == [1, 2, 3]
    assert not out["parent"].any()
    assert out["base_NaiveCentroid_x"].tolist() == [4010.0, 4011.0, 4012.0]
    assert out["base_NaiveCentroid_y"].tolist() == [320.0, 321.0, 322.0]
    assert out["ip_diffim_DipoleFit_pos_centroid_x"][0] == 4011.0
    assert out["base_NaiveCentroid_xErr"].tolist() == [0.1, 0.1, 0.1]
    assert "reliabilityVersion" not in out.colnames
    assert table["base_NaiveCentroid_x"][0] == 10.0
    assert isinstance(out, Table)


def test_failed_exposures_have_no_files(tmp_path, products):
    root = tmp_path / "lsst"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("of a former run")
    write_failure(products["sources"], TooFewStarsError("3 stars, need 5"), "subtract")
    root, manifest = export(tmp_path, products)
    assert manifest == {
        **ID,
        "status": "too_few_stars",
        "message": "3 stars, need 5",
        "files": [],
    }
    assert not list(root.rglob("*.fits"))
    assert Repository(root).datasets("deepDiff_differenceExp") == []


def test_repository_reads_back(tmp_path, products):
    pytest.importorskip("skydelta.io.afw.exposure_writer")
    pytest.importorskip("skydelta.io.afw_catalogue")
    root, manifest = export(tmp_path, products)
    assert manifest["files"] == NAMES
    repo = Repository(root)
    assert repo.datasets("deepDiff_diaSrc") == [ID]
    difference = repo.get("deepDiff_differenceExp", **ID)
    expected = make_exposure(white_noise((60, 60), 1))
    np.testing.assert_array_equal(difference.image, expected.image)
    assert difference.mask.any("DETECTED")[2, :4].all()
    assert difference.photo_calib.scale == 1.0
    table = repo.get("deepDiff_diaSrc", visit=1013665, detector=79)
    assert table["base_PsfFlux_instFlux"].tolist() == [100.0, 200.0, 300.0]
    assert table["is_negative"].tolist() == [False, True, False]
    assert table.meta["aliases"] == SLOTS


def test_detectors_that_lsstcam_does_not_have(tmp_path, products):
    pytest.importorskip("skydelta.io.afw.exposure_writer")
    pytest.importorskip("skydelta.io.afw_catalogue")
    root = tmp_path / "lsst"
    data_id = {**ID, "detector": 300}
    export_exposure(root, tmp_path / "m.json", data_id, **products, bands=BANDS)
    assert Repository(root).get("deepDiff_differenceExp", **data_id).shape == (60, 60)
