"""`skydelta verify` and `skydelta retry` on small trees, each with one thing wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from skydelta.cli import main
from skydelta.errors import MissingFileError, TooFewStarsError
from skydelta.io.fits_writer import write_hdus
from skydelta.io.outcome import write_failure, write_status
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.upkeep.summary import write_summary
from skydelta.upkeep.tree import PRODUCTS, STAGES, ExposureFiles
from skydelta.upkeep.verify import verify

ROWS = {(7, 0, "r"): 3, (7, 1, "r"): 0, (8, 0, "i"): 4, (9, 0, "i"): None}
"""Sources of each exposure; None for one that failed at the subtraction."""


def table(columns, name):
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column(key, "E", array=np.asarray(values)) for key, values in columns.items()]
    )
    hdu.name = name
    return hdu


def write_sources(path, keys):
    columns = {k: [key[n] for key in keys] for n, k in enumerate(("visit", "detector", "band"))}
    types = {"visit": pa.int64(), "detector": pa.int64(), "band": pa.string()}
    flux = pa.array(np.linspace(0, 1, len(keys)))
    arrays = {name: pa.array(columns[name], types[name]) for name in types} | {"flux": flux}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path, write_page_checksum=True, compression="none")


def write_exposure_files(exposure, rows):
    key = exposure.visit, exposure.detector, exposure.band
    status = dict(zip(("visit", "detector", "band"), key, strict=True))
    image = fits.ImageHDU(np.arange(600, dtype=">f4").reshape(20, 30), name="IMAGE")
    for stage, prefix in PRODUCTS.items():
        path = exposure.product(stage)
        if rows is None and stage != "template":
            write_failure(path, TooFewStarsError("3 stars, need 5"), "subtract")
        elif prefix in ("footprints", "sources"):
            write_hdus(path, [fits.PrimaryHDU(), table({"x": np.arange(rows)}, "SOURCES")])
        else:
            write_hdus(path, [fits.PrimaryHDU(), image.copy()])
    if rows is None:
        status |= {"status": "too_few_stars", "stage": "subtract", "message": "3 stars, need 5"}
    else:
        status |= {"status": "ok", "message": "", "n_sources": rows, "n_sky_sources": 0}
    write_sources(exposure.catalogue, [key] * (rows or 0))
    write_status(exposure.status, status)


@pytest.fixture
def results(tmp_path):
    """Results as the workflow leaves them: three exposures that are ok and one that failed."""
    results = tmp_path / "results"
    exposures = [ExposureFiles(*key, results) for key in ROWS]
    for exposure, rows in zip(exposures, ROWS.values(), strict=True):
        write_exposure_files(exposure, rows)
    keys = [key for key, rows in ROWS.items() for _ in range(rows or 0)]
    write_sources(results / "catalogue" / "diaSources.parquet", keys)
    write_tracts_mapping(results / "overlaps" / "tracts_mapping.sqlite3", [])
    lines = ["visit,detector,band,status"] + ["{},{},{},ok".format(*key) for key in ROWS]
    (results / "overlaps" / "exposures.csv").write_text("\n".join(lines) + "\n")
    write_summary(results / "status" / "summary.csv", [e.status for e in exposures])
    return results


def exposure(results, visit=7, detector=0, band="r"):
    return ExposureFiles(visit, detector, band, results)


def test_a_good_tree(results, capsys):
    verdict = verify(results)
    assert verdict.problems == []
    assert verdict.exposures == 4
    assert verdict.files == sum(path.is_file() for path in results.rglob("*"))
    assert main(["verify", str(results)]) == 0
    assert ": 0 problems" in capsys.readouterr().out


def test_no_results(tmp_path):
    with pytest.raises(MissingFileError, match="name the folder results"):
        verify(tmp_path)
    assert main(["verify", str(tmp_path)]) == 1


def flip(path, place=0.6):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def edit_status(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    # what: (edit, stage whose products go, words)
    "flipped bit": (lambda e: flip(e.product("decorrelate")), "decorrelate", "SUM is wrong"),
    "cut image": (lambda e: cut(e.product("template")), "template", "lacks 100 bytes"),
    "lost product": (lambda e: e.product("detect").unlink(), "detect", "it is missing"),
    "lost status": (lambda e: e.status.unlink(), "calibrate", "the exposure is not done"),
    "half a status": (lambda e: cut_text(e.status), "calibrate", "it is not JSON"),
    "another's status": (lambda e: edit_status(e.status, detector=5), "calibrate", "no status of"),
    "cut catalogue": (lambda e: cut(e.catalogue), "calibrate", "it cannot be read"),
    "flipped catalogue": (lambda e: flip(e.catalogue, 0.02), "calibrate", "it cannot be read"),
    "other count": (lambda e: edit_status(e.status, n_sources=9), "calibrate", "the status says 9"),
    "too few measured": (
        lambda e: write_hdus(
            e.product("measure"), [fits.PrimaryHDU(), table({"x": np.arange(2)}, "SOURCES")]
        ),
        "measure",
        "2 sources, 3 were detected",
    ),
    "a marker in a good chain": (
        lambda e: write_failure(e.product("subtract"), TooFewStarsError("few"), "subtract"),
        "subtract",
        "it says too_few_stars, the status says ok",
    ),
}


def cut_text(path):
    path.write_text(path.read_text()[:20])


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_deleted_with_what_depends_on_it(results, damage, capsys):
    edit, stage, words = DAMAGES[damage]
    files = exposure(results)
    before = {path for path in results.rglob("*") if path.is_file()}
    edit(files)
    assert any(words in problem.what for problem in verify(results).problems), damage
    assert main(["verify", str(results)]) == 1
    assert "verify --delete" in capsys.readouterr().out
    assert main(["verify", "--delete", str(results)]) == 0
    gone = before - {path for path in results.rglob("*") if path.is_file()}
    later = STAGES[STAGES.index(stage) :]
    expected = {path for each in later for path in files.made_by(each)} & before
    catalogue = results / "catalogue" / "diaSources.parquet"
    assert gone - {catalogue} == expected
    assert files.status in gone


def test_an_exposure_that_is_not_done_is_one_problem(results):
    files = exposure(results, 7, 1)
    for path in files.from_stage("decorrelate"):
        path.unlink()
    (problem,) = verify(results).problems
    assert problem.path == files.status
    assert "not done" in problem.what


@pytest.mark.parametrize(
    "name",
    ["status/summary.csv", "overlaps/tracts_mapping.sqlite3", "catalogue/diaSources.parquet"],
)
def test_files_of_the_survey(results, name):
    path = results / name
    path.write_bytes(path.read_bytes()[:-30])
    (problem,) = verify(results).problems
    assert problem.path == path
    assert problem.doomed() == [path]
    path.unlink()
    (problem,) = verify(results).problems
    assert problem.what == "it is missing"


def test_catalogue_of_the_survey_is_compared_by_exposure(results):
    """As many rows as there should be, but one of them of another exposure."""
    keys = [(7, 0, "r")] * 2 + [(8, 0, "i")] * 5
    write_sources(results / "catalogue" / "diaSources.parquet", keys)
    (problem,) = verify(results, data=False).problems
    assert "2 sources of 00000007-r-det000, whose own catalogue has 3" in problem.what


def test_quick_reads_no_pixels(results):
    flip(exposure(results).product("decorrelate"))
    assert verify(results, data=False).is_good
    assert not verify(results).is_good


def test_leftovers_are_listed_and_deleted(results):
    files = exposure(results)
    leftover = files.status.with_name(f".{files.status.name}.4711.part")
    leftover.write_text("{")
    (problem,) = verify(results).problems
    assert problem.path == leftover
    assert "a killed job left it" in problem.what
    assert main(["verify", "--delete", str(results)]) == 0
    assert not leftover.exists()
    assert files.status.exists()


@pytest.mark.parametrize("command", ["retry", "verify --delete"])
def test_nothing_is_deleted_under_a_run(results, command, capsys):
    locks = results.parent / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/x\n")
    flip(exposure(results).product("decorrelate"))
    before = sorted(results.rglob("*"))
    assert main([*command.split(), str(results)]) == 1
    assert "snakemake --unlock" in capsys.readouterr().err
    assert sorted(results.rglob("*")) == before


def test_retry_deletes_from_the_stage_that_failed(results):
    failed = exposure(results, 9, 0, "i")
    before = {path for path in results.rglob("*") if path.is_file()}
    assert main(["retry", str(results), "--only", "no_wcs"]) == 0
    assert main(["retry", str(results), "--dry-run"]) == 0
    assert {path for path in results.rglob("*") if path.is_file()} == before
    assert main(["retry", str(results)]) == 0
    gone = before - {path for path in results.rglob("*") if path.is_file()}
    assert gone == {p for s in STAGES[1:] for p in failed.made_by(s)} & before
    assert failed.product("template").exists()


def test_products_without_sums_are_counted(results):
    path = exposure(results).product("template")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)))]).writeto(path, overwrite=True)
    verdict = verify(results)
    assert verdict.is_good
    assert verdict.without_sums == 1
