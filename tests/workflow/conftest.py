"""A tiny survey, and Snakemake run as a user runs it: as a command, in a folder of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

TINY = {
    "simulate": {
        "outdir": "demo",
        "seed": 3,
        "n_visits": 1,
        "detectors": [0],
        "bands": ["r", "i"],
        "shape": [384, 384],
    }
}
"""Two exposures of one coadd each: the demo of the shipped configuration, made small."""


@dataclass(frozen=True)
class Run:
    """What a command printed and where it worked."""

    code: int
    output: str
    folder: Path

    @property
    def jobs(self):
        """Number of jobs by rule, from the "Job stats" table; without `all` and `total`."""
        if "Nothing to be done" in self.output:
            return {}
        table = self.output.split("Job stats:", 1)[1].split("\n\n", 1)[0]
        counts = dict(re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE))
        return {rule: int(n) for rule, n in counts.items() if rule not in ("all", "total")}

    @property
    def results(self):
        return self.folder / "results"

    def statuses(self):
        """The status files by (visit, detector, band)."""
        found = [json.loads(p.read_text()) for p in (self.results / "status").glob("*.json")]
        return {(s["visit"], s["detector"], s["band"]): s for s in found}

    def coadds(self):
        """Coadds of each template job as printed, by (visit, detector, band)."""
        line = r"Template for visit (\d+) detector (\d+) band (\S+) from *(.*)"
        found = re.findall(line, self.output)
        return {(int(v), int(d), b): paths.split() for v, d, b, paths in found}


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """A copy of the project that runs use: an edit made meanwhile is no change of theirs."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("config", "workflow", "profiles", "src"):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("Snakefile", "environment.yml", "slurm"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="session")
def snakemake(house):
    """Run ``snakemake ARGUMENTS`` of the project; rc 0 is asserted unless `fails`."""

    def run(*arguments, directory, cwd=house, fails=False, env=()):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(house / "Snakefile")]
        command += ["--directory", str(directory), "--cores", "2", "--nocolor"]
        surroundings = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
        surroundings |= {"PYTHONPATH": str(house / "src"), **dict(env)}
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=cwd,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return Run(done.returncode, done.stdout, Path(directory))

    return run


@pytest.fixture
def planned(house, monkeypatch):
    """The jobs that ``snakemake -n`` would list, by rule; asked in this process, which is quicker.

    Arguments: the working directory; configuration files; `config`, as after ``--config``;
    `package`, another copy of skydelta whose modules' content counts; `details`, to be given each
    job as (rule, wildcards) instead of their numbers.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    from skydelta import fingerprint

    def plan(directory, *configfiles, config=None, package=None, details=False):
        monkeypatch.setenv("SKYDELTA_BEGUN_IN", str(house))
        monkeypatch.setattr(fingerprint, "_ROOT", package or house / "src" / "skydelta")
        settings = OutputSettings(dryrun=True, quiet={Quietness.ALL}, keep_logger=False)
        with SnakemakeApi(settings) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=1),
                config_settings=ConfigSettings(configfiles=configfiles, config=config or {}),
                snakefile=house / "Snakefile",
                workdir=Path(directory),
            )
            workflow.dag(DAGSettings()).execute_workflow(executor="dryrun")
            jobs = [
                (job.rule.name, dict(job.wildcards_dict))
                for job in workflow._workflow.dag.needrun_jobs(exclude_finished=False)
                if job.rule.name != "all"
            ]
        return jobs if details else dict(Counter(rule for rule, _ in jobs))

    return plan


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """Write choices to a configuration file: `--config` makes strings of nested numbers."""

    def write(choices):
        path = tmp_path_factory.mktemp("config") / "mine.yaml"
        path.write_text(yaml.safe_dump(choices))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_config(config_file):
    """A configuration file that makes the demo tiny."""
    return config_file(TINY)


@pytest.fixture(scope="session")
def tiny_run(snakemake, tiny_config, tmp_path_factory):
    """The tiny survey, run from the simulation to the report."""
    folder = tmp_path_factory.mktemp("tiny")
    return snakemake("--configfile", tiny_config, directory=folder)


@pytest.fixture(scope="session")
def lsst_run(snakemake, lsst_survey, tmp_path_factory):
    """The simulated LSST repository, run from its root alone as docs/tutorial.md does it."""
    folder = tmp_path_factory.mktemp("lsst_run")
    (folder / "sim").symlink_to(lsst_survey.root)
    text = (ROOT / "docs" / "tutorial.md").read_text()
    (choices,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (folder / "sim.yaml").write_text(choices)
    return snakemake("--configfile", folder / "sim.yaml", directory=folder)


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    """A copy of the tiny run's folder, dates included, to damage."""
    return Path(shutil.copytree(tiny_run.folder, tmp_path / "copy", symlinks=True))
