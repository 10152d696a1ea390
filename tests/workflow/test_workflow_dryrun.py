"""What `snakemake -n` tells, without running anything: the whole graph, and errors of the tables."""

import re

import pytest
import yaml

CHAIN = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
JOINT = ("overlap", "catalogue", "report")
EXAMPLES = {
    "decam_legacypipe_tc4": (1, 3),
    "decam_sfft_i": (5, 25),
    "eaba_eso085": (1, 0),
    "goto_virgo_injected": (1, 1),
}
"""Exposures, and coadds under all of them together."""


def inputs_of(block):
    """The input line of a job's printed block, as a list."""
    line = re.search(r"^    input: (.*)$", block, re.MULTILINE)
    return line[1].split(", ") if line else []


def coadd_edges(run, folder):
    """All inputs of the template jobs that lie in a folder, by exposure."""
    ids = re.findall(r"logs/template/(\S+)\.log", run.output)
    return {i: [p for p in inputs_of(run.one_job("template", i)) if folder in p] for i in ids}


def test_shipped_configuration_shows_the_whole_graph(snakemake, tmp_path):
    run = snakemake("-n", directory=tmp_path)
    assert run.jobs == {"simulate": 1, **dict.fromkeys(CHAIN, 4), **dict.fromkeys(JOINT, 1)}
    assert "TBD" not in run.output
    edges = coadd_edges(run, "demo/coadds/")
    assert sorted(edges) == [
        "00500001-r-det000",
        "00500001-r-det001",
        "00500002-i-det000",
        "00500002-i-det001",
    ]
    for exposure, coadds in edges.items():
        band = exposure.split("-")[1]
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
    tables = root / "config" / "examples" / name
    coadds = {line.split(",")[4] for line in (tables / "coadds.csv").read_text().split()[1:]}
    edges = coadd_edges(run, f"/{name}/")
    found = [p.rsplit("/", 1)[1] for paths in edges.values() for p in paths]
    assert sum(f in coadds for f in found) == n_coadds
    assert "TBD" not in run.output


def test_slurm_profile(snakemake, root, tmp_path):
    if not (root / "profiles" / "slurm" / "config.yaml").exists():
        pytest.skip("profiles/slurm holds no config.yaml")
    run = snakemake("-n", "--profile", "slurm", directory=tmp_path)
    assert run.jobs["template"] == 4
    profile = yaml.safe_load((root / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    asked = re.search(r"resources: (.*)", run.one_job("template", "00500001-r-det000"))[1]
    assert "mem_mb=3000" in asked
    assert "runtime=15" in asked
    # The plugin has no say in a queue's name unless the profile or the user gives one.
    assert "TBD" not in asked.replace("tmpdir=<TBD>", "")


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
        (EXPOSURES, None, ["coadds: ", "coadds.csv does not exist in ", "correct it in the conf"]),
    ],
    ids=["wrong column", "duplicate row", "unquoted patch", "missing table"],
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
