"""Configuration, tables, and the functions that name the inputs of a job."""

import os
from hashlib import sha256
from pathlib import Path

from snakemake.utils import validate

from skydelta.errors import SkydeltaError
from skydelta.fingerprint import fingerprint
from skydelta.source_ids import check_ids
from skydelta.survey import demo_table, load_survey, located

validate(config, "../schemas/config.schema.yaml")


wildcard_constraints:
    visit=r"\d{8}\d*",
    detector=r"\d{3}\d*",
    band=r"[A-Za-z0-9_+-]+",


def survey_or_exit():
    """Paths and survey of the configuration; a table's error ends the start with its message."""
    # Relative to the working directory, to where the command was given, or to the Snakefile. A
    # cluster's jobs parse this again elsewhere: the environment tells them where it all began.
    begun_in = os.environ.setdefault("SKYDELTA_BEGUN_IN", workflow.rundir)
    folders = [Path.cwd(), begun_in, workflow.basedir]
    try:
        paths = located(config, folders)
        survey = load_survey(paths)
        check_ids(survey.exposures, config["calibrate"]["bands"])
        return paths, survey
    except SkydeltaError as error:
        raise WorkflowError(f"{error.status}: {error}") from None


PATHS, SURVEY = survey_or_exit()
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"


def code_of(name):
    """Content hash of a stage's script's modules: an edit in the package reruns the stage."""
    return fingerprint(SCRIPTS / f"{name}.py")


def exposure_of(wildcards):
    """The table row of a job's exposure."""
    return SURVEY.exposure(wildcards.visit, wildcards.detector, wildcards.band)


def coadds_of(wildcards):
    """The table rows of the coadds under a job's exposure."""
    return SURVEY.edges[exposure_of(wildcards).key]


def existing(*paths):
    """Those of the paths that exist or are made by the simulator.

    A missing file must become the status of its exposure, not an error of the whole workflow.
    """
    given = [p for p in paths if p]
    return [p for p in given if SURVEY.simulated or Path(p).exists()]


def files_of(row):
    """Image and side files of a table row."""
    return existing(row.path, row.psf, row.weight, row.mask)


def science_files(wildcards):
    """Input function: the exposure's own files."""
    return files_of(exposure_of(wildcards))


def coadd_files(wildcards):
    """Input function: the files of every coadd under the exposure."""
    return [path for row in coadds_of(wildcards) for path in files_of(row)]


def as_params(row):
    """A table row as plain values for a script."""
    return {k: getattr(row, k) for k in ("band", "path", "psf", "weight", "mask")}


def exposure_params(wildcards):
    """Params function: the exposure's row."""
    return as_params(exposure_of(wildcards))


def coadd_params(wildcards):
    """Params function: the rows of its coadds."""
    return [as_params(row) for row in coadds_of(wildcards)]


def per_exposure(pattern):
    """One path for every exposure of the survey."""
    return [
        pattern.format(
            visit=f"{row.visit:08d}", band=row.band, detector=f"{row.detector:03d}"
        )
        for row in SURVEY.exposures
    ]


def statuses():
    """The status file of every exposure."""
    return per_exposure("results/status/{visit}-{band}-det{detector}.json")


def outcomes():
    """One product of the last stage of every exposure: what a batch is counted in."""
    return per_exposure(
        "results/deepDiff/v{visit}-f{band}/diaSrc_{visit}-{band}-det{detector}.parquet"
    )


def truth_table():
    """The truth table, if there is one: the configured one or the simulator's."""
    if SURVEY.simulated:
        return [demo_table(config, "truth")]
    return [PATHS["truth"]] if PATHS["truth"] else []


def star_catalogue():
    """The catalogue that the kernel's stars are taken from, if there is one."""
    return [PATHS["star_catalogue"]] if PATHS["star_catalogue"] else []


def more_memory(base):
    """Resource function: `base` MB, and as much again for each retry."""
    return lambda wildcards, attempt: base * attempt


def simulated_images():
    """Every image of the simulated survey; none for a real one."""
    if not SURVEY.simulated:
        return []
    return [row.path for row in (*SURVEY.exposures, *SURVEY.coadds)]


def report_params(row):
    """An exposure's row and identity for the report."""
    return as_params(row) | {"visit": row.visit, "detector": row.detector}


def survey_params():
    """What the overlap stage needs to know of the survey, as plain values."""
    return {key: PATHS[key] for key in ("data", "exposures", "coadds", "simulate")}


def tables_digest():
    """Number of exposures and a hash of the edges: the overlap stage reruns when they change."""
    edges = [
        [key, [row.key for row in rows]] for key, rows in sorted(SURVEY.edges.items())
    ]
    return [len(SURVEY.exposures), sha256(repr(edges).encode()).hexdigest()[:16]]
