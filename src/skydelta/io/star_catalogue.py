"""Reference catalogues of stars, from whatever table they come in.

The name of a column tells what it means, the file its unit: TUNIT of FITS, the header of ECSV, the
metadata of Parquet. Only where the file is silent does the name decide upon the unit too.
"""

import logging
import re
from dataclasses import dataclass

import numpy as np

from skydelta.errors import InputError
from skydelta.io.table_columns import read_columns

logger = logging.getLogger(__name__)

_POSITIONS = (
    *(("ra", "dec"), ("coord_ra", "coord_dec"), ("ra_deg", "dec_deg"), ("radeg", "decdeg")),
    *(("ra_icrs", "de_icrs"), ("ra_icrs", "dec_icrs"), ("raj2000", "dej2000")),
    *(("raj2000", "decj2000"), ("_raj2000", "_dej2000"), ("ra_j2000", "dec_j2000")),
    *(("alpha_j2000", "delta_j2000"), ("ramean", "decmean")),
)
"""Names of the two columns in lower case; the first pair that a table has is taken."""

_IN_RADIANS = ("coord_ra", "coord_dec")
_DEGREES_PER = {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "hourangle": 15.0}
_DEGREES_PER |= dict.fromkeys(("rad", "radian", "radians"), 180.0 / np.pi)

_BAND_FLUX = (
    *("{}_flux", "flux_{}", "lsst_{}_flux", "{}_psfflux", "psfflux_{}", "flux_psf_{}"),
    *("{}_mag", "mag_{}", "{}mag", "{}_psfmag", "psfmag_{}", "mag_psf_{}", "{}meanpsfmag"),
)
_FLUX = (
    *("flux", "psfflux", "psf_flux", "flux_psf", "base_psfflux_instflux", "flux_auto"),
    *("mag", "magnitude", "psfmag", "psf_mag", "mag_psf", "mag_auto"),
    *("phot_g_mean_flux", "phot_g_mean_mag"),
)
_MAG_UNITS = ("mag", "abmag", "stmag", "vegamag")
_MAG_RANGE = (-30.0, 40.0)
"""Magnitudes beyond (99, -999 ...) say that there is none."""

_STAR = ("is_star", "isstar", "is_pointsource")
_RESOLVED = ("resolved", "is_resolved", "extendedness", "refextendedness")
_VARIABLE = ("variable", "is_variable")


@dataclass(frozen=True, eq=False)
class StarCatalogue:
    """Positions of stars, and of what else a catalogue holds.

    Parameters
    ----------
    ra, dec
        (n,) float64, deg, ICRS; NaN where not known.
    flux
        (n,) float64 in any unit that grows with brightness; NaN where not known.
    is_star
        (n,) bool, false for what is known to be resolved or variable; None if nothing is known.
    name
        What messages call the catalogue.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    is_star: np.ndarray | None = None
    name: str = ""

    def __post_init__(self):
        for name, dtype in {"ra": float, "dec": float, "flux": float, "is_star": bool}.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
                shape = getattr(self, name).shape
                if len(shape) != 1 or shape != self.ra.shape:
                    msg = f"{name} must be of the shape (n,) of ra {self.ra.shape}, got {shape}"
                    raise ValueError(msg)

    def __len__(self):
        return len(self.ra)


def read_star_catalogue(path, band=None):
    """The positions, fluxes and kinds of the objects of a table.

    Parameters
    ----------
    path
        CSV, ECSV, FITS (its first table with positions) or Parquet, told by what the file holds;
        text and FITS also compressed (.gz). LSST reference shards are such FITS tables.
    band
        Filter whose flux is wanted, for example ``"i"``: a column such as ``i_flux``, ``flux_i``,
        ``i_psfFlux``, ``mag_i``, else ``flux``, ``psfFlux``, ``mag`` or ``phot_g_mean_flux``.

    Returns
    -------
    StarCatalogue
        All rows of the table, RA in [0, 360). Without a unit, ``coord_ra`` and ``coord_dec`` are
        radians and all other positions degrees; magnitudes become nJy. Fluxes are NaN if no
        column fits. Stars are told by the columns, or LSST flags, is_star, is_pointsource,
        resolved, extendedness, variable, photometric and phot_variable_flag.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CorruptFileError
        If it is none of these formats, or damaged.
    InputError
        If it has no rows or no positions, or can be understood in more than one way.
    """
    tables = read_columns(path)
    table = next((each for each in tables if _position_columns(each) is not None), None)
    if table is None:
        there = "; ".join(each.listed() for each in tables) or "none"
        msg = f"{path}: no position columns; name them ra and dec (deg). The columns are: {there}"
        raise InputError(msg)
    ra, dec = _positions(table)
    if not len(ra):
        msg = f"{path}: the catalogue has no rows (columns {table.listed()}); give one that has"
        raise InputError(msg)
    if not np.isfinite(ra + dec).any():
        names = " and ".join(column.name for column in _position_columns(table))
        msg = f"{path}: no row has a position; look at its columns {names}"
        raise InputError(msg)
    flux = _flux(table, band)
    flux = np.full(len(ra), np.nan) if flux is None else flux
    return StarCatalogue(ra, dec, flux, _is_star(table), table.path.name)


def _position_columns(table):
    """The two columns, None without them."""
    pairs = ([table.find(name) for name in names] for names in _POSITIONS)
    return next((pair for pair in pairs if None not in pair), None)


def _positions(table):
    """(ra, dec) in deg."""
    columns = _position_columns(table)
    ra, dec = (_angle(column, limit) for column, limit in zip(columns, (360, 90), strict=True))
    said = any(column.unit or column.lower in _IN_RADIANS for column in columns)
    if not said and len(ra) and _reach(ra) <= 2 * np.pi and _reach(dec) <= np.pi / 2:
        logger.warning(
            "%s: %s and %s have no unit: taken as degrees, though all could be radians",
            table.path,
            *(column.name for column in columns),
        )
    ra = ra % 360.0
    return np.where(ra == 360.0, 0.0, ra), dec  # what lies just below 0 was rounded to 360


def _angle(column, limit):
    """Values of a column in deg, NaN where not finite, within +-limit."""
    unit = column.unit.strip(" []").lower()
    if unit and unit not in _DEGREES_PER:
        msg = (
            f"{column.path}: the unit {column.unit!r} of column {column.name!r} is no angle that "
            "is known here; give positions in deg or rad"
        )
        raise InputError(msg)
    unit = unit or ("rad" if column.lower in _IN_RADIANS else "deg")
    angle = column.numbers() * _DEGREES_PER[unit]
    angle[~np.isfinite(angle)] = np.nan
    if _reach(angle) > limit * (1 + 1e-12):
        why = "as its unit says" if column.unit else "as its name says: it has no unit"
        msg = (
            f"{column.path}: column {column.name!r} reaches {_reach(angle) / _DEGREES_PER[unit]:g} "
            f"and so cannot be in {unit} ({why}); give it its unit, or convert it to degrees"
        )
        raise InputError(msg)
    return angle


def _reach(angle):
    return np.nanmax(np.abs(angle), initial=0.0)


def _flux(table, band):
    """(n,) flux of the band, or of all light; None if no column fits."""
    names = [template.format(band.lower()) for template in _BAND_FLUX] if band else []
    column = table.first((*names, *_FLUX))
    if column is None:
        others = _fluxes_by_band(table)
        if band is None and len(others) == 1:
            (column,) = others.values()
        elif band is None and others:
            names = ", ".join(other.name for other in others.values())
            msg = f"{table.path}: which of the fluxes {names} is meant? Say which band"
            raise InputError(msg)
        else:
            wanted = f"flux of band {band!r}" if band else "flux"
            logger.warning("%s: no %s among its columns %s", table.path, wanted, table.listed())
            return None
    values = column.numbers()
    unit = column.unit.split("(")[0].strip().lower()
    if unit in _MAG_UNITS or (not unit and "mag" in column.lower):
        low, high = _MAG_RANGE
        magnitude = np.where((values > low) & (values < high), values, np.nan)
        return 10.0 ** (-0.4 * (magnitude - 31.4))
    return values


def _fluxes_by_band(table):
    """The best flux column of every band whose name is a letter or two."""
    found = {}
    for template in _BAND_FLUX:
        pattern = re.compile(template.format("([a-z][0-9]?)"))
        for column in table.columns:
            match = pattern.fullmatch(column.lower)
            if match:
                found.setdefault(match[1], column)
    return found


def _is_star(table):
    """(n,) bool; None if no column tells. What is not known of an object counts in its favour."""
    verdicts = []
    star, resolved, variable = map(table.first, (_STAR, _RESOLVED, _VARIABLE))
    photometric, gaia = map(table.find, ("photometric", "phot_variable_flag"))
    if star is not None:
        verdicts.append(star.truths() != 0)
    verdicts += [column.truths() != 1 for column in (resolved, variable) if column is not None]
    if gaia is not None:
        verdicts.append(gaia.words() != "VARIABLE")
    # LSST marks as photometric what is fit to calibrate with: in its catalogues, constant stars.
    if photometric is not None and variable is None:
        verdicts.append(photometric.truths() != 0)
    return np.all(verdicts, axis=0) if verdicts else None
