"""The chain on a simulated LSST repository over three tracts: sources, truth, native twin."""

import csv

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skydelta import Repository
from skydelta.simulate.lsst_plan import FIRST_VISIT

pytestmark = pytest.mark.slow

DETECTORS = (78, 79, 80, 81)
TWINS = (79, 81)


def data_id(detector):
    return {"visit": FIRST_VISIT, "detector": detector, "band": "i"}


def catalogue(run, detector):
    return Repository(run.results).get("deepDiff_diaSrc", **data_id(detector))


def detected(table):
    """Rows that were detected, not the random positions measured alike."""
    return table[~np.asarray(table["sky_source"], bool)]


@pytest.fixture(scope="module")
def native_run(snakemake, lsst_survey, tmp_path_factory):
    """Two of the exposures from the native files."""
    folder = tmp_path_factory.mktemp("native_twin")
    with (lsst_survey.native / "exposures.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["detector"]) in TWINS]
    lines = [f"{r['visit']},{r['detector']},{r['band']},{r['path']}\n" for r in rows]
    (folder / "two.csv").write_text("visit,detector,band,path\n" + "".join(lines))
    tables = f"exposures={folder / 'two.csv'}", f"coadds={lsst_survey.native / 'coadds.csv'}"
    return snakemake("--config", *tables, f"data={lsst_survey.native}", directory=folder)


def test_every_detector_is_ok_from_several_tracts(lsst_run):
    statuses = lsst_run.statuses()
    assert set(statuses) == {(FIRST_VISIT, detector, "i") for detector in DETECTORS}
    assert {status["status"] for status in statuses.values()} == {"ok"}
    coadds = Repository(lsst_run.results)
    for detector in DETECTORS:
        tracts = {one["tract"] for one in coadds.find_coadds(**data_id(detector))}
        assert len(tracts) >= 2


def test_difference_is_noise_also_where_tracts_meet(lsst_run):
    """The pixels scatter by their variance, under one coadd as under up to six of two tracts."""
    repo = Repository(lsst_run.results)
    for detector in DETECTORS:
        difference = repo.get("deepDiff_differenceExp", **data_id(detector))
        with fits.open(repo.path("deepDiff_templateExp", **data_id(detector))) as hdul:
            coverage = hdul["COVERAGE"].data
        good = ~difference.mask.any("NO_DATA", "EDGE", "SAT", "BAD", "CR", "DETECTED")
        good &= np.isfinite(difference.variance)
        chi = difference.image / np.sqrt(difference.variance)
        assert _core(chi[good]) == pytest.approx(1.0, abs=0.02)
        for count in np.unique(coverage[good]):
            part = chi[good & (coverage == count)]
            if part.size > 5000:
                assert _core(part) == pytest.approx(1.0, abs=0.04)
                assert abs(np.median(part)) < 0.06


def _core(values):
    low, high = np.percentile(values, [15.865, 84.135])
    return 0.5 * (high - low)


def test_truth_is_found(lsst_run, lsst_survey):
    truth = Table.read(lsst_survey.truth, format="ascii.csv")
    bright = truth[(truth["snr_expected"] > 8) & (truth["masked"] == 0)]
    bright = bright[np.minimum(bright["x"], bright["y"]) > 12]
    bright = bright[np.maximum(bright["x"], bright["y"]) < 499]
    assert len(bright) > 25
    pulls, spurious = [], 0
    for detector in DETECTORS:
        found = detected(catalogue(lsst_run, detector))
        mine, everything = (t[t["detector"] == detector] for t in (bright, truth))
        near, distance = _nearest(found, mine)
        hit = distance < 2.0
        difference = found["psfFlux"][near[hit]] - mine["flux_nJy"][hit]
        pulls.extend(difference / found["psfFluxErr"][near[hit]])
        significant = found[np.abs(found["snr"]) > 5.5]
        spurious += (_nearest(everything, significant)[1] > 3.0).sum()
    assert len(pulls) >= 0.93 * len(bright)
    assert 0.6 < np.std(pulls) < 1.6
    assert abs(np.mean(pulls)) < 0.6
    assert spurious <= 3


def _nearest(among, to):
    """Index and distance (px) of the nearest row of `among` to each row of `to`."""
    distance = np.hypot(
        np.subtract.outer(np.asarray(to["x"]), np.asarray(among["x"])),
        np.subtract.outer(np.asarray(to["y"]), np.asarray(among["y"])),
    )
    return distance.argmin(axis=1), distance.min(axis=1)


def test_catalogue_is_that_of_the_native_twin(lsst_run, native_run):
    """PSFGRID is interpolated between 9 x 9 nodes; that costs a few 1e-4 of an error."""
    assert {s["status"] for s in native_run.statuses().values()} == {"ok"}
    for detector in TWINS:
        ours, theirs = catalogue(lsst_run, detector), catalogue(native_run, detector)
        assert ours["diaSourceId"].tolist() == theirs["diaSourceId"].tolist()
        assert ours.colnames == theirs.colnames
        error = ours["psfFluxErr"]
        assert np.abs((ours["psfFlux"] - theirs["psfFlux"]) / error).max() < 1e-3
        assert np.abs(ours["x"] - theirs["x"]).max() < 1e-3
        assert np.abs(ours["y"] - theirs["y"]).max() < 1e-3
        assert np.abs(ours["snr"] / theirs["snr"] - 1).max() < 3e-3
        for name in ours.colnames:
            if ours[name].dtype.kind == "b":
                assert ours[name].tolist() == theirs[name].tolist(), name
