"""From the pixels' unit to nJy."""

import numpy as np

from skydelta.errors import CorruptFileError, InputError, UnsupportedError

_LARGEST = 1e12
"""nJy per count; more is an error of the file."""


def njy_per_count(tree, unit, xy0, shape):
    """What turns the pixels into nJy.

    Parameters
    ----------
    tree
        Root of the file's tree, or None of a cutout without one.
    unit
        BUNIT of the image, or None.
    xy0, shape
        Parent coordinates of the first pixel; (ny, nx).

    Returns
    -------
    float, ndarray or None
        One number; (ny, nx) float32 where the photometric scaling varies; None where the unit is
        not of flux and the file has no scaling.

    Raises
    ------
    UnsupportedError
        If the scaling is of a kind that cannot be evaluated.
    InputError
        If it does not lead to nJy, is not positive, or a unit is none.
    """
    from astropy import units as u

    if unit is None:
        return None
    own = _parsed(unit, "BUNIT")
    if own.is_equivalent(u.nJy):
        return float(own.to(u.nJy))
    field = tree.get("photometric_scaling") if tree is not None else None
    if field is None:
        return None
    per = _unit_of(field)
    if not (own * per).is_equivalent(u.nJy):
        msg = f"an image in {own} with a photometric scaling in {per} cannot be turned into nJy"
        raise InputError(msg)
    values = _values(field, xy0, shape) * (own * per).to(u.nJy)
    if not np.all((values > 0) & (values < _LARGEST)):
        msg = f"the photometric scaling is not positive and below {_LARGEST:g} nJy per {own}"
        raise InputError(msg)
    return float(values.flat[0]) if np.ptp(values) == 0 else values.astype(np.float32)


def _parsed(text, name):
    from astropy import units as u

    try:
        return u.Unit(str(text))
    except (ValueError, TypeError) as error:
        msg = f"{name} {text!r} is not a unit"
        raise InputError(msg) from error


def _unit_of(field):
    """The unit of a field: a product's is that of its factors."""
    from astropy import units as u

    if field["field_type"].value == "PRODUCT":
        unit = u.dimensionless_unscaled
        for operand in field["operands"].items():
            unit = unit * _unit_of(operand)
        return unit
    if field["field_type"].value == "SUM":
        return _unit_of(field["operands"][0])
    unit = field.get("unit")
    return u.dimensionless_unscaled if unit is None else _parsed(unit.value, unit.path)


def _values(field, xy0, shape):
    """(ny, nx) values of a field on the image's pixels."""
    kind = field["field_type"].value
    if kind == "CHEBYSHEV":
        return _chebyshev(field, xy0, shape)
    if kind in ("PRODUCT", "SUM"):
        parts = field["operands"].items()
        if not parts:
            msg = f"{field.path} of the file's JSON tree has no operands"
            raise CorruptFileError(msg)
        total = _values(parts[0], xy0, shape)
        for part in parts[1:]:
            values = _values(part, xy0, shape)
            total = total * values if kind == "PRODUCT" else total + values
        return total
    msg = (
        f"the photometric scaling has a part of the kind {kind}, which skydelta cannot evaluate: "
        "give the calibrated image, in nJy"
    )
    raise UnsupportedError(msg)


def _chebyshev(field, xy0, shape):
    """T_p(y) T_q(x) of coordinates that are -1 and 1 on the outer edges of the bounds."""
    scaled = []
    for axis, origin, n in (("y", xy0[1], shape[0]), ("x", xy0[0], shape[1])):
        box = field["bounds"][axis]
        start, stop = box.number("start"), box.number("stop")
        scaled.append((2.0 * (origin + np.arange(n)) - (start + stop - 1.0)) / (stop - start))
    coefficients = field["coefficients"].array()
    if coefficients.ndim != 2:
        raise field["coefficients"].wrong("a matrix")
    return np.polynomial.chebyshev.chebgrid2d(*scaled, coefficients)
