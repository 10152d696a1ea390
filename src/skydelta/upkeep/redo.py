"""Products deleted so that a plain `snakemake` makes them, and what depends on them, again."""

from pathlib import Path

from skydelta.errors import CorruptFileError, SkydeltaError
from skydelta.io.checks import read_json
from skydelta.io.outcome import OK
from skydelta.upkeep.tree import PRODUCTS, STAGES, known_exposures


class BusyError(SkydeltaError):
    """A run is on in the folder whose products are to be deleted."""

    status = "busy"


def refuse_while_running(results):
    """Leave a folder alone that Snakemake has locked.

    Raises
    ------
    BusyError
    """
    work = Path(results).resolve().parent
    if any((work / ".snakemake" / "locks").glob("*.lock")):
        msg = (
            f"snakemake is running in {work}, or was killed there: wait for it, or, if it is gone, "
            "unlock the folder with `snakemake --unlock` first"
        )
        raise BusyError(msg)


def delete(paths):
    """Delete files; those that existed, sorted."""
    deleted = sorted({path for path in map(Path, paths) if path.exists()})
    for path in deleted:
        path.unlink()
    return deleted


def failed_exposures(results, reasons=()):
    """The exposures whose status is not ok.

    Parameters
    ----------
    results
        The folder of results.
    reasons
        Only those of these statuses; all by default.

    Returns
    -------
    list of (ExposureFiles, dict)
        With the content of the status.
    """
    found = []
    for exposure in known_exposures(results):
        try:
            status = read_json(exposure.status)
        except (FileNotFoundError, CorruptFileError):
            continue  # not done yet, or `skydelta verify`'s to tell: nothing that failed
        if status["status"] != OK and (not reasons or status["status"] in reasons):
            found.append((exposure, status))
    return found


def of_failure(exposure, status):
    """The files to delete so that a failed exposure is tried again from the stage that failed."""
    stage = status.get("stage")
    return exposure.from_stage(stage if stage in STAGES else next(iter(PRODUCTS)))
