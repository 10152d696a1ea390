"""Every product of a folder of results opened, added up and compared with the others."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from skydelta.errors import SkydeltaError
from skydelta.io.checks import check_file, parquet_counts
from skydelta.io.replacing import product_of
from skydelta.upkeep.exposure_check import Problem, check_exposure
from skydelta.upkeep.tree import SUMMARY, known_exposures

SUFFIXES = (".fits", ".parquet", ".sqlite3", ".json", ".csv", ".html")
"""Kinds of files that can be checked."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a folder of results.

    Parameters
    ----------
    problems
        List of Problem, in the order of the exposures, the whole survey's last.
    exposures, files, size
        How many exposures and files were looked at, and their bytes.
    without_sums
        FITS files that carry no sums: products of an older version, whose length alone was judged.
    """

    problems: list
    exposures: int
    files: int
    size: int
    without_sums: int

    @property
    def is_good(self):
        """Whether nothing is wrong."""
        return not self.problems


def verify(results, *, data=True):
    """Check a folder of results.

    Every exposure of overlaps/exposures.csv must have a status and, up to where it says that the
    exposure failed, every product; each is whole and has the sums it was written with; footprints,
    measurements, catalogue, status and the catalogue of the survey agree in the number of sources.

    Parameters
    ----------
    results
        The folder.
    data
        Whether to read pixels and rows; without, headers, lengths and numbers of rows are judged.

    Returns
    -------
    Verdict

    Raises
    ------
    SkydeltaError
        If it is no folder of results.
    """
    results = Path(results)
    exposures = known_exposures(results)
    checks = [check_exposure(exposure, data=data) for exposure in exposures]
    rows = {check.exposure.id: check.rows for check in checks}
    problems = [problem for check in checks for problem in check.problems]
    seen = {path for check in checks for path in check.files}
    survey, joint = _survey(results, rows, data)
    problems += survey
    seen |= joint
    problems += _others(results, seen, data)
    return Verdict(
        problems=problems,
        exposures=len(exposures),
        files=len(seen),
        size=sum(path.stat().st_size for path in seen if path.exists()),
        without_sums=sum(check.without_sums for check in checks),
    )


def _survey(results, rows, data):
    """Problems of the files of the whole survey, and those files."""
    problems, seen = [], set()
    catalogue = results / "catalogue" / "diaSources.parquet"
    required = [results / "overlaps" / "tracts_mapping.sqlite3", results / SUMMARY, catalogue]
    problems += [Problem(path, "it is missing") for path in required if not path.exists()]
    if catalogue.exists():
        seen.add(catalogue)
        problems += _catalogue(catalogue, rows, data)
    table = catalogue.with_suffix(".fits")
    if table.exists():
        seen.add(table)
        problems += _fits_catalogue(table, sum(n or 0 for n in rows.values()), data)
    return problems, seen


def _catalogue(path, rows, data):
    """The survey's catalogue against the exposures' own."""
    try:
        counts = parquet_counts(path, data=data)
    except SkydeltaError as error:
        return [Problem(path, str(error))]
    expected = Counter({name: n for name, n in rows.items() if n})
    if counts == expected:
        return []
    name = min(set((counts - expected) + (expected - counts)))
    what = f"{counts[name]} sources of {name}, whose own catalogue has {expected[name]}"
    return [Problem(path, what)]


def _fits_catalogue(path, expected, data):
    from skydelta.io.fits_sums import read_sums

    try:
        rows = read_sums(path, data=data)[-1].rows
    except SkydeltaError as error:
        return [Problem(path, str(error))]
    return [] if rows == expected else [Problem(path, f"{rows} sources instead of {expected}")]


def _others(results, seen, data):
    """Problems of all that no exposure and no catalogue accounts for; adds them to `seen`."""
    problems = []
    for path in sorted(results.rglob("*")):
        if path in seen or path.is_dir():
            continue
        if product_of(path) is not None:
            problems.append(Problem(path, "a killed job left it", is_leftover=True))
            continue
        seen.add(path)
        if path.suffix in SUFFIXES and (data or path.suffix != ".fits"):
            try:
                check_file(path)
            except SkydeltaError as error:
                problems.append(Problem(path, str(error)))
    return problems
