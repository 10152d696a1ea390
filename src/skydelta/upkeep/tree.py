"""Where the workflow puts the files of an exposure, in the order it makes them."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from skydelta.errors import CorruptFileError, MissingFileError
from skydelta.tables import exposure_id

STAGES = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
"""The chain of one exposure."""

PRODUCTS = {
    "template": "template",
    "subtract": "subtracted",
    "decorrelate": "diffexp",
    "detect": "footprints",
    "measure": "sources",
}
"""Beginning of the FITS product's name by stage; the last stage writes a catalogue and a status."""

SUMMARY = Path("status") / "summary.csv"
"""The table of all statuses, in the results."""

_ID = re.compile(r"(?P<visit>\d{8,})-(?P<band>[A-Za-z0-9_+-]+)-det(?P<detector>\d{3,})")


@dataclass(frozen=True, order=True)
class ExposureFiles:
    """The files of one exposure.

    Parameters
    ----------
    visit, detector, band
        The exposure.
    results
        The folder of results.
    """

    visit: int
    detector: int
    band: str
    results: Path

    @property
    def id(self):
        """``VISIT-BAND-detDETECTOR``."""
        return exposure_id(self.visit, self.detector, self.band)

    @property
    def folder(self):
        """Of the products."""
        return self.results / "deepDiff" / f"v{self.visit:08d}-f{self.band}"

    @property
    def status(self):
        """How the exposure fared, JSON."""
        return self.results / "status" / f"{self.id}.json"

    @property
    def catalogue(self):
        """The calibrated catalogue, Parquet."""
        return self.folder / f"diaSrc_{self.id}.parquet"

    def product(self, stage):
        """The FITS product of a stage before the last."""
        return self.folder / f"{PRODUCTS[stage]}_{self.id}.fits"

    def made_by(self, stage):
        """Every file that a stage may write."""
        if stage in PRODUCTS:
            return [self.product(stage)]
        return [self.catalogue, self.catalogue.with_suffix(".fits"), self.status]

    def from_stage(self, stage):
        """The existing files of a stage and of those after it."""
        later = STAGES[STAGES.index(stage) :]
        return [path for each in later for path in self.made_by(each) if path.exists()]

    @classmethod
    def of_id(cls, name, results):
        """The exposure of an ID, or None if it is none."""
        match = _ID.fullmatch(name)
        if match is None:
            return None
        return cls(int(match["visit"]), int(match["detector"]), match["band"], Path(results))


def known_exposures(results):
    """The exposures that a folder of results is of: those of overlaps/exposures.csv, in its order.

    Raises
    ------
    MissingFileError
        If there is no such table.
    CorruptFileError
        If it cannot be read.
    """
    path = Path(results) / "overlaps" / "exposures.csv"
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return [
                ExposureFiles(int(r["visit"]), int(r["detector"]), r["band"], Path(results))
                for r in csv.DictReader(lines)
            ]
    except FileNotFoundError as error:
        msg = f"{path} does not exist: name the folder results of a run whose overlap stage is done"
        raise MissingFileError(msg, path=str(path)) from error
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is not the overlap stage's table ({error}): delete it, run snakemake again"
        raise CorruptFileError(msg, path=str(path)) from error
