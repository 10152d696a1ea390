"""PSFs of Piff, which Rubin's newer files hold as Python pickles."""

import io
import pickle
from dataclasses import dataclass

import numpy as np

from skydelta.errors import BadPsfError, UnsupportedError
from skydelta.lsst.image_psf import ImagePsf, as_positions, normalised

_PACKAGES = ("piff", "galsim", "numpy", "astropy", "coord")

_BUILTINS = {"complex", "set", "frozenset", "slice", "range", "bytearray"}


@dataclass(frozen=True)
class PiffPsf(ImagePsf):
    """A Piff model (meas_extensions_piff: piffPsf.py).

    Parameters
    ----------
    width
        Of its square stamps, px.
    result
        piff.PSF.

    Raises
    ------
    BadPsfError
        For an even width.
    UnsupportedError
        For a model that needs the star's colour, of which a difference image knows nothing.
    """

    width: int
    result: object

    def __post_init__(self):
        if self.width < 1 or self.width % 2 == 0:
            msg = f"PiffPsf with stamps of {self.width} px: the width must be odd"
            raise BadPsfError(msg)
        needed = getattr(self.result, "interp_property_names", ())
        if "colorValue" in needed:
            msg = "the PiffPsf depends on the star's colour: such models cannot be evaluated"
            raise UnsupportedError(msg)

    @property
    def size(self):
        return self.width

    @property
    def average_position(self):
        stars = [s for s in self.result.stars if not (s.is_flagged or s.is_reserve)]
        positions = np.array([(s.image_pos.x, s.image_pos.y) for s in stars])
        return tuple(float(value) for value in positions.mean(axis=0))

    def _draw(self, x, y, center):
        drawn = [
            self.result.draw(px, py, stamp_size=self.width, center=center).array
            for px, py in zip(x, y, strict=True)
        ]
        return normalised(np.array(drawn, float).reshape(-1, self.width, self.width), "PiffPsf")

    def stamps(self, x, y):
        return self._draw(*as_positions(x, y), center=True)

    def images(self, x, y):
        x, y = as_positions(x, y)
        half = self.width // 2
        # The box that Piff draws on (PSF.draw): of two pixels as near, the lower one.
        x0, y0 = (np.ceil(value - 0.5).astype(int) - half for value in (x, y))
        return self._draw(x, y, center=None), x0, y0


def unpickled(data):
    """The PiffPsf that a pickle of (width, height, piff.PSF) holds.

    Only classes of Piff and of the packages it builds on are loaded. That keeps out what has no
    business in a PSF; it is no protection against a file made to do harm.

    Parameters
    ----------
    data
        bytes.

    Raises
    ------
    UnsupportedError
        If piff is not installed, or its version cannot read the pickle.
    BadPsfError
        If the pickle holds something else.
    """
    try:
        import piff  # noqa: F401
    except ImportError as error:
        msg = f"a PiffPsf needs the package piff ({error}): pip install 'skydelta[piff]'"
        raise UnsupportedError(msg) from error
    try:
        width, height, result = _Unpickler(io.BytesIO(data)).load()
        sound = width == height and hasattr(result, "draw")
        psf = _complete(PiffPsf(int(width), result)) if sound else None
    except pickle.UnpicklingError as error:
        msg = f"the pickle of the PiffPsf cannot be read: {error}"
        raise BadPsfError(msg) from error
    except (AttributeError, ImportError, TypeError, ValueError, LookupError, EOFError) as error:
        msg = (
            "the pickle of the PiffPsf does not fit the version of piff installed, or is damaged: "
            f"{error}"
        )
        raise UnsupportedError(msg) from error
    if psf is None:
        msg = f"the pickle of the PiffPsf holds {width} x {height} px of a {type(result).__name__}"
        raise BadPsfError(msg)
    return psf


_LATER = {"_num": None, "_fit_flux": None, "_init": None, "_maxk": 0.0, "_stepk": 0.0}
"""Attributes that versions of piff after 1.0 read, and their values in a new model."""


def _complete(psf):
    """Give a model pickled by an old piff what later versions read, and draw it once."""
    result = psf.result
    for part in (result, getattr(result, "model", None), getattr(result, "interp", None)):
        for name, value in _LATER.items():
            if part is not None and not hasattr(part, name):
                setattr(part, name, value)
    x, y = psf.average_position
    psf.stamp(x, y)
    return psf


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        known = module.split(".")[0] in _PACKAGES and "." not in name
        if not (known or (module in ("builtins", "__builtin__") and name in _BUILTINS)):
            message = f"it asks for {module}.{name}, which has no place in a PSF"
            raise pickle.UnpicklingError(message)
        return super().find_class(module, name)
