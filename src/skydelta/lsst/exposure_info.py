"""What an LSST exposure carries beside its pixels, WCS, PSF and calibration."""

from dataclasses import dataclass, field, replace
from typing import Any

from skydelta.lsst.visit_info import VisitInfo


@dataclass(frozen=True)
class FilterLabel:
    """Name of a filter (afw: image/FilterLabel.cc).

    Parameters
    ----------
    band
        General name, ``"i"``; "" if unknown.
    physical
        Name of the very filter, ``"HSC-I2"``; "" if unknown.
    """

    band: str = ""
    physical: str = ""


@dataclass(frozen=True)
class Deferred:
    """An object that is read from its file's archive when it is asked for.

    Parameters
    ----------
    archive
        With `load` and `class_name`.
    number
        The object's.
    """

    archive: Any
    number: int

    @property
    def class_name(self):
        """Name of its class in the archive."""
        return self.archive.class_name(self.number)

    def load(self):
        """The object.

        Raises
        ------
        InputError
            Of the type that fits: damaged, or of a class that cannot be read.
        """
        return self.archive.load(self.number)


def resolved(thing):
    """An object, read now if it is Deferred."""
    return thing.load() if isinstance(thing, Deferred) else thing


@dataclass(frozen=True)
class ApCorrMap:
    """Aperture corrections by name (afw: image/ApCorrMap.cc).

    Parameters
    ----------
    fields
        {name: bounded field}, for example of ``"base_PsfFlux_instFlux"``; a flux is multiplied by
        the field's value at the source.
    """

    fields: dict


@dataclass(frozen=True)
class ExposureCatalog:
    """Exposures that went into a coadd, one a row (afw: table/Exposure.cc).

    Parameters
    ----------
    columns
        {name: (n,) array}: id, bbox_min_x, bbox_min_y, bbox_max_x, bbox_max_y and what else there
        is (ccd, visit, goodpix, weight).
    components
        {kind: n objects, some of them Deferred or None}: kinds are wcs, psf, photoCalib,
        apCorrMap, validPolygon, visitInfo, transmissionCurve, detector.
    """

    columns: dict
    components: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.columns["id"])

    def bbox(self, row):
        """(x_min, y_min, x_max, y_max) of an exposure, inclusive, its own parent pixels."""
        return tuple(
            int(self.columns[f"bbox_{end}_{axis}"][row]) for end in ("min", "max") for axis in "xy"
        )

    def component(self, kind, row):
        """An object of a row, read now if it was not; None if there is none.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        objects = self.components.get(kind)
        return None if objects is None else resolved(objects[row])


@dataclass(frozen=True)
class CoaddInputs:
    """What a coadd was made of.

    Parameters
    ----------
    visits, ccds
        ExposureCatalog, by visit and by CCD.
    """

    visits: ExposureCatalog
    ccds: ExposureCatalog


@dataclass(frozen=True)
class SummaryStats:
    """Statistics of an exposure as the pipeline measured them (afw: ExposureSummaryStats).

    Parameters
    ----------
    values
        {name: value}: psfSigma, zeroPoint, skyBg, raCorners...
    """

    values: dict


@dataclass(frozen=True)
class ExposureInfo:
    """The rest of an LSST exposure.

    Parameters
    ----------
    visit_info
        VisitInfo.
    filter_label
        FilterLabel, or None.
    exposure_id
        Number of the exposure (EXPID), or None.
    components
        {key: object or Deferred} for the archive's other objects by the stack's own keys:
        DETECTOR, VALID_POLYGON, AP_CORR_MAP, COADD_INPUTS, SUMMARY_STATS, TRANSMISSION_CURVE...
        Deferred ones are read when asked for, so that one that cannot be read harms nothing.
    sky_wcs
        AstSkyWcs or FitsSkyWcs as the archive has it, of which the exposure's WCS may be a fit.
    """

    visit_info: VisitInfo = field(default_factory=VisitInfo)
    filter_label: FilterLabel | None = None
    exposure_id: int | None = None
    components: dict = field(default_factory=dict)
    sky_wcs: Any = None

    def component(self, key):
        """An object by the stack's key, None if there is none.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        return resolved(self.components.get(key))

    @property
    def detector(self):
        """skydelta.lsst.detector.Detector, or None."""
        return self.component("DETECTOR")

    @property
    def valid_polygon(self):
        """skydelta.lsst.polygon.Polygon, or None."""
        return self.component("VALID_POLYGON")

    @property
    def ap_corr_map(self):
        """ApCorrMap, or None."""
        return self.component("AP_CORR_MAP")

    @property
    def coadd_inputs(self):
        """CoaddInputs, or None."""
        return self.component("COADD_INPUTS")

    @property
    def summary_stats(self):
        """SummaryStats, or None."""
        return self.component("SUMMARY_STATS")

    def replace(self, **changes):
        """A copy with some fields changed."""
        return replace(self, **changes)
