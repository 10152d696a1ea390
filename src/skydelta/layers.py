"""Coadds as layers on one grid: their weights, backgrounds, common noise, mean and PSF."""

from dataclasses import dataclass

import numpy as np

from skydelta.cells import cell_medians, upsample
from skydelta.mask import PLANES, Mask, add_planes
from skydelta.pixelmap import PixelMap
from skydelta.psf import GridPsf
from skydelta.psf_places import nearest_known
from skydelta.resample import noise_correlation, resample, warp_stamp

_MIN_SHARED_PIXELS = 2000

_NOISE_LAGS = 6


@dataclass(frozen=True)
class Layer:
    """One coadd on the exposure's grid, on the common photometric scale."""

    resampled: object
    weight: np.ndarray
    psf: object
    pixel_map: PixelMap
    scale: float
    noise_correlation: np.ndarray


def make_layer(coadd, wcs, shape, calib, order):
    pixel_map = PixelMap.between(wcs, shape, coadd.wcs)
    resampled = resample(coadd, pixel_map, shape, order=order)
    if resampled is None:
        return None
    valid = ~resampled.mask.any("NO_DATA")
    if not valid.any():
        return None
    scale = coadd.photo_calib.scale / calib.scale
    if scale != 1.0:
        np.multiply(resampled.image, np.float32(scale), out=resampled.image)
        np.multiply(resampled.variance, np.float32(scale**2), out=resampled.variance)
    ny, nx = resampled.image.shape
    box = (resampled.x0, resampled.y0, resampled.x0 + nx, resampled.y0 + ny)
    return Layer(
        resampled=resampled,
        weight=_background_weight(resampled.variance, valid),
        psf=coadd.psf,
        pixel_map=pixel_map,
        scale=scale,
        noise_correlation=noise_correlation(pixel_map, box, order=order, lags=_NOISE_LAGS),
    )


def _background_weight(variance, valid, cell=128):
    """Inverse of the background variance: medians in cells, bilinear between their centres.

    Zero where the coadd has no data. Cells without data take the median of the others.
    """
    medians = cell_medians(variance, valid, cell, step=4)
    if not np.isfinite(medians).all():  # a sliver of data between the sampled rows and columns
        medians[:] = np.median(variance[valid])
    smooth = upsample(1.0 / medians, variance.shape)
    smooth[~valid] = 0.0
    return smooth


def overlap_correlation(layers, overlap_noise):
    """How the noise of each layer is related to that of each other.

    Patches of one tract are cut from the same exposures, those of two tracts need not be: where it
    is measured, every pair has its own correlation, and a pair with too few common pixels has the
    mean of the others.

    Returns
    -------
    r : ndarray
        (n, n) correlations, 0 to 1, 1 on the diagonal.
    mean : float
        Of all pairs, weighted by their common pixels.
    how : str
        ``"given"``, ``"one coadd"``, ``"assumed"`` or ``"measured"``.
    """
    n = len(layers)
    if overlap_noise == "independent":
        return np.eye(n), 0.0, "given"
    if overlap_noise == "shared" or n == 1:
        return np.ones((n, n)), 1.0, "given" if overlap_noise == "shared" else "one coadd"
    values, counts = np.full((n, n), np.nan), np.zeros((n, n))
    for i, a in enumerate(layers):
        for j, b in enumerate(layers[i + 1 :], start=i + 1):
            value, count = _pair_correlation(a, b)
            if count >= _MIN_SHARED_PIXELS:
                values[i, j] = values[j, i] = np.clip(value, 0.0, 1.0)
                counts[i, j] = count
    known = counts > 0
    if not known.any():
        return np.ones((n, n)), 1.0, "assumed"
    mean = float(np.average(values[known], weights=counts[known]))
    values[np.isnan(values)] = mean
    np.fill_diagonal(values, 1.0)
    return values, mean, "measured"


def _common_cuts(a, b):
    """Slices of the pixels that two layers share, in the one and in the other; None if none."""
    (ya, xa), (yb, xb) = a.resampled.slices, b.resampled.slices
    y0, y1 = max(ya.start, yb.start), min(ya.stop, yb.stop)
    x0, x1 = max(xa.start, xb.start), min(xa.stop, xb.stop)
    if y1 <= y0 or x1 <= x0:
        return None
    cut_a = slice(y0 - ya.start, y1 - ya.start), slice(x0 - xa.start, x1 - xa.start)
    cut_b = slice(y0 - yb.start, y1 - yb.start), slice(x0 - xb.start, x1 - xb.start)
    return cut_a, cut_b


def _shared(a, b):
    """Pixels two layers share: (image a, image b, variance a, variance b), 1-d."""
    cuts = _common_cuts(a, b)
    if cuts is None:
        return (np.zeros(0, np.float32),) * 4
    cut_a, cut_b = cuts
    both = (a.weight[cut_a] > 0) & (b.weight[cut_b] > 0)
    # A million pixels are enough for any statistic here.
    pick = slice(None, None, max(np.count_nonzero(both) // 1_000_000, 1))
    return (
        a.resampled.image[cut_a][both][pick],
        b.resampled.image[cut_b][both][pick],
        a.resampled.variance[cut_a][both][pick],
        b.resampled.variance[cut_b][both][pick],
    )


def match_backgrounds(layers):
    """Constants that bring overlapping layers to one background; subtracted in place.

    Least squares over the median differences of all overlapping pairs, the first layer fixed.
    Patches cut from one image differ by nothing and stay as they are; where the sky was not
    subtracted, its steps at the borders of the coadds vanish.
    """
    n = len(layers)
    offsets = np.zeros(n)
    rows, values, weights = [], [], []
    for i in range(n):
        for j in range(i + 1, n):
            image_i, image_j, variance_i, _ = _shared(layers[i], layers[j])
            if image_i.size < _MIN_SHARED_PIXELS:
                continue
            difference = image_i - image_j
            middle = float(np.median(difference))
            error = 1.25 * _scatter(difference) / np.sqrt(difference.size)
            sigma = np.sqrt(np.median(variance_i))
            row = np.zeros(n)
            row[i], row[j] = 1.0, -1.0
            rows.append(row)
            significant = abs(middle) > max(5 * error, 1e-3 * sigma)
            values.append(middle if significant else 0.0)
            weights.append(np.sqrt(difference.size))
    if not any(values):
        return offsets
    weights = np.array(weights)
    matrix = np.array(rows)[:, 1:] * weights[:, None]
    offsets[1:] = np.linalg.lstsq(matrix, np.array(values) * weights, rcond=None)[0]
    for layer, offset in zip(layers, offsets, strict=True):
        if offset:
            valid = ~layer.resampled.mask.any("NO_DATA")
            layer.resampled.image[valid] -= np.float32(offset)
    return offsets


def _scatter(values):
    low, high = np.percentile(values, [15.865, 84.135])
    return 0.5 * (high - low)


def _pair_correlation(a, b):
    """Noise correlation of two layers from var(a - b), in which the sky cancels, and its size."""
    image_a, image_b, variance_a, variance_b = _shared(a, b)
    if image_a.size < _MIN_SHARED_PIXELS:
        return 0.0, image_a.size
    # The mean pixel variance of a resampled image is its white equivalent times rho(0).
    va = np.median(variance_a) * a.noise_correlation.max()
    vb = np.median(variance_b) * b.noise_correlation.max()
    scatter = _scatter(image_a - image_b) ** 2
    return float((va + vb - scatter) / (2.0 * np.sqrt(va * vb))), image_a.size


def combine(layers, shape, r):
    """Weighted mean image, its variance, mask and coverage.

    With weights w, pixel variances V and correlations r of the layers' noise, the variance of the
    mean is the sum of r_ij w_i w_j sqrt(V_i V_j) over all pairs, divided by (sum w)^2.

    Parameters
    ----------
    layers
        List of Layer.
    shape
        (ny, nx).
    r
        (n, n), from `overlap_correlation`.
    """
    planes = dict(PLANES)
    for layer in layers:
        planes = add_planes(planes, layer.resampled.mask.planes)
    no_data = np.int32(1 << planes["NO_DATA"])
    coverage = np.zeros(shape, np.uint8)
    sum_w = np.zeros(shape, np.float32)
    image = np.zeros(shape, np.float32)
    variance = np.zeros(shape, np.float32)
    bits = np.zeros(shape, np.int32)
    spared = _spare_bad_pixels(layers, shape)
    for layer, w in zip(layers, spared, strict=True):
        cut = layer.resampled.slices
        coverage[cut] += w > 0
        sum_w[cut] += w
        image[cut] += w * layer.resampled.image
        variance[cut] += np.where(w > 0, w * w * layer.resampled.variance, np.float32(0))
        layer_bits = Mask(layer.resampled.mask.array, layer.resampled.mask.planes).canonical()
        bits[cut] |= np.where(w > 0, layer_bits.array, 0)
    _add_covariances(variance, layers, spared, r)
    empty = coverage == 0
    sum_w[empty] = 1.0
    image /= sum_w
    variance /= sum_w * sum_w
    variance[empty] = np.nan
    bits[empty] |= no_data
    return image, variance, Mask(bits, planes), coverage


def _add_covariances(variance, layers, weights, r):
    """What the pairs of layers add, in place, where both have data."""
    for i, a in enumerate(layers):
        for j, b in enumerate(layers[i + 1 :], start=i + 1):
            cuts = _common_cuts(a, b)
            if cuts is None or r[i, j] == 0:
                continue
            (cut_a, cut_b), (rows, columns) = cuts, a.resampled.slices
            weight = weights[i][cut_a] * weights[j][cut_b]
            product = a.resampled.variance[cut_a] * b.resampled.variance[cut_b]
            both = np.where(weight > 0, weight * np.sqrt(product), np.float32(0))
            y0, x0 = rows.start + cut_a[0].start, columns.start + cut_a[1].start
            ny, nx = both.shape
            variance[y0 : y0 + ny, x0 : x0 + nx] += np.float32(2 * r[i, j]) * both


_BAD = ("BAD", "SAT", "CR", "EDGE", "SUSPECT")
"""Planes whose pixels are left out of the mean where another coadd has a good one."""


def _spare_bad_pixels(layers, shape):
    """The layers' weights, without bad pixels wherever a good one of another layer is at hand."""
    bad = [(layer.weight > 0) & layer.resampled.mask.any(*_BAD) for layer in layers]
    if len(layers) == 1 or not any(b.any() for b in bad):
        return [layer.weight for layer in layers]
    good = np.zeros(shape, bool)
    for layer, b in zip(layers, bad, strict=True):
        good[layer.resampled.slices] |= (layer.weight > 0) & ~b
    return [
        np.where(b & good[layer.resampled.slices], np.float32(0), layer.weight)
        for layer, b in zip(layers, bad, strict=True)
    ]


def node_shares(layers, x, y):
    """(n_layers, n_nodes) share of each coadd in the template at the nodes.

    A node outside every coadd takes the shares of the nearest one inside.
    """
    xi, yi = np.rint(x).astype(int), np.rint(y).astype(int)
    shares = np.zeros((len(layers), x.size))
    for k, layer in enumerate(layers):
        rows, cols = layer.resampled.slices
        inside = (xi >= cols.start) & (xi < cols.stop) & (yi >= rows.start) & (yi < rows.stop)
        shares[k, inside] = layer.weight[yi[inside] - rows.start, xi[inside] - cols.start]
    total = shares.sum(axis=0)
    empty = total == 0
    if empty.all():
        shares[:] = np.array([layer.weight.sum() for layer in layers])[:, None]
    elif empty.any():
        lost, known = np.flatnonzero(empty), np.flatnonzero(~empty)
        distance = np.hypot(x[lost, None] - x[known], y[lost, None] - y[known])
        shares[:, lost] = shares[:, known[np.argmin(distance, axis=1)]]
    return shares / shares.sum(axis=0)


def combine_psf(layers, x, y, shares, order):
    """PSF of the weighted mean at the nodes, on the exposure's grid.

    Each coadd's own PSF is carried through the local linear part of the mapping with the same
    kernel as its pixels. Stamps are not renormalised: their sum stays the enclosed flux.

    Returns
    -------
    psf
        GridPsf.
    moved
        (number, distance): at so many nodes a coadd's PSF is not known, because none of its inputs
        lies there, and was taken from the nearest place, at most so many coadd pixels away.
    """
    size = max(_target_size(layer) for layer in layers)
    stamps = np.zeros((x.size, size, size))
    number, distance = 0, 0.0
    for share, layer in zip(shares, layers, strict=True):
        used = np.flatnonzero(share > 0)
        if used.size == 0:
            continue
        u, v = layer.pixel_map.at(x[used], y[used])
        u, v, moved = nearest_known(layer.psf, u, v)
        number += np.count_nonzero(moved)
        distance = max(distance, moved.max())
        jacobians = layer.pixel_map.jacobian(x[used], y[used])
        for node, stamp, jacobian in zip(used, layer.psf.stamps(u, v), jacobians, strict=True):
            stamps[node] += share[node] * warp_stamp(stamp, jacobian, size, order=order)
    return GridPsf(x, y, stamps), (number, distance)


def _target_size(layer):
    """Odd stamp size on the exposure's grid that holds the coadd's stamp."""
    xm = np.array([layer.pixel_map.x_nodes.mean()])
    ym = np.array([layer.pixel_map.y_nodes.mean()])
    scale = np.sqrt(layer.pixel_map.area(xm, ym)[0, 0])
    return 2 * int(np.ceil(layer.psf.size / 2.0 / scale)) + 1
