"""One survey of a good exposure and every kind of bad one: each ends with a status of its own."""

import csv
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from skydelta.cli import main

FOLDER = 'it\'s a "survey"; 2 % of it & $HOME'
"""Shells, patterns and format strings all have their own opinion of such a name."""

GOOD = (1, 0, "i")


def remove_wcs(hdul):
    for hdu in hdul[1:4]:
        for key in [k for k in hdu.header if k[:5] in ("CTYPE", "CRVAL", "CRPIX")]:
            del hdu.header[key]


def make_spectral(hdul):
    for hdu in hdul[1:4]:
        hdu.header["CTYPE1"], hdu.header["CTYPE2"] = "WAVE", "OFFSET"
        hdu.header["CUNIT1"], hdu.header["CUNIT2"] = "m", "m"


def make_nan(hdul):
    hdul["IMAGE"].data[:] = np.nan


def change_filter(hdul):
    hdul[0].header["FILTER"] = "i"


def call_it_g(hdul):
    hdul[0].header["FILTER"] = "g"


def even_psf(hdul):
    stamp = hdul["PSFGRID"].data["stamp"][0]
    hdul[[h.name for h in hdul].index("PSFGRID")] = fits.ImageHDU(stamp[1:, 1:], name="PSF")


def negative_variance(hdul):
    hdul["VARIANCE"].data *= -1


def pure_noise(hdul):
    noise = np.random.default_rng(5).normal(size=hdul["IMAGE"].data.shape)
    hdul["IMAGE"].data[:] = noise * np.sqrt(np.nanmedian(hdul["VARIANCE"].data))


def move_away(hdul):
    for hdu in hdul[1:4]:
        hdu.header["CRVAL2"] += 5.0


CASES = {
    # visit: (band, edit of a good r exposure or fraction kept of it, status, words of the message)
    2: ("r", 0.1, "corrupt_file", ["fetch it again"]),
    3: ("r", make_nan, "bad_image", ["no finite pixel"]),
    4: ("r", None, "missing_file", ["correct the table or fetch the file"]),
    5: ("r", remove_wcs, "no_wcs", ["astrometry"]),
    6: ("r", make_spectral, "no_wcs", ["not a celestial one", "CTYPE1"]),
    7: ("r", change_filter, "band_mismatch", ["'r'", "'i'"]),
    8: ("r", even_psf, "bad_psf", ["odd"]),
    9: ("r", negative_variance, "bad_variance", ["positive"]),
    10: ("r", pure_noise, "too_few_stars", ["subtract.stars.min_snr"]),
    11: ("r", move_away, "no_overlap", ["no coadd"]),
    12: ("g", call_it_g, "band_mismatch", ["'g'", "'i'"]),
}

NAMELESS = {10, 11}
"""Their messages are about more than one file."""


@pytest.fixture(scope="module")
def survey(tiny_run, tmp_path_factory):
    """Folder of the tables E.csv and C.csv and of the images they name."""
    folder = tmp_path_factory.mktemp("bad") / FOLDER
    folder.mkdir()
    demo = tiny_run.folder / "demo"
    shutil.copy(demo / "exposures/exposure_500002_i_000.fits", folder / "good; 'i'.fits")
    exposures = [(1, 0, "i", "good; 'i'.fits")]
    for visit, (band, edit, status, _) in CASES.items():
        name = f"{visit} {status}.fits"
        exposures.append((visit, 0, band, name))
        if edit is not None:
            write_edited(demo / "exposures/exposure_500001_r_000.fits", folder / name, edit)
    write_table(folder / "E.csv", "visit,detector,band,path", exposures)
    coadd = demo / "coadds/coadd_4849_0-0_i.fits"
    os.symlink(coadd, folder / "coadd i.fits")
    os.symlink(demo / "coadds/coadd_4849_0-0_r.fits", folder / 'coadd "r".fits')
    write_edited(coadd, folder / "nan.fits", make_nan)
    write_edited(coadd, folder / "no image.fits", 0.1)
    write_edited(coadd, folder / "no variance.fits", 0.5)
    coadds = [
        (1, "0,0", "i", "nan.fits"),
        (1, "(0, 1)", "i", "coadd i.fits"),
        (1, "1,0", "i", "no image.fits"),
        (1, "2,0", "i", "no variance.fits"),
        (1, "0,0", "r", 'coadd "r".fits'),
        (1, "0,0", "g", "coadd i.fits"),
    ]
    write_table(folder / "C.csv", "tract,patch,band,path", coadds)
    return folder


def write_edited(source, path, edit):
    """A copy of a FITS file with one thing wrong."""
    if isinstance(edit, float):
        content = source.read_bytes()
        path.write_bytes(content[: int(edit * len(content))])
        return
    with fits.open(source, memmap=False) as hdul:
        edit(hdul)
        hdul.writeto(path)


def write_table(path, header, rows):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header.split(","))
        writer.writerows(rows)


@pytest.fixture(scope="module")
def run_as_user(snakemake, survey, tmp_path_factory):
    """Run the survey as README says, from the folder of the tables, results elsewhere."""
    work = tmp_path_factory.mktemp("work")

    def run(*arguments):
        tables = ("--config", "exposures=E.csv", "coadds=C.csv")
        return snakemake(*arguments, *tables, directory=work, cwd=survey)

    return run


@pytest.fixture(scope="module")
def bad_run(run_as_user):
    return run_as_user()


def test_every_exposure_has_a_status(bad_run):
    found = {key: status["status"] for key, status in bad_run.statuses().items()}
    expected = {(visit, 0, case[0]): case[2] for visit, case in CASES.items()}
    assert found == {GOOD: "ok", **expected}


@pytest.mark.parametrize("visit", sorted(CASES))
def test_message_names_the_file_and_the_cure(bad_run, survey, visit):
    band, _, status, words = CASES[visit]
    message = bad_run.statuses()[visit, 0, band]["message"]
    if visit == 12:  # the fault is the coadd's
        assert "coadd i.fits" in message
    elif visit not in NAMELESS:
        assert f"{visit} {status}.fits" in message
    for word in words:
        assert word in message
    assert "\n" not in message


def test_failed_exposures_have_every_product(bad_run):
    for visit, (band, _, status, _) in CASES.items():
        folder = bad_run.results / f"deepDiff/v{visit:08d}-f{band}"
        marker = folder / f"diffexp_{visit:08d}-{band}-det000.fits"
        assert fits.getheader(marker)["STATUS"] == status
        catalogue = pq.read_table(folder / f"diaSrc_{visit:08d}-{band}-det000.parquet")
        assert catalogue.num_rows == 0


def test_catalogue_has_the_good_exposure_only(bad_run):
    catalogue = pq.read_table(bad_run.results / "catalogue" / "diaSources.parquet")
    assert set(catalogue["visit"].to_pylist()) == {GOOD[0]}
    status = bad_run.statuses()[GOOD]
    assert catalogue.num_rows == status["n_sources"] + status["n_sky_sources"]


def test_good_exposure_is_as_in_a_run_of_its_own(bad_run, tiny_run):
    path = bad_run.results / "deepDiff/v00000001-fi/diffexp_00000001-i-det000.fits"
    alone = tiny_run.results / "deepDiff/v00500002-fi/diffexp_00500002-i-det000.fits"
    assert np.array_equal(fits.getdata(path, "IMAGE"), fits.getdata(alone, "IMAGE"))


def test_bad_coadds_are_left_out_and_said(bad_run):
    """One whose image is cut off at the start, those whose fault shows later in the notes."""
    notes = bad_run.statuses()[GOOD]["notes"]
    for status, name in (("bad_image", "nan.fits"), ("corrupt_file", "no variance.fits")):
        assert [n for n in notes if f"coadd left out ({status})" in n and f"/{name}: " in n]
    assert "coadd 1-1,0-i is left out" in bad_run.output
    assert "no image.fits" in (bad_run.folder / "logs/overlap.log").read_text()


def test_report_names_the_bad_ones(bad_run):
    page = (bad_run.results / "report.html").read_text()
    for _, _, status, _ in CASES.values():
        assert status in page


def test_reason_is_in_the_log(bad_run):
    log = (bad_run.folder / "logs/template/00000005-r-det000.log").read_text()
    assert " ERROR template " in log
    assert "no_wcs" in log
    assert "Traceback" not in log


def test_verify_finds_no_fault_with_failures(bad_run, capsys):
    assert main(["verify", str(bad_run.results)]) == 0
    assert f"{len(CASES) + 1} exposures, " in capsys.readouterr().out


def test_status_counts_the_reasons(bad_run, capsys):
    assert main(["status", "--list", str(bad_run.results)]) == 1
    printed = capsys.readouterr().out
    assert f"  failed  {len(CASES):>8}  band_mismatch 2, no_wcs 2, " in printed
    assert "too_few_stars (subtract): " in printed
    assert "1 of 12 exposures are ok, 11 failed: band_mismatch 2, no_wcs 2, " in bad_run.output


def test_summary_lists_every_exposure(bad_run):
    with (bad_run.results / "status" / "summary.csv").open(newline="") as stream:
        rows = {int(row["visit"]): row for row in csv.DictReader(stream)}
    assert {v: row["status"] for v, row in rows.items() if v != 1} == {
        visit: case[2] for visit, case in CASES.items()
    }
    assert rows[1]["status"] == "ok"
    assert int(rows[1]["n_sources"]) == bad_run.statuses()[GOOD]["n_sources"]
    assert rows[10]["message"] == bad_run.statuses()[10, 0, "r"]["message"]


@pytest.fixture
def damaged(bad_run, tmp_path):
    """A copy of the run's folder, where it was: what a test deletes comes back."""
    shutil.copytree(bad_run.folder, tmp_path / "kept", symlinks=True)
    yield bad_run.results
    shutil.rmtree(bad_run.folder)
    shutil.copytree(tmp_path / "kept", bad_run.folder, symlinks=True)


def test_failures_are_tried_again_when_asked(damaged, run_as_user, capsys):
    assert main(["retry", "--dry-run", str(damaged)]) == 0
    assert f"{len(CASES)} exposures would be tried again" in capsys.readouterr().out
    assert main(["retry", str(damaged), "--only", "too_few_stars"]) == 0
    jobs = chain(1)
    del jobs["template"]  # it was good
    assert run_as_user("-n").jobs == jobs


def test_a_repaired_file_is_done_alone(bad_run, run_as_user, survey):
    path = survey / "2 corrupt_file.fits"
    before = path.read_bytes()
    path.write_bytes((survey / "good; 'i'.fits").read_bytes())
    try:
        assert run_as_user("-n").jobs == chain(1) | {"overlap": 1}
    finally:
        path.write_bytes(before)
        os.utime(path, (0, 0))


def test_nothing_is_tried_again(bad_run, run_as_user):
    assert run_as_user("-n").jobs == {}


def test_a_clusters_job_finds_the_tables(bad_run, snakemake, survey):
    """It starts in the working directory, with the environment of the first process."""
    run = snakemake(
        *("-n", "--config", "exposures=E.csv", "coadds=C.csv"),
        directory=bad_run.folder,
        cwd=bad_run.folder,
        env={"SKYDELTA_BEGUN_IN": str(survey)}.items(),
    )
    assert run.jobs == {}


def chain(n):
    """Jobs of a run that does n exposures anew."""
    names = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
    return dict.fromkeys(names, n) | {"catalogue": 1, "summary": 1, "report": 1}


def test_a_file_that_appears_is_done_alone(bad_run, run_as_user, survey):
    path = survey / "4 missing_file.fits"
    path.symlink_to("good; 'i'.fits")
    try:
        assert run_as_user("-n").jobs == chain(1) | {"overlap": 1}
    finally:
        path.unlink()


def test_a_new_row_is_done_alone(bad_run, run_as_user, survey):
    table = survey / "E.csv"
    before = table.read_text()
    table.write_text(before + "1,7,i,good; 'i'.fits\n")
    try:
        run = run_as_user("-n")
    finally:
        table.write_text(before)
    assert run.jobs == chain(1) | {"overlap": 1}
    assert list(run.coadds()) == [(1, 7, "i")]


def test_touched_files_rerun_nothing(bad_run, run_as_user, survey):
    # Snakemake compares the content of files up to 1 MB; larger ones count as changed.
    small = [p for p in survey.iterdir() if p.stat().st_size < 1_000_000]
    assert len(small) >= 3
    for path in small:
        os.utime(path)
    assert run_as_user("-n").jobs == {}
