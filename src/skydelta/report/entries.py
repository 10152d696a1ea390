"""What the report knows about one exposure: its files, and what was read from them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skydelta.errors import SkydeltaError
from skydelta.io.outcome import OK
from skydelta.tables import exposure_id

NOT_WRITTEN = "not_written"
"""Status of an exposure whose status file does not exist."""

UNREADABLE = "unreadable"
"""Status of an exposure of which a file is missing or damaged."""

FLAG_COLUMNS = (
    "centroid_flag",
    "psfFlux_flag",
    *(
        f"pixelFlags_{name}Center"
        for name in ("bad", "cr", "crTemplate", "suspect", "interpolated", "halo")
    ),
    *(f"pixelFlags_{name}" for name in ("edge", "nodata", "saturated", "sat_template")),
    *(f"pixelFlags_{name}" for name in ("streak", "templateEdge")),
    "pixelFlags_offimage",
)
"""A source with one of these is called flagged: its fit failed, bad pixels lie at its centre, or
its footprint touches saturated pixels of either image, a satellite trail or an edge."""


@dataclass(frozen=True)
class ReportEntry:
    """The files of one exposure.

    Parameters
    ----------
    visit, detector
        Numbers of the exposure.
    band
        Filter.
    science
        Image the pipeline was given.
    template, subtracted, diffexp, footprints
        FITS products, or failure markers.
    catalogue
        DiaSource catalogue, Parquet.
    status
        Status file, JSON.
    """

    visit: int
    detector: int
    band: str
    science: Path
    template: Path
    subtracted: Path
    diffexp: Path
    footprints: Path
    catalogue: Path
    status: Path

    @property
    def name(self):
        """The exposure's name in all its files, ``VISIT-BAND-detDETECTOR``."""
        return exposure_id(self.visit, self.detector, self.band)


def report_entries(exposures, results):
    """The entries of exposures whose products lie where the workflow puts them.

    Parameters
    ----------
    exposures
        Mappings with visit, detector, band and path, in the order they are to be listed; other
        keys are ignored.
    results
        The folder ``results``.

    Returns
    -------
    list of ReportEntry
    """
    return [_entry(row, Path(results)) for row in exposures]


def _entry(row, results):
    visit, detector, band = int(row["visit"]), int(row["detector"]), row["band"]
    name = exposure_id(visit, detector, band)
    folder = results / "deepDiff" / f"v{visit:08d}-f{band}"
    products = ("template", "subtracted", "diffexp", "footprints")
    return ReportEntry(
        visit=visit,
        detector=detector,
        band=band,
        science=Path(row["path"]),
        **{product: folder / f"{product}_{name}.fits" for product in products},
        catalogue=folder / f"diaSrc_{name}.parquet",
        status=results / "status" / f"{name}.json",
    )


@dataclass(frozen=True)
class Loaded:
    """What could be read of an exposure; None for what does not exist.

    Parameters
    ----------
    entry
        ReportEntry.
    status, message
        ``"ok"``, or why there is no catalogue.
    numbers
        The status file.
    science
        (ny, nx) pixels.
    template, subtracted, difference
        Exposures.
    kernel
        SpatialKernel.
    stars
        Columns of the stars of the kernel fit by name.
    detections
        skydelta.detections.Detections.
    catalogue
        Columns of the catalogue by name, sky sources left out.
    """

    entry: ReportEntry
    status: str
    message: str = ""
    numbers: dict = field(default_factory=dict)
    science: np.ndarray | None = None
    template: object = None
    subtracted: object = None
    difference: object = None
    kernel: object = None
    stars: dict | None = None
    detections: object = None
    catalogue: dict | None = None

    @property
    def is_ok(self):
        """Whether all stages were passed."""
        return self.status == OK


def load(entry):
    """All there is of an exposure.

    A failure, be it in the status file, in a marker or in a file that cannot be read, ends up as
    status and message; what could be read before it is kept.
    """
    numbers = read_status(entry.status)
    parts = {}
    status, message = numbers.get("status", OK), numbers.get("message") or ""
    for read in (_science, _template, _subtraction, _difference, _detections):
        try:
            parts |= read(entry)
        except (SkydeltaError, OSError) as error:
            if status == OK:
                status = getattr(error, "status", UNREADABLE)
                message = str(error)
    return Loaded(entry, str(status), str(message), numbers, **parts)


def read_status(path):
    """The status file, or one that says that there is none."""
    try:
        numbers = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {"status": NOT_WRITTEN, "message": "the status file is missing or damaged"}
    return numbers if isinstance(numbers, dict) else {"status": NOT_WRITTEN}


def _science(entry):
    """Pixels only: variance, mask and PSF of the science image live on in the difference."""
    from skydelta.io.reader import open_fits

    with open_fits(entry.science) as hdul:
        for hdu in hdul:
            if hdu.is_image and hdu.data is not None and np.ndim(hdu.data) == 2:
                return {"science": np.array(hdu.data, np.float32)}
    return {}


def _template(entry):
    from skydelta.io.products import read_image

    return {"template": read_image(entry.template)}


def _subtraction(entry):
    from skydelta.io.differences import read_kernel
    from skydelta.io.native import read_native
    from skydelta.io.products import open_product

    with open_product(entry.subtracted) as hdul:
        table = hdul["KERNSTAR"].data
        stars = {name: np.array(table[name]) for name in table.dtype.names}
        return {"subtracted": read_native(hdul), "kernel": read_kernel(hdul), "stars": stars}


def _difference(entry):
    from skydelta.io.products import read_image

    return {"difference": read_image(entry.diffexp)}


def _detections(entry):
    from skydelta.dia_source import without_sky
    from skydelta.io.catalogues import read_catalogue
    from skydelta.io.detections import read_detections

    return {
        "detections": read_detections(entry.footprints),
        "catalogue": without_sky(read_catalogue(entry.catalogue)),
    }


def is_flagged(catalogue):
    """(n,) bool: sources with one of FLAG_COLUMNS."""
    flags = [np.asarray(catalogue[name], bool) for name in FLAG_COLUMNS if name in catalogue]
    return np.logical_or.reduce(flags) if flags else np.zeros(len(catalogue["x"]), bool)


def footprint_mask(shape, spans):
    """(ny, nx) bool from the pixel runs of footprints."""
    edges = np.zeros((shape[0], shape[1] + 1), np.int32)
    np.add.at(edges, (spans["y"], spans["x0"]), 1)
    np.add.at(edges, (spans["y"], spans["x1"] + 1), -1)
    return np.cumsum(edges[:, :-1], axis=1) > 0


def card(exposure, key, default=np.nan):
    """A header card of an exposure that was read, without its comment."""
    value = exposure.meta.get(key, default) if exposure is not None else default
    return value[0] if isinstance(value, tuple) else value
