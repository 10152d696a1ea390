"""The tiny survey on a real Slurm: as on one machine, whatever dies on the way."""

import csv
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

FOLDER = 'a "survey"; touch $(id) `id` & $HOME'
"""Names of files come from tables, and must never become part of a command."""

CATALOGUE = "results/catalogue/diaSources.parquet"
FIRST, SECOND, BROKEN = (500001, 0, "r"), (500002, 0, "i"), (500003, 0, "r")


EXPOSURES = "visit,detector,band,path\n1,0,r,it's $(id).fits\n"
COADDS = 'tract,patch,band,path\n1,"0,0",r,c.fits\n'


def products(run, pattern="*"):
    """Bytes of every file under results/, by its path there; hidden files, too."""
    paths = [path for path in run.results.rglob(pattern) if path.is_file()]
    return {str(path.relative_to(run.results)): path.read_bytes() for path in paths}


SUMMARY = "status/summary.csv"
"""Of all exposures of a run, which another run may have more of."""


def assert_same_exposures(run, reference):
    """All products of the tiny survey's two exposures are there, and to the bit."""
    mine, theirs = products(run), products(reference)
    expected = {n for n in theirs if n.startswith(("deepDiff/", "status/")) and n != SUMMARY}
    assert expected
    assert [name for name in sorted(expected) if mine.get(name) != theirs[name]] == []
    assert [name for name in mine if name.endswith(".part")] == []


@pytest.fixture(scope="module")
def survey(tiny_run, config_file, tmp_path_factory):
    """Options for the tiny survey's images under names that no shell likes, and a broken one."""
    folder = tmp_path_factory.mktemp("survey") / FOLDER
    shutil.copytree(tiny_run.folder / "demo", folder)
    good = folder / "exposures/exposure_500001_r_000.fits"
    (folder / "exposures" / "broken; r.fits").write_bytes(good.read_bytes()[:3000])
    with (folder / "exposures.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0][:4] == ["visit", "detector", "band", "path"]
    filler = [""] * (len(rows[0]) - 4)
    rows.append(["500003", "0", "r", "exposures/broken; r.fits", *filler])
    with (folder / "all.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)

    def options(table):
        tables = {"exposures": f"{folder / table}.csv", "coadds": f"{folder / 'coadds.csv'}"}
        return "--configfile", config_file(tables)

    return options


def job_of(head, cluster, visit):
    """Id and node of the running job of an exposure."""
    logs = head.directory / ".snakemake" / "slurm_logs"
    for number, _, node, _, _ in cluster.jobs("--states=RUNNING"):
        texts = [path.read_text() for path in logs.rglob(f"{number}.log")]
        if any(f"visit={visit:08d}" in text for text in texts):
            return number, node
    return pytest.fail(f"no job of {visit}: {cluster.jobs()}\n{head.output}")


@pytest.fixture(scope="module", autouse=True)
def meagre(start, tmp_path_factory):
    """A run whose jobs get too little at first; it takes minutes, beside those of the tests."""
    folder = tmp_path_factory.mktemp("meagre")
    snakefile = folder / "Snakefile"
    snakefile.write_text(MEAGRE)
    options = ("--snakefile", snakefile, "--default-resources", "slurm_partition=safe")
    return start(*options, directory=folder / "work")


MEAGRE = """
rule all:
    input: "memory.txt", "time.txt"

rule memory:
    output: "memory.txt"
    log: "memory.log"
    resources: mem_mb=lambda wildcards, attempt: 500 * attempt, runtime=5
    params: code="import time; held = b'x' * 600_000_000; time.sleep(6)"
    shell: "echo {resources.mem_mb} > part; python3 -c {params.code:q} && mv part {output}"

rule time:
    output: "time.txt"
    log: "time.log"
    resources: mem_mb=500, runtime=lambda wildcards, attempt: attempt
    shell: "echo {resources.runtime} > {output}; sleep $((120 / ({resources.runtime} ** 3)))"
"""


@pytest.fixture(scope="module")
def whole_run(start, tiny_config, tmp_path_factory):
    """The tiny survey from the simulation to the report."""
    directory = tmp_path_factory.mktemp("whole") / "work"
    return start("--configfile", tiny_config, directory=directory).wait()


def test_every_product_is_that_of_the_local_run(whole_run, tiny_run):
    mine, theirs = products(whole_run), products(tiny_run)
    assert set(mine) == set(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_an_exposure_is_one_slurm_job(whole_run):
    submitted = whole_run.output.count("has been submitted with SLURM jobid")
    assert submitted == len(["simulate", "overlap", "summary", "catalogue", "report"]) + 2


def test_second_run_submits_nothing(start, whole_run, tiny_config):
    run = start("--configfile", tiny_config, directory=whole_run.folder).wait()
    assert "Nothing to be done" in run.output


@pytest.fixture(scope="module")
def accidents(start, cluster, survey, tmp_path_factory):
    """Three exposures: one's job is cancelled, one's node dies, one's file is broken.

    The finished run, and the ids of the two jobs.
    """
    directory = tmp_path_factory.mktemp("accidents") / "work"
    head = start(CATALOGUE, *survey("all"), directory=directory)
    head.wait_for("results/deepDiff/v00500001-fr/template_*")
    cancelled = job_of(head, cluster, 500001)[0]
    cluster.command("scancel", cancelled)
    head.wait_for("results/deepDiff/v00500002-fi/template_*")
    lost, node = job_of(head, cluster, 500002)
    cluster.kill_node(node)
    try:
        return head.wait(), (cancelled, lost)
    finally:
        cluster.start_node(node)


def test_accidents_are_noticed(accidents, cluster):
    run, jobs = accidents
    states = [cluster.jobs("--states=all", f"--jobs={number}")[0][1] for number in jobs]
    assert states == ["CANCELLED", "NODE_FAIL"]
    for number in jobs:
        assert f"/{number}.log (check log file(s) for error details)" in run.output
    assert run.output.count("Trying to restart job") == len(jobs)


def test_accidents_cost_no_exposure(accidents, tiny_run):
    """The broken file ends its own exposure only; the jobs that died are done again."""
    run, _ = accidents
    found = {key: status["status"] for key, status in run.statuses().items()}
    assert found == {FIRST: "ok", SECOND: "ok", BROKEN: "corrupt_file"}
    assert_same_exposures(run, tiny_run)


def test_names_that_a_shell_would_change_are_refused(start, tmp_path):
    """Snakemake would write this one into double quotes."""
    (tmp_path / "E.csv").write_text(EXPOSURES)
    (tmp_path / "C.csv").write_text(COADDS)
    tables = (f"exposures={tmp_path / 'E.csv'}", f"coadds={tmp_path / 'C.csv'}")
    run = start("--config", *tables, directory=tmp_path / "work").wait(fails=True)
    assert "bad_name: the shell of a cluster's jobs would not take" in run.output
    assert "it's $(id).fits literally: rename the file" in run.output
    assert "has been submitted" not in run.output


def test_nothing_is_left_to_do_after_accidents(start, accidents, survey):
    again = start(CATALOGUE, *survey("all"), directory=accidents[0].folder).wait()
    assert "Nothing to be done" in again.output


def test_dead_head(start, cluster, house, survey, tiny_run, tmp_path):
    """Its jobs go on; a new start is refused until they end, and does nothing again."""
    options, directory = (CATALOGUE, *survey("exposures")), tmp_path / "work"
    head = start(*options, directory=directory)
    head.wait_for("results/deepDiff/v00500001-fr/template_*")
    head.kill()
    locked = start(*options, directory=directory).wait(fails=True)
    assert "--unlock" in locked.output
    start(*options, "--unlock", directory=directory).wait()
    number = job_of(head, cluster, 500001)[0]
    refused = start(*options, directory=directory).wait(fails=True)
    assert "still_running: 2 Slurm jobs of an earlier run still work in" in refused.output
    assert f"  {number} RUNNING " in refused.output
    assert "skydelta slurm-jobs --wait" in refused.output
    assert "Traceback" not in refused.output
    assert "has been submitted" not in refused.output

    command = [sys.executable, "-m", "skydelta.cli", "slurm-jobs", "--wait", str(directory)]
    env = os.environ | cluster.env | {"PYTHONPATH": str(house / "src")}
    subprocess.run(command, env=env, check=True, timeout=200)
    run = start(*options, directory=directory).wait()
    assert run.jobs == {"summary": 1, "catalogue": 1}
    assert {status["status"] for status in run.statuses().values()} == {"ok"}
    assert_same_exposures(run, tiny_run)


def test_retries_get_more(meagre):
    """Too little memory, too little time: the second attempt asks Slurm for more."""
    run = meagre.wait()
    assert "SLURM status is: 'TIMEOUT'" in run.output
    assert "Trying to restart job" in run.output
    assert (run.folder / "memory.txt").read_text() == "1000\n"
    assert (run.folder / "time.txt").read_text() == "2\n"
