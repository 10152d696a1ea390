"""The workflow on LSST repositories: no tables, the same results."""

import csv
import re
import shutil

import pytest

from skydelta import Repository
from skydelta.lsst.gen2 import DATASETS
from skydelta.tables import parse_patch

CHAIN = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
JOINT = ("overlap", "catalogue", "report")


@pytest.fixture(scope="module")
def roots(tiny_run, tmp_path_factory):
    """The tiny survey's images in a repository of exposures and one of coadds."""
    demo = tiny_run.folder / "demo"
    roots = {}
    for table, dataset in (("exposures", "calexp"), ("coadds", "deepCoadd")):
        roots[dataset] = tmp_path_factory.mktemp(dataset)
        with (demo / f"{table}.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                numbers = {k: int(row[k]) for k in ("visit", "detector", "tract") if k in row}
                patch = {"patch": parse_patch(row["patch"])} if "patch" in row else {}
                name = DATASETS[dataset].path({**numbers, **patch, "band": row["band"]})
                path = roots[dataset] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(demo / row["path"], path)
    return roots


@pytest.fixture(scope="module")
def repository_run(snakemake, roots, tmp_path_factory):
    """One visit, chosen on the command line, from a parent repository's coadds."""
    folder = tmp_path_factory.mktemp("from_repository")
    select = "select: {visit: 500002, detector: 0^1, band: i}"
    choice = f"repository={{calexp: {roots['calexp']}, coadd: {roots['deepCoadd']}, {select}}}"
    return snakemake("--config", choice, directory=folder), choice


def test_the_chain_runs_from_the_command_line(repository_run, tiny_run):
    run, _ = repository_run
    # Detector 1 is named, though its file is not there: it ends with a status.
    assert run.jobs == {**dict.fromkeys(CHAIN, 2), **dict.fromkeys(JOINT, 1)}
    statuses = run.statuses()
    assert statuses[500002, 0, "i"]["status"] == "ok"
    assert statuses[500002, 1, "i"]["status"] == "missing_file"
    assert statuses[500002, 0, "i"] == tiny_run.statuses()[500002, 0, "i"]


def test_catalogue_is_that_of_the_tables(repository_run, tiny_run):
    names = {"visit": 500002, "detector": 0, "band": "i"}
    found, expected = (
        Repository(run.results).get("deepDiff_diaSrc", **names)
        for run in (repository_run[0], tiny_run)
    )
    assert len(found) > 0
    assert found.colnames == expected.colnames
    for name in found.colnames:
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), nan_ok=True), name


def test_second_run_has_nothing_to_do(repository_run, snakemake):
    run, choice = repository_run
    assert "Nothing to be done" in snakemake("--config", choice, directory=run.folder).output


def test_dry_run_shows_the_files_of_the_repository(snakemake, roots, config_file, tmp_path):
    section = {"calexp": str(roots["calexp"]), "coadd": str(roots["deepCoadd"])}
    run = snakemake("-n", "--configfile", config_file({"repository": section}), directory=tmp_path)
    edges = run.coadds()
    assert sorted(edges) == [(500001, 0, "r"), (500002, 0, "i")]
    for (_, _, band), paths in edges.items():
        assert paths
        assert all(re.search(rf"/deepCoadd/{band}/\d+/\d,\d\.fits,?$", path) for path in paths)


def test_export_is_an_option(snakemake, roots, config_file, tmp_path):
    choices = {"repository": {"calexp": str(roots["calexp"])}, "output": {"lsst": True}}
    choices["repository"]["coadd"] = str(roots["deepCoadd"])
    run = snakemake("-n", "--configfile", config_file(choices), directory=tmp_path)
    assert run.jobs["export"] == 2
    assert run.jobs["export_root"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("select: {visit: 7}", "no exposure (calexp) of visit 7 in"),
        ("select: {visit: 5..1}", "visit '5..1' cannot be understood"),
        ("select: {raft: R20}", "'raft' was unexpected"),
        ("coadd: gone", "repository.coadd: gone does not exist"),
    ],
)
def test_mistakes_stop_before_the_graph(snakemake, roots, tmp_path, change, says):
    choice = f"repository={{calexp: {roots['calexp']}, {change}}}"
    run = snakemake("-n", "--config", choice, directory=tmp_path, fails=True)
    assert says in run.output
    assert "Traceback" not in run.output
