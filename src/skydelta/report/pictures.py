"""Pixels as PNG: stretches, tints, cut-outs. No axes and no text: the page writes those."""

import base64
import io
from functools import lru_cache

import numpy as np

MAX_SIDE = 512
"""Images are averaged down to at most this width and height, px."""

SIGMA_RANGE = 6.0
"""Difference images are shown between plus and minus so many sigmas."""

_LEVELS = 64
"""Shades of a picture: more would only store more of the noise."""

_TINT = np.array([242, 193, 78], float)
"""Colour of masked pixels (amber: neither of the two signs)."""

_TINT_SHARE = 0.65


def downsample(image, factor):
    """Means of blocks of factor x factor pixels; what does not fill a block is dropped."""
    return _blocks(image, factor).mean(axis=(1, 3))


def downsample_mask(mask, factor):
    """Whether any pixel of a block is set."""
    return _blocks(mask, factor).any(axis=(1, 3))


def _blocks(plane, factor):
    ny, nx = (n // factor for n in plane.shape)
    return plane[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)


def shrink_factor(shape, max_side=MAX_SIDE):
    """Least integer that brings an image to `max_side` px or less."""
    return max(int(np.ceil(max(shape) / max_side)), 1)


def sky_stretch(image, *, level=None, sigma=None, softening=3.0, top=300.0):
    """Grey values of a sky image, 0 (sky) to 1 (bright): asinh of the signal above the sky.

    Parameters
    ----------
    image
        (ny, nx); NaN counts as sky.
    level, sigma
        Sky and its noise; by default the median and the robust scatter of the image.
    softening
        Signal, in sigmas, where linear turns into logarithmic.
    top
        Signal, in sigmas, that is shown at full strength.
    """
    from skydelta.report.statistics import robust_sigma

    if level is None:
        finite = image[np.isfinite(image)]
        level = np.median(finite) if finite.size else 0.0
        sigma = robust_sigma(finite)
    signal = np.nan_to_num((image - level) / (sigma if sigma > 0 else 1.0))
    low = np.arcsinh(-2.0 / softening)
    high = np.arcsinh(top / softening)
    return np.clip((np.arcsinh(signal / softening) - low) / (high - low), 0.0, 1.0)


def grey(values):
    """(ny, nx, 3) uint8 of values in 0..1: dark sources on a light sky, as on a plate."""
    return palette()[grey_index(values)]


def grey_index(values):
    """(ny, nx) uint8, places in the palette of the shades of `grey`."""
    return np.round(np.nan_to_num(values) * (_LEVELS - 1)).astype(np.uint8)


def diverging(values):
    """(ny, nx, 3) uint8 of values in -1..1: blue, white at zero, red."""
    return palette()[diverging_index(values)]


def diverging_index(values):
    """(ny, nx) uint8, places in the palette of the colours of `diverging`."""
    level = np.round((np.clip(np.nan_to_num(values), -1, 1) + 1) / 2 * (_LEVELS - 2))
    return (_LEVELS + level).astype(np.uint8)


MASKED, CLEAR = 2 * _LEVELS - 1, 2 * _LEVELS
"""Places in the palette of the colour of masked pixels, and of none at all."""


@lru_cache(maxsize=1)
def palette():
    """(2 _LEVELS + 1, 3) uint8: greys, diverging colours, the masks' colour, and a clear one."""
    light = np.round(250.0 - 240.0 * np.arange(_LEVELS) / (_LEVELS - 1))
    greys = np.repeat(light[:, None], 3, axis=1).astype(np.uint8)
    return np.concatenate([greys, _diverging_colours(), [_TINT, np.zeros(3)]]).astype(np.uint8)


def _diverging_colours():
    from matplotlib import colormaps

    # An odd number of shades has one for zero.
    table = colormaps["RdBu_r"](np.linspace(0.04, 0.96, _LEVELS - 1))[:, :3]
    return np.round(255 * table).astype(np.uint8)


def tinted(pixels, where):
    """Pixels with a veil over those that are masked."""
    out = pixels.copy()
    veiled = (1 - _TINT_SHARE) * pixels[where] + _TINT_SHARE * _TINT
    # Few shades of the veil, too: it hides what lies below anyway.
    out[where] = np.round(veiled / 8) * 8 - 1
    return out


def sky_picture(image, mask, *, stretch=None):
    """A data URI of a whole sky image, averaged down, masked pixels tinted."""
    factor = shrink_factor(image.shape)
    filled = np.where(np.isfinite(image), image, np.float32(np.nanmedian(image)))
    small = downsample(filled, factor)
    pixels = grey(sky_stretch(small, **(stretch or {})))
    return data_uri(tinted(pixels, downsample_mask(mask, factor)))


def difference_picture(sigmas, mask):
    """A data URI of D / sqrt(V); averaging keeps white noise at one sigma."""
    factor = shrink_factor(sigmas.shape)
    small = downsample(np.where(mask, np.float32(0), sigmas), factor) * factor
    pixels = diverging(small / SIGMA_RANGE)
    return data_uri(tinted(pixels, downsample_mask(mask, factor)))


def cutout(image, x, y, half=20):
    """(2 half + 1, 2 half + 1) about the pixel nearest to a position; NaN beyond the image."""
    size = 2 * half + 1
    out = np.full((size, size), np.nan, np.float32)
    x0, y0 = int(np.rint(x)) - half, int(np.rint(y)) - half
    ny, nx = image.shape
    xa, xb, ya, yb = max(x0, 0), min(x0 + size, nx), max(y0, 0), min(y0 + size, ny)
    if xa < xb and ya < yb:
        out[ya - y0 : yb - y0, xa - x0 : xb - x0] = image[ya:yb, xa:xb]
    return out


def side_by_side(panels, gap=2):
    """Pixel arrays of one height in a row, with clear gaps: (ny, nx, 4) uint8."""
    height = panels[0].shape[0]
    clear = np.zeros((height, gap, 4), np.uint8)
    row = []
    for panel in panels:
        opaque = np.full((*panel.shape[:2], 1), 255, np.uint8)
        row += [clear, np.concatenate([panel, opaque], axis=2)]
    return np.concatenate(row[1:], axis=1)


def grid_of(panels, columns, gap=2):
    """Pixel arrays of one shape on a grid, filled row by row from the bottom."""
    rows = [side_by_side(panels[k : k + columns], gap) for k in range(0, len(panels), columns)]
    clear = np.zeros((gap, rows[0].shape[1], 4), np.uint8)
    return np.concatenate([part for row in rows for part in (clear, row)][1:], axis=0)


def data_uri(pixels):
    """A PNG of (ny, nx, 3 or 4) uint8 pixels, row 0 at the bottom, as a data URI."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels[::-1]))
    if pixels.shape[-1] == 3:
        colours = picture.getcolors(256)
        if colours is not None:
            # Fewer than 256 colours fit into one byte a pixel.
            picture = _indexed(pixels[::-1], [colour for _, colour in colours])
    return _uri(picture)


def palette_uri(index):
    """A PNG of (ny, nx) places in the palette, row 0 at the top, as a data URI."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(index), mode="P")
    picture.putpalette(palette().ravel().tolist())
    return _uri(picture, transparency=CLEAR)


def _uri(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _indexed(pixels, colours):
    from PIL import Image

    codes = (pixels.astype(np.int32) * np.array([1 << 16, 1 << 8, 1])).sum(axis=-1)
    palette = np.array(sorted((r << 16) + (g << 8) + b for r, g, b in colours))
    index = np.searchsorted(palette, codes).astype(np.uint8)
    picture = Image.fromarray(index, mode="L")
    picture.putpalette([c for v in palette for c in (v >> 16, (v >> 8) & 255, v & 255)])
    return picture
