"""Coadds on a skymap: one tract, its overlapping patches, and the template drawn on them."""

from dataclasses import dataclass, replace

import numpy as np

from skydelta.exposure import Exposure
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.psf import sample_psf
from skydelta.simulate.astrometry import moved_origin, outline, tan_wcs
from skydelta.simulate.detector import COADD_DEFECTS, read_out
from skydelta.simulate.optics import PSF_NODES, STAMP_SIZE
from skydelta.simulate.render import render_sky

_TANGENT_OFFSET_DEG = 0.3
"""Distance of the tract's tangent point from the field: north is then not quite up, as usual."""


@dataclass(frozen=True)
class Tract:
    """A pixel grid cut into patches.

    Parameters
    ----------
    wcs
        Of the whole grid.
    patch_inner
        Step from one patch to the next along x and y, px.
    patch_border
        px by which a patch reaches beyond that on all sides, so that neighbours share twice as
        many rows or columns.
    n_patches
        (along x, along y).
    """

    wcs: object
    patch_inner: tuple
    patch_border: int
    n_patches: tuple

    @property
    def shape(self):
        """(ny, nx) of the grid."""
        (nx, ny), (step_x, step_y) = self.n_patches, self.patch_inner
        return ny * step_y + 2 * self.patch_border, nx * step_x + 2 * self.patch_border

    def patches(self):
        """For each patch ((px, py), x0, y0, slices): its index, its first pixel, its box."""
        step_x, step_y = self.patch_inner
        overlap = 2 * self.patch_border
        for py in range(self.n_patches[1]):
            for px in range(self.n_patches[0]):
                x0, y0 = px * step_x, py * step_y
                box = slice(y0, y0 + step_y + overlap), slice(x0, x0 + step_x + overlap)
                yield (px, py), x0, y0, box


def tract_over(images, *, patch_inner, patch_border, margin=60):
    """A tract about a field, north up at its tangent point.

    Parameters
    ----------
    images
        [(wcs, shape)] to be covered.
    patch_inner
        Size of the patches' inner regions, px; None for a single patch that covers all.
    patch_border
        See Tract.
    margin
        px around the images that are covered, too.
    """
    corners = np.concatenate([np.transpose(outline(*image)) for image in images])
    ra, dec = corners.mean(axis=0)
    wcs = tan_wcs(ra + _TANGENT_OFFSET_DEG, dec - _TANGENT_OFFSET_DEG, (0.0, 0.0))
    x, y = wcs.wcs_world2pix(corners[:, 0], corners[:, 1], 0)
    span = np.array([np.ptp(x), np.ptp(y)]) + 2 * margin
    step = np.ceil(span) if patch_inner is None else np.full(2, patch_inner)
    n = np.ceil(span / step)
    size = n * step + 2 * patch_border
    middle = np.array([x.min() + x.max(), y.min() + y.max()]) / 2
    first = np.round(middle - (size - 1) / 2)
    return Tract(moved_origin(wcs, *first), _ints(step), patch_border, _ints(n))


def _ints(pair):
    return int(pair[0]), int(pair[1])


def covered(tract, images, margin=60):
    """(ny, nx) bool: tract pixels on an image or within `margin` px of one."""
    inside = np.zeros(tract.shape, bool)
    yy, xx = np.ogrid[: tract.shape[0], : tract.shape[1]]
    for image in images:
        x, y = tract.wcs.wcs_world2pix(*outline(*image), 0)
        x_c, y_c = x.mean(), y.mean()
        within = np.ones(tract.shape, bool)
        for i in range(4):
            dx, dy = x[i] - x[i - 1], y[i] - y[i - 1]
            length = np.hypot(dx, dy)
            toward = np.sign((x_c - x[i]) * dy - (y_c - y[i]) * dx)
            distance = toward * ((xx - x[i]) * dy - (yy - y[i]) * dx) / length
            within &= distance > -margin
        inside |= within
    return inside


def observe_tract(tract, psf, sky, band, conditions, rng, *, data=None, saturation=True):
    """Coadds of all patches that hold data.

    The noise is drawn once on the tract's grid: overlapping patches share it, as LSST's do.

    Parameters
    ----------
    tract
        Tract.
    psf
        MoffatField on the tract's grid.
    sky, band
        What to draw; the events with their template fluxes.
    conditions
        Conditions of the coadd.
    rng
        numpy Generator.
    data
        (ny, nx) bool, where the coadd has data; the rest is NO_DATA. Default everywhere.
    saturation
        Whether the cores of bright stars are clipped and flagged.

    Returns
    -------
    list of ((px, py), Exposure)
    """
    source = render_sky(
        tract.shape,
        tract.wcs,
        psf,
        sky,
        band,
        sky.events.template_flux[band],
        conditions.counts_per_njy,
        np.sqrt(conditions.sky_variance),
    )
    read = read_out(source, conditions, rng, replace(COADD_DEFECTS, saturation=saturation))
    data = np.ones(tract.shape, bool) if data is None else data
    mask = read.mask.with_plane("NO_DATA", ~data)
    read.image[~data] = 0.0
    read.variance[~data] = np.nan
    coadds = []
    for patch, x0, y0, box in tract.patches():
        if not data[box].any():
            continue
        exposure = Exposure(
            image=np.ascontiguousarray(read.image[box]),
            variance=np.ascontiguousarray(read.variance[box]),
            mask=Mask(np.ascontiguousarray(mask.array[box]), mask.planes),
            wcs=moved_origin(tract.wcs, x0, y0),
            psf=sample_psf(psf.shifted(x0, y0), data[box].shape, PSF_NODES, STAMP_SIZE),
            photo_calib=PhotoCalib.from_zero_point(conditions.zero_point),
            band=band,
            exptime=conditions.exptime,
            gain=conditions.gain,
            saturate=conditions.saturate,
        )
        coadds.append((patch, exposure))
    return coadds
