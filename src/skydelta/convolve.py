"""Convolution of large images with kernels that vary slowly, tile by tile in Fourier space.

Tiles of 512 px keep every transform in the processor's cache: at 4096 x 4096 that is several times
faster than whole-image transforms, and needs no memory beyond the result.
"""

import numpy as np
from scipy import fft

from skydelta.parallel import map_tiles

TILE = 512


def tiles(shape, half, tile=TILE):
    """Output boxes (y0, y1, x0, x1) that cover an image, each with its padded input inside `tile`.

    Parameters
    ----------
    shape
        (ny, nx).
    half
        Half width of the kernel: the input reaches this far beyond the output.
    tile
        Transform size.
    """
    step = tile - 2 * half
    ny, nx = shape
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            yield y0, min(y0 + step, ny), x0, min(x0 + step, nx)


def padded_cut(image, y0, y1, x0, x1, half, value=0):
    """image[y0 - half : y1 + half, x0 - half : x1 + half], with `value` outside the image."""
    ny, nx = image.shape
    ya, yb, xa, xb = max(y0 - half, 0), min(y1 + half, ny), max(x0 - half, 0), min(x1 + half, nx)
    cut = image[ya:yb, xa:xb]
    if cut.shape == (y1 - y0 + 2 * half, x1 - x0 + 2 * half):
        return cut
    return np.pad(
        cut,
        ((ya - (y0 - half), (y1 + half) - yb), (xa - (x0 - half), (x1 + half) - xb)),
        constant_values=value,
    )


def tile_size(shape, half, tile=TILE):
    """Transform size for an image: `tile`, or less if the whole image fits."""
    need = max(shape) + 2 * half
    return min(max(tile, fft.next_fast_len(4 * half + 1, real=True)), fft.next_fast_len(need))


def kernel_transform(kernels, size):
    """rfft2 of centred kernels (..., k, k), laid out so that no shift remains.

    Rows first: those of the padding are zero, and only the kernel's own are transformed.
    """
    rows = fft.rfft(np.asarray(kernels, np.float32), n=size, axis=-1)
    return fft.fft(rows, n=size, axis=-2, overwrite_x=True)


def convolve_tile(transform, kernel_hat, size, out_shape, half):
    """The valid part of a tile's convolution.

    Parameters
    ----------
    transform
        rfft2 of the padded input.
    kernel_hat
        From `kernel_transform`: the kernel's corner at the origin delays the output by `half`,
        so the valid part begins at 2 half.
    size
        Transform size.
    out_shape
        (rows, columns) of the output box.
    half
        Half width of the kernel.
    """
    full = fft.irfft2(transform * kernel_hat, s=(size, size), overwrite_x=True)
    rows, cols = out_shape
    return full[..., 2 * half : 2 * half + rows, 2 * half : 2 * half + cols]


def convolve_spatial(image, kernel):
    """Convolution with a SpatialKernel, exact for its model of the spatial variation.

    K(x, y) = sum_c f_c(x, y) I_c gives sum_c f_c (I_c conv T): one forward transform a tile and
    one inverse for each component. Zeros are assumed outside the image.

    Parameters
    ----------
    image
        (ny, nx) float32 without NaN.
    kernel
        SpatialKernel over the same shape.

    Returns
    -------
    ndarray
        (ny, nx) float32.
    """
    half = kernel.half
    size = tile_size(image.shape, half)
    hats = kernel_transform(kernel.images, size)
    out = np.empty(image.shape, np.float32)

    def convolve(box):
        y0, y1, x0, x1 = box
        cut = padded_cut(image, y0, y1, x0, x1, half)
        transform = fft.rfft2(cut, s=(size, size))
        total = out[y0:y1, x0:x1]
        total[:] = 0.0
        for hat, field in zip(hats, kernel.fields, strict=True):
            part = convolve_tile(transform, hat, size, total.shape, half)
            total += part if field.is_one else part * field.box(y0, y1, x0, x1)

    for _ in map_tiles(convolve, tiles(image.shape, half, size)):
        pass
    return out


def convolve_local(image, kernels_at, half):
    """Convolution with one kernel a tile, that of the tile's centre.

    Parameters
    ----------
    image
        (ny, nx) float32 without NaN.
    kernels_at
        Function (x, y) -> (2 half + 1, 2 half + 1).
    half
        Half width.

    Returns
    -------
    ndarray
        (ny, nx) float32.
    """
    size = tile_size(image.shape, half)
    out = np.empty(image.shape, np.float32)

    def convolve(box):
        y0, y1, x0, x1 = box
        cut = padded_cut(image, y0, y1, x0, x1, half)
        if not cut.any():
            out[y0:y1, x0:x1] = 0.0
            return
        kernel = kernels_at(0.5 * (x0 + x1 - 1), 0.5 * (y0 + y1 - 1))
        transform = fft.rfft2(cut, s=(size, size))
        out[y0:y1, x0:x1] = convolve_tile(
            transform, kernel_transform(kernel, size), size, (y1 - y0, x1 - x0), half
        )

    for _ in map_tiles(convolve, tiles(image.shape, half, size)):
        pass
    return out
