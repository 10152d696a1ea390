"""PSF side files: PSFEx models, native stamps, and plain images of a PSF."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError, InputError
from skydelta.io.native import read_psf
from skydelta.psf import GridPsf, Psf

_LANCZOS = 5.0
_TAPS = 12


@dataclass(frozen=True)
class PsfexPsf(Psf):
    """A PSFEx model: images whose coefficients are polynomials of the position.

    Parameters
    ----------
    components
        (k, height, width) model images.
    degree
        Of the polynomial in u = (x - zero_x) / scale_x and v: k = (degree + 1)(degree + 2) / 2.
    zero, scale
        (x, y) each, 0-based px.
    step
        Size of a model pixel in image pixels (PSF_SAMP).

    Raises
    ------
    BadPsfError
        If components and degree do not fit, or values are not finite.
    """

    components: np.ndarray
    degree: int
    zero: tuple
    scale: tuple
    step: float

    def __post_init__(self):
        expected = (self.degree + 1) * (self.degree + 2) // 2
        if np.ndim(self.components) != 3 or len(self.components) != expected:
            msg = (
                f"PSFEx model of degree {self.degree} needs {expected} component images, "
                f"got an array of shape {np.shape(self.components)}"
            )
            raise BadPsfError(msg)
        if not (np.all(np.isfinite(self.components)) and self.step > 0 and all(self.scale)):
            msg = "PSFEx model with values that are not finite, or without sampling step and scale"
            raise BadPsfError(msg)

    @cached_property
    def size(self):
        """Odd width of the stamps, px: that of the model."""
        size = int(min(self.components.shape[1:]) * self.step)
        return size + 1 if size % 2 == 0 else size

    @cached_property
    def _resample(self):
        """(size, height) and (size, width) matrices from model pixels to image pixels."""
        return tuple(_lanczos(n, self.size, self.step) for n in self.components.shape[1:])

    def _basis(self, x, y):
        """(n, k): 1, u, u^2 ... v, uv ... v^d, as PSFEx orders them."""
        u = (np.asarray(x, float) - self.zero[0]) / self.scale[0]
        v = (np.asarray(y, float) - self.zero[1]) / self.scale[1]
        terms = [u**i * v**j for j in range(self.degree + 1) for i in range(self.degree + 1 - j)]
        return np.stack(terms, axis=-1)

    def stamps(self, x, y):
        basis = self._basis(np.atleast_1d(x), np.atleast_1d(y))
        rows, columns = self._resample
        # The resampling is linear: do it once for the components, not for every position.
        images = np.tensordot(basis, rows @ self.components @ columns.T, axes=1)
        sums = images.sum(axis=(1, 2), keepdims=True)
        if np.any(sums <= 0):
            msg = "the PSFEx model has no positive sum at a position asked for"
            raise BadPsfError(msg)
        return images / sums


def _lanczos(n_model, size, step):
    """(size, n_model) weights of 12 taps of Lanczos-5, renormalised; zero outside the model."""
    if step == 1.0 and size == n_model:
        return np.eye(n_model)
    at = n_model // 2 + (np.arange(size) - size // 2) / step
    first = np.floor(at).astype(int) - (_TAPS // 2 - 1)
    taps = first[:, None] + np.arange(_TAPS)
    distance = at[:, None] - taps
    weight = np.sinc(distance) * np.sinc(distance / _LANCZOS)
    weight[np.abs(distance) >= _LANCZOS] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    matrix = np.zeros((size, n_model))
    rows, columns = np.nonzero((taps >= 0) & (taps < n_model))
    np.add.at(matrix, (rows, taps[rows, columns]), weight[rows, columns])
    return matrix


def psf_from_hdus(hdul, *, ccd=None):
    """The PSF an open side file holds.

    Parameters
    ----------
    hdul
        Open FITS file: a PSFEx table (the header's cards, or columns of one row per CCD), a native
        PSFGRID, or one image of odd size.
    ccd
        Names of the image's CCD, to choose among the rows of a merged PSFEx table.

    Raises
    ------
    InputError
        If it holds none of them.
    BadPsfError
        If what it holds cannot be a PSF.
    """
    if "PSFGRID" in {hdu.name for hdu in hdul}:
        return read_psf(hdul)
    for hdu in hdul:
        columns = {name.lower() for name in getattr(getattr(hdu, "columns", None), "names", [])}
        if "psf_mask" in columns:
            return _from_table(hdu, columns, ccd or ())
    for hdu in hdul:
        if hdu.is_image and hdu.data is not None:
            return _from_image(np.array(hdu.data, float))
    msg = "the PSF file holds neither a PSFEx table (psf_mask), nor a PSFGRID, nor an image"
    raise InputError(msg)


def _from_image(stamp):
    if stamp.ndim != 2:
        msg = (
            f"the PSF image has {stamp.ndim} axes {stamp.shape}: give one stamp of odd size, "
            "or a PSFGRID table with the position of each stamp"
        )
        raise BadPsfError(msg)
    return GridPsf.constant(stamp / stamp.sum() if stamp.sum() > 0 else stamp)


def _from_table(hdu, columns, ccd):
    row = _row_of(hdu, columns, ccd)

    def value(name):
        """A parameter of the model: a column of the table, or a card of its header."""
        found = row[name] if name.lower() in columns else hdu.header.get(name)
        if found is None:
            msg = f"the PSFEx table lacks {name}"
            raise BadPsfError(msg)
        return found

    components = np.array(row["psf_mask"], float)
    if components.ndim == 2:
        components = components[None]
    step = float(value("PSF_SAMP"))
    if len(components) == 1:
        return PsfexPsf(components, 0, (0.0, 0.0), (1.0, 1.0), step)
    for i, axis in ((1, "X"), (2, "Y")):
        name = str(value(f"POLNAME{i}")).strip()
        if not name.upper().startswith(axis):
            msg = (
                f"the PSFEx model varies with {name}: only models of the position "
                "(X_IMAGE, Y_IMAGE) can be evaluated"
            )
            raise BadPsfError(msg)
    return PsfexPsf(
        components,
        int(value("POLDEG1")),
        # PSFEx counts pixels from 1.
        tuple(float(value(f"POLZERO{i}")) - 1.0 for i in (1, 2)),
        tuple(float(value(f"POLSCAL{i}")) for i in (1, 2)),
        step,
    )


def _row_of(hdu, columns, ccd):
    """The only row, or that of the CCD named."""
    table = hdu.data
    if len(table) == 1:
        return table[0]
    if "ccdname" in columns:
        names = [str(name).strip() for name in table["ccdname"]]
        for name in ccd:
            if name in names:
                return table[names.index(name)]
    msg = (
        f"the PSFEx table has {len(table)} rows and none is told to belong to this image "
        f"({', '.join(ccd) or 'no CCD name in its header'}): give a file with its row only"
    )
    raise InputError(msg)
