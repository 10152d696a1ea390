"""Reading the results back: products by name and data identifier, as with an LSST butler."""

import json
import os
from pathlib import Path

from skydelta.errors import CorruptFileError, InputError, MissingFileError
from skydelta.io.tracts_mapping import exposures_of, overlaps_of
from skydelta.tables import exposure_id

_FOLDERS = ("status", "deepDiff", "overlaps")


class Repository:
    """The results of a workflow.

    ``band`` can also be called ``filter``, as in LSST gen2 repositories, and can be left out where
    the visit has a single one.

    Parameters
    ----------
    root
        The folder ``results`` of a run.

    Raises
    ------
    MissingFileError
        If there are no results in it.
    """

    def __init__(self, root="results"):
        self.root = Path(root)
        if not any((self.root / folder).is_dir() for folder in _FOLDERS):
            msg = f"{self.root} holds no skydelta results (no {', '.join(_FOLDERS)})"
            if any((self.root / "results" / folder).is_dir() for folder in _FOLDERS):
                msg += f": open {self.root / 'results'}"
            elif (self.root / "repositoryCfg.yaml").exists() or (self.root / "_mapper").exists():
                msg += ": it is an LSST gen2 repository, which cannot be read yet"
            else:
                msg += ": run the workflow first, or name its folder results"
            raise MissingFileError(msg, path=os.fspath(self.root))

    def __repr__(self):
        return f"Repository({os.fspath(self.root)!r})"

    def path(self, dataset, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """Where a product is, or would be.

        Parameters
        ----------
        dataset
            ``deepDiff_differenceExp``, ``deepDiff_templateExp``, ``deepDiff_subtractedExp``,
            ``deepDiff_diaSrc`` or ``deepDiff_sources``.
        visit, detector
            Numbers of the exposure.
        band, filter
            Its filter, by either name.

        Returns
        -------
        pathlib.Path
        """
        template, _ = _dataset(dataset)
        band = self._band(visit, detector, band, filter)
        name = exposure_id(visit, detector, band)
        return self.root / "deepDiff" / f"v{visit:08d}-f{band}" / template.format(name)

    def get(self, dataset, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """Read a product; parameters are those of `path`.

        Returns
        -------
        skydelta.exposure.Exposure or astropy.table.Table
            Images, or catalogues with units.

        Raises
        ------
        SkydeltaError
            A StageFailure with the exposure's status and message, if it failed; a MissingFileError
            if the product was not made; a CorruptFileError if it cannot be read.
        """
        _, read = _dataset(dataset)
        band = self._band(visit, detector, band, filter)
        path = self.path(dataset, visit=visit, detector=detector, band=band)
        status_path = self._status_path(visit, detector, band)
        if not path.exists():
            msg = f"{path} does not exist{_quoted(status_path)}"
            raise MissingFileError(msg, path=os.fspath(path))
        _refuse_failed(path)
        try:
            return read(path)
        except InputError as error:
            raise type(error)(f"{path}: {error}", path=os.fspath(path)) from error
        except (OSError, LookupError, ValueError, TypeError) as error:
            # What astropy and pyarrow let through from a damaged file has no common base.
            msg = f"{path} cannot be read ({error}): delete it and run the workflow again"
            raise CorruptFileError(msg, path=os.fspath(path)) from error

    def status(self, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """How an exposure ended.

        Returns
        -------
        dict
            ``status`` (``ok``, or a word for what went wrong), ``message`` and numbers.

        Raises
        ------
        MissingFileError
            If the exposure has not been through the workflow.
        """
        band = self._band(visit, detector, band, filter)
        return _read_status(self._status_path(visit, detector, band))

    def find_coadds(self, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """The coadds under an exposure.

        Returns
        -------
        list of dict
            With tract, patch (x, y) and band, sorted.
        """
        found = overlaps_of(self._mapping(), visit, detector, _one_band(band, filter))
        return [{"tract": t, "patch": p, "band": b} for t, p, b in found]

    def find_exposures(self, *, tract, patch, band=None, filter=None):  # noqa: A002 (gen2's name)
        """The exposures that overlap a patch, in one band or in all.

        Parameters
        ----------
        tract, patch
            Number of the tract and (x, y) of the patch in it.
        band, filter
            A filter, by either name.

        Returns
        -------
        list of dict
            With visit, detector and band, sorted: ``repo.get(name, **found[0])``.
        """
        found = exposures_of(self._mapping(), tract, patch, _one_band(band, filter))
        return [{"visit": v, "detector": d, "band": b} for v, d, b in found]

    def _mapping(self):
        return self.root / "overlaps" / "tracts_mapping.sqlite3"

    def _status_path(self, visit, detector, band):
        return self.root / "status" / f"{exposure_id(visit, detector, band)}.json"

    def _band(self, visit, detector, band, filter_):
        """The band asked for, or the only one that the exposure has a status for."""
        band = _one_band(band, filter_)
        if band is not None:
            return band
        head, tail = f"{visit:08d}-", f"-det{detector:03d}.json"
        names = [path.name for path in (self.root / "status").glob(f"{head}*{tail}")]
        bands = sorted(name.removeprefix(head).removesuffix(tail) for name in names)
        if len(bands) != 1:
            known = f"it was taken in {', '.join(bands)}" if bands else "it has no status"
            msg = f"name the band of visit {visit}, detector {detector}: {known} in {self.root}"
            raise MissingFileError(msg, bands=bands)
        return bands[0]


def _one_band(band, filter_):
    if band is not None and filter_ is not None and band != filter_:
        msg = f"band {band!r} and filter {filter_!r} are two names of one thing: give one"
        raise ValueError(msg)
    return filter_ if band is None else band


def _read_status(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path} does not exist: the exposure has not been through the workflow"
        raise MissingFileError(msg, path=os.fspath(path)) from error
    except (OSError, ValueError) as error:
        msg = f"{path} is not a status file: {error}"
        raise CorruptFileError(msg, path=os.fspath(path)) from error


def _quoted(status_path):
    """What the status file says, as the end of a message."""
    try:
        status = _read_status(status_path)
    except InputError as error:
        return f" ({error})"
    return f"; {status_path} says {json.dumps(status)}"


def _refuse_failed(path):
    """Raise the failure that a product stands for: a FITS marker, whatever the file's name."""
    from astropy.io import fits

    from skydelta.io.outcome import StageFailure, raise_failure

    with path.open("rb") as stream:
        if stream.read(6) != b"SIMPLE":
            return
    try:
        header = fits.getheader(path)
    except (OSError, ValueError) as error:
        msg = f"{path} has a damaged header ({error}): delete it and run the workflow again"
        raise CorruptFileError(msg, path=os.fspath(path)) from error
    try:
        raise_failure(header)
    except StageFailure as failure:
        msg = f"{path}: {failure.status}: {failure}"
        raise StageFailure(failure.status, msg, failure.stage) from failure


def _read_image(path):
    from astropy.io import fits

    from skydelta.io.native import read_native

    with fits.open(path, memmap=False) as hdul:
        return read_native(hdul)


def _read_difference(path):
    """A difference; what detection marked is in its mask if there is a footprint file beside it."""
    from skydelta.detections import mask_with_planes
    from skydelta.io.detections import read_detections
    from skydelta.io.outcome import StageFailure

    difference = _read_image(path)
    footprints = path.with_name(path.name.replace("diffexp_", "footprints_", 1))
    if not footprints.exists():
        return difference
    try:
        detections = read_detections(footprints)
    except StageFailure as failure:  # a failed detection leaves the difference itself as it is
        return difference.noted(f"{failure.stage} failed: {failure}")
    return difference.replace(mask=mask_with_planes(difference.mask, detections))


def _read_fits_table(path):
    from astropy.table import Table

    return Table.read(path, format="fits", hdu=1)


def _read_parquet(path):
    """A catalogue whose Arrow fields carry ``unit`` and ``description``."""
    import numpy as np
    import pyarrow.parquet
    from astropy.table import Column, MaskedColumn, Table

    from skydelta.io.catalogues import arrow_values

    arrow = pyarrow.parquet.read_table(path)
    columns = []
    for field, values in zip(arrow.schema, arrow.itercolumns(), strict=True):
        array = arrow_values(values)
        kind = MaskedColumn if np.ma.isMaskedArray(array) else Column
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        columns.append(
            kind(
                array.astype(str) if array.dtype == object else array,
                name=field.name,
                unit=metadata.get("unit") or None,
                description=metadata.get("description"),
            )
        )
    return Table(columns)


_DATASETS = {
    "deepDiff_templateExp": ("template_{}.fits", _read_image),
    "deepDiff_subtractedExp": ("subtracted_{}.fits", _read_image),
    "deepDiff_differenceExp": ("diffexp_{}.fits", _read_difference),
    "deepDiff_sources": ("sources_{}.fits", _read_fits_table),
    "deepDiff_diaSrc": ("diaSrc_{}.parquet", _read_parquet),
}


def _dataset(name):
    if name not in _DATASETS:
        msg = f"there is no dataset {name!r}; there are {', '.join(_DATASETS)}"
        raise ValueError(msg)
    return _DATASETS[name]
