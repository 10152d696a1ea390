"""Detector numbers and names; path templates of gen2."""

import gzip
import sqlite3

import pytest

from skydelta.lsst.camera import N_DETECTORS, detector_number, detector_of_name, raft_and_sensor
from skydelta.lsst.gen2 import DATASETS


def test_the_tutorials_detector():
    assert raft_and_sensor(79) == ("R20", "S21")
    assert detector_number("R20", "S21") == 79


def test_both_ways():
    names = [raft_and_sensor(n) for n in range(N_DETECTORS)]
    assert len(set(names)) == N_DETECTORS == 189
    assert [detector_number(*name) for name in names] == list(range(189))
    assert names[0] == ("R01", "S00")
    assert names[-1] == ("R43", "S22")
    assert detector_of_name("R43_S22 ") == 188
    assert detector_of_name("R00_SW0") is None
    assert detector_of_name("R00_S00") is None
    assert detector_of_name("1_53") is None


@pytest.mark.parametrize("name", [("R00", "S00"), ("R20", "S33"), ("R20", "SG0"), ("R20", "S2")])
def test_other_detectors(name):
    with pytest.raises(ValueError, match="no science detector"):
        detector_number(*name)
    with pytest.raises(ValueError, match="0 to 188; there is no 189"):
        raft_and_sensor(189)


def test_numbers_are_those_of_a_real_registry(shared_data, tmp_path):
    packed = shared_data / "lsst_metadata" / "ap_verify_ci_dc2_gen3.sqlite3.gz"
    if not packed.is_file():
        pytest.skip("no registry")
    path = tmp_path / "gen3.sqlite3"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    with sqlite3.connect(path) as registry:
        rows = registry.execute("SELECT id, raft, name_in_raft FROM detector").fetchall()
    registry.close()
    science = [(n, raft, sensor) for n, raft, sensor in rows if n < N_DETECTORS]
    assert len(science) == N_DETECTORS
    assert all(raft_and_sensor(n) == (raft, sensor) for n, raft, sensor in science)


ID = {"visit": 1013665, "detector": 79, "band": "i"}
PATCH = {"tract": 4639, "patch": (0, 0), "band": "i"}
CCD = "01013665-i-R20-S21-det079.fits"


@pytest.mark.parametrize(
    ("dataset", "data_id", "path"),
    [
        ("calexp", ID, f"calexp/01013665-i/R20/calexp_{CCD}"),
        ("calexpBackground", ID, f"calexp/01013665-i/R20/bkgd_{CCD}"),
        ("src", ID, f"src/01013665-i/R20/src_{CCD}"),
        ("deepCoadd", PATCH, "deepCoadd/i/4639/0,0.fits"),
        ("deepCoadd_calexp", PATCH, "deepCoadd-results/i/4639/0,0/calexp-i-4639-0,0.fits"),
        ("deepCoadd_meas", PATCH, "deepCoadd-results/i/4639/0,0/meas-i-4639-0,0.fits"),
        ("deepCoadd_forced_src", PATCH, "deepCoadd-results/i/4639/0,0/forced_src-i-4639-0,0.fits"),
        ("deepCoadd_det", PATCH, "deepCoadd-results/i/4639/0,0/det-i-4639-0,0.fits"),
        (
            "deepCoadd_directWarp",
            {**PATCH, "visit": 1013665},
            "deepCoadd/i/4639/0,0/warp-i-4639-0,0-1013665.fits",
        ),
        ("deepCoadd_skyMap", {}, "deepCoadd/skyMap.pickle"),
        ("deepDiff_differenceExp", ID, f"deepDiff/v01013665-fi/R20/diffexp_{CCD}"),
        ("deepDiff_matchedExp", ID, f"deepDiff/v01013665-fi/R20/matchexp_{CCD}"),
        ("deepDiff_diaSrc", ID, f"deepDiff/v01013665-fi/R20/diaSrc_{CCD}"),
        ("deepDiff_kernelSrc", ID, f"deepDiff/v01013665-fi/R20/kernelSrc_{CCD}"),
        ("deepDiff_forced_diaSrc", ID, f"deepDiff/v01013665-fi/R20/diaForced_{CCD}"),
        (
            "deepDiff_diaObject",
            {"tract": 4639, "patch": (0, 0)},
            "deepDiff/diaObject/4639/0,0/diaObject-4639-0,0.fits",
        ),
    ],
)
def test_paths(dataset, data_id, path):
    """Templates of the stack's policies, the tutorial's own file among them."""
    assert str(DATASETS[dataset].path(data_id)) == path
    assert DATASETS[dataset].parse(f"somewhere/rerun/{path}") == data_id


def test_names_that_do_not_fit():
    calexp = DATASETS["calexp"]
    assert calexp.parse(f"calexp/01013665-r/R20/calexp_{CCD}") is None
    assert calexp.parse(f"src/01013665-i/R20/calexp_{CCD}") is None
    assert calexp.parse(CCD) is None
    long_visit = "calexp/0000001013665-i/R20/calexp_0000001013665-i-R20-S21-det079.fits"
    assert calexp.parse(long_visit) == ID
    assert set(calexp.keys) == set(ID)
