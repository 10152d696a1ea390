"""The products of one exposure checked, each by itself and against the others."""

from dataclasses import dataclass, field
from pathlib import Path

from skydelta.errors import CorruptFileError
from skydelta.io.checks import parquet_rows, read_json
from skydelta.io.fits_sums import read_sums
from skydelta.upkeep.tree import PRODUCTS, ExposureFiles

_OK = "ok"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file.

    Parameters
    ----------
    path
        The file.
    what
        What is wrong, without the file's name.
    exposure, stage
        Whose product it is and the stage that makes it; None for a file of the whole survey.
    is_leftover
        Whether it is a killed job's.
    """

    path: Path
    what: str
    exposure: ExposureFiles | None = None
    stage: str | None = None
    is_leftover: bool = False

    def doomed(self):
        """The files to delete so that `snakemake` makes this one, and what depends on it, anew."""
        if self.exposure is None:
            return [self.path] if self.path.exists() else []
        return self.exposure.from_stage(self.stage)


@dataclass
class ExposureCheck:
    """What was found of an exposure.

    Parameters
    ----------
    exposure
        ExposureFiles.
    problems
        List of Problem.
    files
        The files that were looked at.
    rows
        Number of sources of its catalogue; None if unknown.
    without_sums
        Number of FITS files without sums.
    """

    exposure: ExposureFiles
    problems: list = field(default_factory=list)
    files: list = field(default_factory=list)
    rows: int | None = None
    without_sums: int = 0

    def blame(self, stage, path, what):
        """Note a problem."""
        self.problems.append(Problem(path, what, self.exposure, stage))

    def miss(self, stage, path):
        """Note a missing product, unless the whole exposure is not done yet."""
        if self.exposure.status.exists():
            self.blame(stage, path, "it is missing")


def check_exposure(exposure, *, data=True):
    """Check the files of one exposure.

    Parameters
    ----------
    exposure
        ExposureFiles.
    data
        Whether to read pixels and rows.

    Returns
    -------
    ExposureCheck
    """
    check = ExposureCheck(exposure)
    status = _status(check)
    counts, failed_in = {}, None
    for stage in PRODUCTS:
        hdus = _product(check, stage, data)
        if hdus is None:
            continue
        failure = hdus[0].cards.get("STATUS")
        failed_in = failed_in or (stage if failure else None)
        _compare_failure(check, stage, failure, failed_in, status)
        counts[stage] = next((hdu.rows for hdu in hdus if hdu.name == "SOURCES"), None)
    _catalogues(check, data)
    _compare_rows(check, counts, status)
    return check


def _status(check):
    """The status file's content; None if it cannot be used."""
    exposure, path = check.exposure, check.exposure.status
    if not path.exists():
        check.blame("calibrate", path, "it is missing: the exposure is not done")
        return None
    check.files.append(path)
    try:
        status = read_json(path)
    except CorruptFileError as error:
        check.blame("calibrate", path, str(error))
        return None
    key = (exposure.visit, exposure.detector, exposure.band)
    named = isinstance(status, dict) and isinstance(status.get("status"), str)
    if not named or key != tuple(status.get(k) for k in ("visit", "detector", "band")):
        check.blame("calibrate", path, "it is no status of this exposure")
        return None
    return status


def _product(check, stage, data):
    """The HDUs of a stage's product; None if it is missing or damaged."""
    path = check.exposure.product(stage)
    if not path.exists():
        check.miss(stage, path)
        return None
    check.files.append(path)
    try:
        hdus = read_sums(path, data=data)
    except CorruptFileError as error:
        check.blame(stage, path, str(error))
        return None
    check.without_sums += not all(hdu.has_sums for hdu in hdus)
    return hdus


def _compare_failure(check, stage, failure, failed_in, status):
    """A product is a failure's marker from the stage that failed on, for the status' reason."""
    if status is None:
        return
    path, outcome = check.exposure.product(stage), status["status"]
    if failure and outcome == _OK:
        check.blame(stage, path, f"it says {failure}, the status says ok")
    elif failure and failure != outcome:
        check.blame(stage, path, f"it says {failure}, the status says {outcome}")
    elif failed_in and not failure:
        check.blame(stage, path, f"a product after the stage {failed_in} failed")


def _catalogues(check, data):
    exposure, table = check.exposure, check.exposure.catalogue.with_suffix(".fits")
    try:
        path = exposure.catalogue
        if not path.exists():
            check.miss("calibrate", path)
            return
        check.files.append(path)
        check.rows = parquet_rows(path, data=data)
        if table.exists():
            path = table
            check.files.append(path)
            rows = read_sums(path, data=data)[-1].rows
            if rows != check.rows:
                check.blame("calibrate", path, f"{rows} sources instead of {check.rows}")
    except CorruptFileError as error:
        check.blame("calibrate", path, str(error))


def _compare_rows(check, counts, status):
    """Detected, measured, calibrated and reported sources are as many."""
    exposure = check.exposure
    detected, measured = counts.get("detect"), counts.get("measure")
    if None not in (detected, measured) and detected != measured:
        what = f"{measured} sources, {detected} were detected"
        check.blame("measure", exposure.product("measure"), what)
    if check.rows is None:
        return
    failed_last = status is not None and status.get("stage") == "calibrate"
    if measured is not None and measured != check.rows and not failed_last:
        what = f"{check.rows} sources, {measured} were measured"
        check.blame("calibrate", exposure.catalogue, what)
    if status is None:
        return
    reported = status.get("n_sources", 0) + status.get("n_sky_sources", 0)
    if reported != check.rows:
        what = f"{check.rows} sources, the status says {reported}"
        check.blame("calibrate", exposure.catalogue, what)
