"""Subtraction files: the raw difference with its kernel and stars; scores and detection filters."""

import numpy as np
from astropy.io import fits

from skydelta.difference import Difference, ScoreMap
from skydelta.field import Field
from skydelta.io.native import read_native, read_psf, write_exposure
from skydelta.io.products import open_product, table_hdu
from skydelta.kernel import SpatialKernel
from skydelta.psf import GridPsf, grid_nodes, sample_psf


def write_difference(path, difference):
    """A raw difference with its kernel.

    KERNIMG holds the images whose sum, each times its field over the image, is the kernel; KERNFLD
    the fields, KERNBACK the background that was fitted with them; KERNGRID kernels on a 5 x 5 grid,
    KERNSTAR the stars. DETFILT is the pre-convolution filter, SCORE and FLUXSIG the score map and
    its flux errors, where the method has them.
    """
    kernel = difference.kernel
    ny, nx = kernel.shape
    images = fits.ImageHDU(np.asarray(kernel.images, float), name="KERNIMG")
    images.header["POLYNX"] = (nx, "[pix] columns mapped edge to edge to +-1")
    images.header["POLYNY"] = (ny, "[pix] rows mapped edge to edge to +-1")
    images.header["CONVOLVE"] = (difference.convolved, "the image that the kernel convolves")
    images.header["KSUM"] = (difference.flux_ratio, "science counts per template count")
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, 5), grid_nodes(ny, 5)))
    grid = {"x": x, "y": y, "kernel": kernel.at(x, y)}
    extra = [
        images,
        _fields_hdu(kernel.fields, "KERNFLD"),
        _fields_hdu([kernel.background], "KERNBACK"),
        table_hdu(grid, "KERNGRID", {"x": "pix", "y": "pix"}),
        table_hdu(difference.stars, "KERNSTAR", {"x": "pix", "y": "pix", "flux": "count"}),
    ]
    if difference.detection_filter is not None:
        extra.append(fits.ImageHDU(difference.detection_filter, name="DETFILT"))
    if difference.science_psf is not None:
        sampled = sample_psf(difference.science_psf, difference.exposure.shape)
        extra.append(_psf_hdu(sampled, "SCIPSF"))
    exposure = difference.exposure
    if difference.white:
        exposure = exposure.replace(meta={**exposure.meta, "WHITE": (True, "noise is white")})
    write_exposure(path, exposure, extra + score_hdus(difference.score))


def read_difference(path):
    """The Difference of a subtraction file, without the solution of its fit."""
    with open_product(path) as hdul:
        exposure = read_native(hdul)
        header, stars = hdul["KERNIMG"].header, hdul["KERNSTAR"].data
        return Difference(
            exposure=exposure,
            kernel=read_kernel(hdul),
            convolved=header["CONVOLVE"],
            flux_ratio=float(header["KSUM"]),
            stars={name: np.array(stars[name]) for name in stars.names},
            flux_error=float(hdul[0].header.get("KFLUXERR", np.nan)),
            detection_filter=_array(hdul, "DETFILT"),
            score=read_score(hdul),
            white=bool(hdul[0].header.get("WHITE", False)),
            science_psf=_read_psf(hdul, "SCIPSF"),
        )


def read_difference_psf(path):
    """The science PSF that a subtraction file carries."""
    with open_product(path) as hdul:
        return _read_psf(hdul, "SCIPSF") or read_psf(hdul)


def read_kernel(hdul):
    """The SpatialKernel of an open subtraction file."""
    header = hdul["KERNIMG"].header
    shape = int(header["POLYNY"]), int(header["POLYNX"])
    return SpatialKernel(
        images=np.array(hdul["KERNIMG"].data, float),
        fields=tuple(_read_fields(hdul["KERNFLD"], shape)),
        background=_read_fields(hdul["KERNBACK"], shape)[0],
        shape=shape,
    )


def detection_hdus(result):
    """HDUs of a Decorrelated that detection reads beside the exposure: SCORE, FLUXSIG, DETPSF."""
    hdus = score_hdus(result.score)
    psf = result.detection_psf
    if psf is not None:
        hdus.append(_psf_hdu(psf, "DETPSF"))
    return hdus


def read_for_detection(path):
    """(Exposure, Psf to detect with or None, ScoreMap or None) of a difference exposure."""
    with open_product(path) as hdul:
        return read_native(hdul), _read_psf(hdul, "DETPSF"), read_score(hdul)


def score_hdus(score):
    """SCORE and FLUXSIG of a ScoreMap; nothing for None."""
    if score is None:
        return []
    planes = (score.score, "SCORE"), (score.flux_sigma, "FLUXSIG"), (score.flux, "PSFFLUX")
    return [fits.ImageHDU(np.asarray(plane, np.float32), name=name) for plane, name in planes]


def read_score(hdul):
    """The ScoreMap of an open product, or None."""
    if "SCORE" not in hdul:
        return None
    return ScoreMap(*(np.array(hdul[name].data, np.float32) for name in ("SCORE", "FLUXSIG")))


def _psf_hdu(psf, name):
    return table_hdu({"x": psf.x, "y": psf.y, "stamp": psf.data}, name)


def _read_psf(hdul, name):
    if name not in hdul:
        return None
    table = hdul[name].data
    return GridPsf(*(np.array(table[column], float) for column in ("x", "y", "stamp")))


def _array(hdul, name):
    return np.array(hdul[name].data, float) if name in hdul else None


def _fields_hdu(fields, name):
    """A table of fields; coefficients [y, x] are padded with zeros to one shape."""
    shapes = np.array([f.coefficients.shape for f in fields])
    padded = np.zeros((len(fields), *(shapes.max(axis=0) + 1)))
    for row, f in zip(padded, fields, strict=True):
        row[: f.coefficients.shape[0], : f.coefficients.shape[1]] = f.coefficients
    columns = {
        "kind": np.array([f.kind for f in fields], dtype="U9"),
        "n_y": shapes[:, 0].astype(np.int32),
        "n_x": shapes[:, 1].astype(np.int32),
        "coefficients": padded,
    }
    return table_hdu(columns, name)


def _read_fields(hdu, shape):
    table = hdu.data
    return [
        Field(np.array(table["coefficients"][k][:ny, :nx], float), shape, str(table["kind"][k]))
        for k, (ny, nx) in enumerate(zip(table["n_y"], table["n_x"], strict=True))
    ]
