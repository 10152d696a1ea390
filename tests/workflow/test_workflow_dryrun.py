"""What `snakemake -n` tells without running anything: the whole graph, errors of the tables."""

import csv
import re

import pytest
import yaml

CHAIN = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
JOINT = ("overlap", "catalogue", "summary", "report")
EXAMPLES = {
    "decam_legacypipe_tc4": (1, 3),
    "decam_sfft_i": (5, 25),
    "eaba_eso085": (1, 0),
    "goto_virgo_injected": (1, 1),
}
"""Exposures, and coadds under all of them together."""


def test_shipped_configuration_shows_the_whole_graph(snakemake, tmp_path):
    run = snakemake("-n", directory=tmp_path)
    assert run.jobs == {"simulate": 1, **dict.fromkeys(CHAIN, 4), **dict.fromkeys(JOINT, 1)}
    assert "TBD" not in run.output
    edges = run.coadds()
    assert sorted(edges) == [(500001, 0, "r"), (500001, 1, "r"), (500002, 0, "i"), (500002, 1, "i")]
    for (_, _, band), coadds in edges.items():
        assert coadds
        for coadd in coadds:
            assert re.fullmatch(rf"demo/coadds/coadd_4849_\d-\d_{band}\.fits", coadd)


def test_dry_run_writes_no_product(snakemake, tiny_config, tmp_path):
    snakemake("-n", "--configfile", tiny_config, directory=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".snakemake"}


def test_every_example_is_known_here(root):
    assert {p.parent.name for p in root.glob("config/examples/*/config.yaml")} == set(EXAMPLES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples(snakemake, root, shared_data, tmp_path, name):
    run = snakemake(
        "-n",
        *("--configfile", root / "config" / "examples" / name / "config.yaml"),
        *("--config", f"data={shared_data / name}"),
        directory=tmp_path,
    )
    n_exposures, n_coadds = EXAMPLES[name]
    assert run.jobs == {**dict.fromkeys(CHAIN, n_exposures), **dict.fromkeys(JOINT, 1)}
    assert "TBD" not in run.output
    with (root / "config" / "examples" / name / "coadds.csv").open(newline="") as stream:
        known = {str(shared_data / name / row["path"]) for row in csv.DictReader(stream)}
    edges = run.coadds()
    assert len(edges) == n_exposures
    images = [path for paths in edges.values() for path in paths if path in known]
    assert len(images) == n_coadds


def test_slurm_profile(snakemake, root, tmp_path):
    if not (root / "profiles" / "slurm" / "config.yaml").exists():
        pytest.skip("profiles/slurm holds no config.yaml")
    run = snakemake("-n", "--profile", "slurm", directory=tmp_path)
    assert run.jobs["template"] == 4
    profile = yaml.safe_load((root / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"


EXPOSURES = "visit,detector,band,path\n1,0,r,a.fits\n"
COADDS = 'tract,patch,band,path\n1,"0,0",r,c.fits\n'


@pytest.mark.parametrize(
    ("exposures", "coadds", "says"),
    [
        (
            EXPOSURES.replace("band", "filter"),
            COADDS,
            ["exposures.csv, line 1: column 'band' is missing", "is it 'filter'? then rename it"],
        ),
        (
            EXPOSURES + "1,0,r,b.fits\n",
            COADDS,
            ["exposures.csv, line 3: 00000001-r-det000 is already on line 2: remove one"],
        ),
        (
            EXPOSURES,
            COADDS.replace('"', ""),
            ["coadds.csv, line 2: 5 cells where the header has 4: put quotation marks"],
        ),
        (
            EXPOSURES.replace("a.fits", "{a}.fits"),
            COADDS,
            ["{a}.fits: Snakemake takes braces for wildcards; rename"],
        ),
        (EXPOSURES, None, ["coadds: ", "coadds.csv does not exist in ", "correct it in the conf"]),
    ],
    ids=["wrong column", "duplicate row", "unquoted patch", "braces", "missing table"],
)
def test_table_errors_stop_at_once(snakemake, tmp_path, exposures, coadds, says):
    for name, text in (("exposures", exposures), ("coadds", coadds)):
        if text is not None:
            (tmp_path / f"{name}.csv").write_text(text)
    run = snakemake(
        "-n",
        *("--config", "exposures=exposures.csv", "coadds=coadds.csv"),
        directory=tmp_path / "work",
        cwd=tmp_path,
        fails=True,
    )
    for words in says:
        assert words in run.output
    assert "bad_table" in run.output
    assert "Traceback" not in run.output
    assert "Job stats" not in run.output
