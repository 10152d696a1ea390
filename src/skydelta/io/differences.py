"""Subtraction files: the raw difference with its kernel solution."""

import numpy as np
from astropy.io import fits

from skydelta.io.native import read_native, read_psf, write_exposure
from skydelta.io.products import open_product, table_hdu
from skydelta.kernel import SpatialKernel
from skydelta.kernel_fit import REJECT_REASONS
from skydelta.psf import grid_nodes


def write_difference(path, difference):
    """A raw difference with its kernel solution.

    KERNBASE holds the basis functions, KERNCOEF the coefficients of their Chebyshev terms,
    KERNBACK those of the background, KERNGRID kernel images on a 5 x 5 grid, KERNSTAR the stars.
    """
    solution, spec = difference.solution, difference.spec
    kernel = solution.kernel
    ny, nx = kernel.shape
    coefficients = fits.ImageHDU(np.asarray(kernel.coefficients, float), name="KERNCOEF")
    for key, value, comment in (
        ("ORDER", kernel.order, "total degree, Chebyshev T_i(x) T_j(y)"),
        ("POLYNX", nx, "[pix] columns mapped edge to edge to +-1"),
        ("POLYNY", ny, "[pix] rows mapped edge to edge to +-1"),
    ):
        coefficients.header[key] = (value, comment)
    for k, (sigma, degree) in enumerate(zip(spec.sigmas, spec.degrees, strict=True)):
        coefficients.header[f"SIGMA{k}"] = (sigma, "[pix] width of this Gaussian")
        coefficients.header[f"DEGREE{k}"] = (degree, "degree of its polynomial")
    background = fits.ImageHDU(np.asarray(kernel.background, float), name="KERNBACK")
    background.header["ORDER"] = kernel.background_order
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, 5), grid_nodes(ny, 5)))
    grid = {"x": x, "y": y, "kernel": kernel.images(x, y)}
    stars = {
        **{name: difference.stars[name] for name in ("x", "y", "flux", "snr")},
        "used": solution.used,
        "reason": np.array([REJECT_REASONS[int(r)] for r in solution.reason], dtype="U12"),
        "flux_ratio": solution.flux_ratio,
        "residual": solution.residual,
    }
    extra = [
        fits.ImageHDU(np.asarray(kernel.basis, float), name="KERNBASE"),
        coefficients,
        background,
        table_hdu(grid, "KERNGRID", {"x": "pix", "y": "pix"}),
        table_hdu(stars, "KERNSTAR", {"x": "pix", "y": "pix", "flux": "count"}),
    ]
    write_exposure(path, difference.exposure, extra)


def read_difference(path):
    """(Exposure, SpatialKernel) of a subtraction file."""
    with open_product(path) as hdul:
        return read_native(hdul), read_kernel(hdul)


def read_difference_psf(path):
    """The science PSF that a subtraction file carries."""
    with open_product(path) as hdul:
        return read_psf(hdul)


def read_kernel(hdul):
    """The SpatialKernel of an open subtraction file."""
    header = hdul["KERNCOEF"].header
    return SpatialKernel(
        basis=np.array(hdul["KERNBASE"].data, float),
        coefficients=np.array(hdul["KERNCOEF"].data, float),
        order=int(header["ORDER"]),
        background=np.array(hdul["KERNBACK"].data, float),
        background_order=int(hdul["KERNBACK"].header["ORDER"]),
        shape=(int(header["POLYNY"]), int(header["POLYNX"])),
    )
