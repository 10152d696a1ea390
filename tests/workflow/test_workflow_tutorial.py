"""docs/tutorial.md, block by block, over the simulated repository and its results."""

import re

import matplotlib as mpl
import numpy as np
import pytest

from skydelta import Repository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(lsst_run, root):
    """What the document's blocks leave behind."""
    text = (root / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lsst_run.folder)
        mpl.use("Agg")
        for number, block in enumerate(blocks):
            exec(compile(block, f"docs/tutorial.md, block {number}", "exec"), names)
    yield names
    names["plt"].close("all")


def test_both_ways_give_the_same(names):
    diff, other = names["diff"], names["diff_by_path"]
    assert np.array_equal(diff.image, other.image, equal_nan=True)
    assert diff.bbox == other.bbox == (0, 0, 511, 511)
    ids, positions = names["src_by_path"]["id"], names["src_by_path"]["coord_ra"]
    rows = {int(i): k for k, i in enumerate(ids)}
    index = [rows[int(i)] for i in names["src"]["diaSourceId"]]
    assert np.allclose(np.degrees(positions[index]), names["src"]["ra"], rtol=0, atol=1e-9)
    assert np.allclose(names["flux"][index], names["src"]["psfFlux"], rtol=1e-6)


def test_noise_psf_and_mask(names):
    assert names["noise"].std() == pytest.approx(1.0, abs=0.15)
    assert {"DETECTED", "SAT", "NO_DATA"} <= set(names["mask"].planes)
    assert names["detected"].any()
    assert names["psf_image"].sum() == pytest.approx(1.0, abs=0.01)
    assert names["fwhm_trace"] >= names["fwhm_determinant"] > 3.5


def test_positions(names):
    x, y = names["wcs"].all_world2pix(names["src"]["ra"], names["src"]["dec"], 0)
    assert np.allclose(x, names["src"]["x"], atol=1e-3)
    assert np.allclose(y, names["src"]["y"], atol=1e-3)
    assert names["sky_origin"] == pytest.approx([57.16, -31.24], abs=0.05)


def test_golden_numbers(names):
    convert = names["nanojansky_to_magnitude"]
    magnitude, error = convert(443148.4787702015, 1989.637060356218)
    assert float(magnitude) == 17.283626842982756
    assert float(error) == pytest.approx(0.004874711511483, rel=1e-12)
    assert (names["tract"].id, names["patch"].index) == (4639, (0, 0))


def test_magnitudes_are_the_catalogues(names):
    mag, flux = names["mag"], names["flux"]
    positive = flux > 0
    assert np.allclose(mag[positive], 31.4 - 2.5 * np.log10(flux[positive]))
    assert np.isnan(mag[~positive]).all()


def test_coadds_and_exposures(names):
    assert len(names["coadds"]) >= 4
    assert len({one["tract"] for one in names["coadds"]}) >= 2
    assert {"visit": 1013665, "detector": 79, "band": "i"} in names["exposures"]
    assert names["rows"] == [(one["visit"], one["detector"]) for one in names["exposures"]]
    assert len(names["calexps"]) == len(names["src_of_them"]) == len(names["exposures"])
    x0, y0, x1, y1 = names["coadd"].bbox
    assert 0 <= names["x"] <= x1 - x0
    assert 0 <= names["y"] <= y1 - y0
    inputs = names["inputs"].columns
    assert len(inputs["visit"]) == len(inputs["ccd"]) >= 3


def test_picture_shows_a_source(names, lsst_run):
    assert (lsst_run.folder / "source.png").stat().st_size > 3000
    status = Repository(lsst_run.results).status(visit=1013665, detector=79, band="i")
    assert len(names["src"]) == status["n_sources"]
    assert abs(names["stamp"][20, 20]) > 5
