"""The DiaSource table: its columns, where they come from, and what is left out of Rubin's.

The table is that of Rubin's alert production database, ``apdb.yaml`` of the package
lsst-sdm-schemas (ApdbSchema 10.0.0): the same names, types, units, meanings and order. Columns of
our own follow it.
"""

from dataclasses import dataclass

import numpy as np

SCHEMA = ("apdb", "10.0.0")
"""File and version of the schema in lsst-sdm-schemas."""


@dataclass(frozen=True)
class Column:
    """A catalogue column.

    Parameters
    ----------
    name
        Its name.
    dtype
        numpy type, ``"U"`` for text.
    unit
        In FITS' notation, empty if there is none.
    description
        Its meaning.
    """

    name: str
    dtype: str
    unit: str
    description: str

    @property
    def is_nullable(self):
        """Whether a value may be missing; numbers with a point are NaN then."""
        return self.name in _NULLABLE


_NULLABLE = {"parentDiaSourceId"}


def _pixel_flags(name, meaning, where=("", "Center")):
    text = {"": "in the footprint", "Center": "within 1 px of the centre"}
    return [Column(f"pixelFlags_{name}{w}", "?", "", f"{meaning} {text[w]}") for w in where]


RUBIN = (
    Column("diaSourceId", "i8", "", "unique over visits, detectors and bands"),
    Column("visit", "i8", "", "visit of the exposure"),
    Column("detector", "i2", "", "detector of the exposure"),
    Column("parentDiaSourceId", "i8", "", "first source of the same blend; null for none"),
    Column("midpointMjdTai", "f8", "d", "mid-exposure time, MJD, TAI"),
    Column("exposureTime", "f4", "s", "exposure time"),
    Column("ra", "f8", "deg", "right ascension, ICRS"),
    Column("raErr", "f4", "deg", "standard error of ra times cos(dec)"),
    Column("dec", "f8", "deg", "declination, ICRS"),
    Column("decErr", "f4", "deg", "standard error of dec"),
    Column("ra_dec_Cov", "f4", "deg**2", "covariance of ra times cos(dec) and dec"),
    Column("x", "f4", "pixel", "column, 0-based"),
    Column("xErr", "f4", "pixel", "standard error of x"),
    Column("y", "f4", "pixel", "row, 0-based"),
    Column("yErr", "f4", "pixel", "standard error of y"),
    Column("centroid_flag", "?", "", "the position fit failed"),
    Column("apFlux", "f4", "nJy", "flux in 12 px radius on the difference image"),
    Column("apFluxErr", "f4", "nJy", "standard error of apFlux"),
    Column("apFlux_flag", "?", "", "the aperture holds unusable pixels"),
    Column("apFlux_flag_apertureTruncated", "?", "", "the image ends within the aperture"),
    Column("isNegative", "?", "", "the peak was negative: fainter than the template"),
    Column("snr", "f4", "", "signal-to-noise ratio of the detection, |detectScore|"),
    Column("psfFlux", "f4", "nJy", "PSF flux on the difference image"),
    Column("psfFluxErr", "f4", "nJy", "standard error of psfFlux"),
    Column("psfChi2", "f4", "", "chi2 of the PSF fit"),
    Column("psfNdata", "i4", "", "pixels of the PSF fit"),
    Column("psfFlux_flag", "?", "", "the PSF flux is not to be used"),
    Column("psfFlux_flag_edge", "?", "", "the PSF's stamp reaches beyond the image"),
    Column("psfFlux_flag_noGoodPixels", "?", "", "no usable pixel under the PSF"),
    Column("dipoleMeanFlux", "f4", "nJy", "mean absolute flux of a dipole's two lobes"),
    Column("dipoleMeanFluxErr", "f4", "nJy", "standard error of dipoleMeanFlux"),
    Column("dipoleFluxDiff", "f4", "nJy", "absolute flux of the positive lobe less the other's"),
    Column("dipoleFluxDiffErr", "f4", "nJy", "standard error of dipoleFluxDiff"),
    Column("dipoleLength", "f4", "arcsec", "distance of the lobes"),
    Column("dipoleAngle", "f4", "deg", "bearing from the negative to the positive lobe, N over E"),
    Column("dipoleChi2", "f4", "", "chi2 of the dipole fit per degree of freedom"),
    Column("dipoleNdata", "i4", "", "pixels of the dipole fit; 0 if there was none"),
    Column("scienceFlux", "f4", "nJy", "forced PSF flux on the science image"),
    Column("scienceFluxErr", "f4", "nJy", "standard error of scienceFlux"),
    Column("forced_PsfFlux_flag", "?", "", "scienceFlux could not be measured"),
    Column("forced_PsfFlux_flag_edge", "?", "", "the PSF's stamp reaches beyond the image"),
    Column("forced_PsfFlux_flag_noGoodPixels", "?", "", "no usable pixel under the PSF"),
    Column("templateFlux", "f4", "nJy", "forced PSF flux on the template at the same position"),
    Column("templateFluxErr", "f4", "nJy", "standard error of templateFlux"),
    Column("ixx", "f4", "arcsec**2", "adaptive second moment of the source along x"),
    Column("iyy", "f4", "arcsec**2", "adaptive second moment along y"),
    Column("ixy", "f4", "arcsec**2", "mixed adaptive second moment"),
    Column("ixxPSF", "f4", "arcsec**2", "adaptive second moment of the PSF along x"),
    Column("iyyPSF", "f4", "arcsec**2", "adaptive second moment of the PSF along y"),
    Column("ixyPSF", "f4", "arcsec**2", "mixed adaptive second moment of the PSF"),
    Column("shape_flag", "?", "", "the moments could not be measured"),
    Column("extendedness", "f4", "", "0 for a point source, 1 for an extended one"),
    Column("reliability", "f4", "", "probability that the source is astrophysical"),
    Column("reliabilityVersion", "U", "", "version of the model of reliability; empty for none"),
    Column("band", "U", "", "filter"),
    Column("isDipole", "?", "", "a positive and a negative lobe side by side"),
    Column("dipoleFitAttempted", "?", "", "a dipole was fitted"),
    Column("bboxSize", "i4", "pixel", "width of the square that holds the footprint"),
    Column("pixelFlags", "?", "", "no position: the other pixel flags are void"),
    *_pixel_flags("bad", "bad pixels", [""]),
    *_pixel_flags("cr", "cosmic ray"),
    *_pixel_flags("edge", "edge pixels", [""]),
    *_pixel_flags("nodata", "pixels without data"),
    *_pixel_flags("interpolated", "interpolated pixels"),
    Column("pixelFlags_offimage", "?", "", "the position is outside the image"),
    *_pixel_flags("saturated", "saturated pixels"),
    *_pixel_flags("suspect", "pixels near saturation"),
    *_pixel_flags("streak", "satellite trail"),
)
"""Columns of Rubin's table, in its order."""

ADDITIONS = (
    Column("detectScore", "f4", "", "matched-filter significance, signed"),
    Column(
        "detectScoreNoise",
        "f4",
        "",
        "significance without the model's error",
    ),
    Column("psfMag", "f4", "mag", "AB magnitude of psfFlux; NaN where it is not positive"),
    Column("psfMagErr", "f4", "mag", "standard error of psfMag"),
    Column("forced_template_PsfFlux_flag", "?", "", "templateFlux could not be measured"),
    Column("localPhotoCalib", "f4", "nJy/count", "photometric scale at the position"),
    Column("localPhotoCalibErr", "f4", "nJy/count", "its standard error; 0 if not known"),
    Column("sky_source", "?", "", "a random empty position, measured to check the errors"),
    Column("dipoleFit_flag", "?", "", "the dipole fit failed"),
    *_pixel_flags("bad", "bad pixels", ["Center"]),
    *_pixel_flags("edge", "edge pixels", ["Center"]),
    *_pixel_flags("sat_template", "saturated pixels of the template"),
    *_pixel_flags("crTemplate", "cosmic ray of the template"),
    *_pixel_flags("templateEdge", "edge of the template's coverage"),
    *_pixel_flags("halo", "halo or bleed trail of a bright star"),
    *_pixel_flags("noPsf", "pixels without a PSF to detect with"),
)
"""Columns that Rubin's table does not have."""

COLUMNS = RUBIN + ADDITIONS
"""All columns, in the order they are written."""

_TRAIL = "no trail is fitted: sources are points or dipoles"
_OTHER_SHAPE = "shape_flag is raised for every cause"
_INJECTED = "nothing is injected into the exposures of a catalogue"

ABSENT = {
    "diaObjectId": "association over visits is not part of difference imaging",
    "ssObjectId": "association with the solar system is not part of difference imaging",
    "ssObjectReassocTimeMjdTai": "see ssObjectId",
    "psfLnL": "-psfChi2 / 2 up to a constant; Rubin leaves it empty, too",
    **{
        f"trail{name}": _TRAIL
        for name in (
            *("Flux", "FluxErr", "Ra", "RaErr", "Dec", "DecErr", "Length", "LengthErr"),
            *("Angle", "AngleErr", "Chi2", "Ndata", "Algorithm", "_flag_edge", "_flag"),
        )
    },
    "shape_flag_no_pixels": _OTHER_SHAPE,
    "shape_flag_not_contained": _OTHER_SHAPE,
    "shape_flag_parent_source": "parents have no row of their own",
    "timeProcessedMjdTai": "the same input gives the same bytes; files have their own dates",
    "timeWithdrawnMjdTai": "a database's column: a catalogue withdraws nothing",
    "pixelFlags_injected": _INJECTED,
    "pixelFlags_injectedCenter": _INJECTED,
    "pixelFlags_injected_template": _INJECTED,
    "pixelFlags_injected_templateCenter": _INJECTED,
    "glint_trail": "trails of glints over several detections are not sought; see pixelFlags_streak",
}
"""Why columns of Rubin's table are not written, by name."""


def typed(column, values):
    """Values in a column's type; masked arrays keep their mask where null is allowed."""
    if column.dtype == "U":
        return np.asarray(values, dtype=object)
    if column.is_nullable:
        return np.ma.array(values, dtype=column.dtype)
    return np.asarray(values).astype(column.dtype)


def empty_catalogue():
    """The catalogue of an exposure without sources: every column, no row."""
    return {c.name: typed(c, np.zeros(0)) for c in COLUMNS}


def without_sky(catalogue):
    """A catalogue without its sky sources, which are no detections."""
    real = ~np.asarray(catalogue["sky_source"], bool)
    return {name: values[real] for name, values in catalogue.items()}
