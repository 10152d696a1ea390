"""The chain on afw files and on native ones whose PSFs are the same functions of position."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from skydelta import Repository
from skydelta.io.reader import read_exposure
from skydelta.simulate.lsst import simulate_lsst_survey

pytestmark = pytest.mark.slow

FLOAT = 1e-4
"""In units of each measurement's own error: float32 pixels and stamps, and the stack's table of
10,000 phases between pixels, leave a few 1e-5."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """One exposure in the middle of a tract: PSFs linear in the position, two nodes hold them."""
    folder = tmp_path_factory.mktemp("exact")
    return simulate_lsst_survey(
        folder / "lsst",
        native=folder / "native",
        native_psf_nodes=2,
        detectors=(94,),
        shape=(512, 512),
        centre=(56.3033, -30.4959),
        star_density=45,
        event_density=8,
        psf_degree=1,
        psf_pixstep=1.0,
        aligned_inputs=True,
    )


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def chains(survey, chain_of):
    """What every stage makes of the one and of the other, read back from their files."""
    repo, native = Repository(survey.root), survey.native
    (row,) = rows_of(native / "exposures.csv")
    coadds = rows_of(native / "coadds.csv")
    assert {int(one["tract"]) for one in coadds} == {4639}
    keys = ("tract", "patch", "band")
    read = {
        "lsst": (
            repo.get("calexp", **{k: row[k] for k in ("visit", "detector", "band")}),
            [repo.get("deepCoadd", **{k: one[k] for k in keys}) for one in coadds],
        ),
        "native": (
            read_exposure(native / row["path"]),
            [read_exposure(native / one["path"]) for one in coadds],
        ),
    }
    return {
        name: chain_of(SimpleNamespace(science=science, coadds=[(0, 0, c) for c in images]))
        for name, (science, images) in read.items()
    }


def test_templates_are_equal(chains):
    one, other = (chains[name].template.exposure for name in ("lsst", "native"))
    difference = np.abs(one.image - other.image) / np.sqrt(one.variance)
    # Native headers give the WCS with twelve digits, ours of afw files with all: a pixel in
    # 10,000 takes the next phase of the resampling kernel's table.
    assert np.count_nonzero(difference) < 1e-3 * difference.size
    assert difference.max() < 0.02
    x, y = np.array([3.0, 200.0, 380.0]), np.array([370.0, 180.0, 9.0])
    a, b = one.psf.stamps(x, y), other.psf.stamps(x, y)
    assert np.abs(a - b).max() < FLOAT * a.max()


def test_detections_and_measurements_are_equal(chains):
    one, other = (chains[name].columns for name in ("lsst", "native"))
    assert len(one["base_PsfFlux_instFlux"]) == len(other["base_PsfFlux_instFlux"]) >= 4
    pairs = {
        "base_PsfFlux_instFlux": "base_PsfFlux_instFluxErr",
        "base_NaiveCentroid_x": "base_NaiveCentroid_xErr",
        "base_NaiveCentroid_y": "base_NaiveCentroid_yErr",
    }
    for value, error in pairs.items():
        assert np.abs((one[value] - other[value]) / one[error]).max() < FLOAT, value
