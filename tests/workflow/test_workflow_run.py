"""The tiny survey from nothing to the report, and what a second start does."""

import sqlite3

import pyarrow.parquet as pq
from astropy.io import fits

STAGES = {
    "template": "template",
    "subtracted": "subtract",
    "diffexp": "decorrelate",
    "footprints": "detect",
    "sources": "measure",
}
"""Rule by prefix of its FITS product."""


def products(folder):
    """Every file under results/, by its path there."""
    return {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_every_product_has_its_name(tiny_run):
    expected = {
        "overlaps/tracts_mapping.sqlite3",
        "overlaps/overlaps.csv",
        "overlaps/exposures.csv",
        "catalogue/diaSources.parquet",
        "catalogue/diaSources.fits",
        "report.html",
        "status/summary.csv",
    }
    for visit, band in (("00500001", "r"), ("00500002", "i")):
        exposure = f"{visit}-{band}-det000"
        folder = f"deepDiff/v{visit}-f{band}"
        expected |= {f"{folder}/{prefix}_{exposure}.fits" for prefix in STAGES}
        expected |= {f"{folder}/diaSrc_{exposure}.parquet", f"status/{exposure}.json"}
    assert set(products(tiny_run.results)) == expected


def test_both_exposures_are_ok(tiny_run):
    statuses = tiny_run.statuses()
    assert set(statuses) == {(500001, 0, "r"), (500002, 0, "i")}
    for status in statuses.values():
        assert status["status"] == "ok"
        assert status["message"] == ""
        assert status["stars_used"] >= 3
        assert status["n_sources"] > 0


def test_catalogue_is_the_sum_of_its_parts(tiny_run):
    whole = pq.read_table(tiny_run.results / "catalogue" / "diaSources.parquet")
    parts = [pq.read_table(p) for p in sorted(tiny_run.results.rglob("diaSrc_*.parquet"))]
    assert whole.num_rows == sum(part.num_rows for part in parts) > 0
    assert len(set(whole["diaSourceId"].to_pylist())) == whole.num_rows
    assert [
        s["n_sources"] + s["n_sky_sources"] for _, s in sorted(tiny_run.statuses().items())
    ] == [part.num_rows for part in parts]


def test_catalogue_columns_carry_units(tiny_run):
    schema = pq.read_schema(tiny_run.results / "catalogue" / "diaSources.parquet")
    for name, unit in (("ra", "deg"), ("psfFlux", "nJy"), ("psfMag", "mag"), ("x", "pixel")):
        assert schema.field(name).metadata[b"unit"].decode() == unit


def test_overlaps_are_in_the_database(tiny_run):
    with sqlite3.connect(tiny_run.results / "overlaps" / "tracts_mapping.sqlite3") as database:
        rows = database.execute(
            "select tract, patch, visit, detector, filter from overlaps order by visit"
        ).fetchall()
    database.close()
    assert rows == [(4849, "(0, 0)", 500001, 0, "r"), (4849, "(0, 0)", 500002, 0, "i")]


def test_products_say_where_they_come_from(tiny_run):
    from skydelta import __version__

    for name, path in products(tiny_run.results).items():
        if path.parent.name == "catalogue":
            continue
        if path.suffix == ".fits":
            header = fits.getheader(path)
            history = "\n".join(header["HISTORY"])
            rule = STAGES[path.name.split("_")[0]]
        elif path.name.startswith("diaSrc_"):
            header = {k.decode(): v.decode() for k, v in pq.read_schema(path).metadata.items()}
            history, rule = header["history"], "calibrate"
        else:
            continue
        assert header["SKYDVER"] == __version__, name
        assert len(header["SKYDCODE"]) == 16, name
        assert f"{rule} inputs: " in history, name
        assert f"{rule} configuration: {{" in history, name
        assert str(tiny_run.folder) not in history, name


def test_template_names_its_coadd(tiny_run):
    path = next(tiny_run.results.rglob("template_00500001-r-det000.fits"))
    history = "".join(line[2:] for line in fits.getheader(path)["HISTORY"])
    assert "coadd_4849_0-0_r.fits" in history
    assert "exposure_500001_r_000.fits" in history


def test_report_is_one_page(tiny_run):
    page = (tiny_run.results / "report.html").read_text()
    assert "<html" in page
    assert "500001" in page
    assert "500002" in page
    assert 'src="http' not in page


def test_logs_are_clean(tiny_run):
    logs = sorted((tiny_run.folder / "logs").rglob("*.log"))
    assert len(logs) == 17
    for path in logs:
        text = path.read_text()
        assert "Traceback" not in text, path
        assert " ERROR " not in text, path
        assert "Warning" not in text, path


def test_second_run_has_nothing_to_do(snakemake, tiny_run, tiny_config):
    run = snakemake("--configfile", tiny_config, directory=tiny_run.folder)
    assert "Nothing to be done" in run.output


def test_another_folder_gives_the_same_bytes(snakemake, tiny_run, tiny_config, tmp_path):
    again = snakemake("--configfile", tiny_config, directory=tmp_path)
    mine, theirs = products(again.results), products(tiny_run.results)
    assert set(mine) == set(theirs)
    assert [n for n in mine if mine[n].read_bytes() != theirs[n].read_bytes()] == []
