"""Coadds in LSST's form: patches of a tract whose PSF is a CoaddPsf, drawn with that PSF."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skydelta.exposure import Exposure
from skydelta.io.footprints import footprint_of
from skydelta.lsst.coadd_psf import CoaddPsf, CoaddPsfInput
from skydelta.lsst.exposure_info import CoaddInputs, ExposureCatalog, ExposureInfo, FilterLabel
from skydelta.lsst.offset_psf import OffsetPsf
from skydelta.lsst.photo_calib import BoundedPhotoCalib
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.simulate.detector import COADD_DEFECTS, read_out
from skydelta.simulate.render import render_sky
from skydelta.simulate.tract import covered


class TractTemplate:
    """The template of one band on a Window of a tract.

    Parameters
    ----------
    window
        skydelta.simulate.lsst_plan.Window.
    inputs
        TemplateInput, of which the first ones cover all of the window's data.
    """

    def __init__(self, window, inputs):
        self.window = window
        self.inputs = inputs

    @cached_property
    def sky_wcs(self):
        """AstSkyWcs of the tract's pixels."""
        return AstSkyWcs.from_fits(self.window.tract.wcs)

    @cached_property
    def psf(self):
        """CoaddPsf of all inputs, on the tract's pixels."""
        return CoaddPsf(self.sky_wcs, tuple(map(_as_psf_input, self.inputs)))

    @cached_property
    def _patches_of(self):
        """Indices of the patches that each input meets."""
        outlines = (footprint_of(one.wcs, one.shape).outline for one in self.inputs)
        return [{p.index for p in self.window.tract.find_patches(o)} for o in outlines]

    def inputs_of(self, patch):
        """The inputs that reach into a patch."""
        return tuple(
            one
            for one, patches in zip(self.inputs, self._patches_of, strict=True)
            if patch.index in patches
        )

    def draw(self, images, sky, band, conditions, rng):
        """The coadds of all patches that hold data.

        The noise is drawn once on the window: patches of a tract share it where they overlap.
        Tracts do not share theirs.

        Parameters
        ----------
        images
            [(wcs, shape)] of the exposures: there are data up to 60 px from them.
        sky, band
            What to draw; events with their template fluxes.
        conditions
            Conditions of the coadds.
        rng
            numpy Generator.

        Returns
        -------
        list of (Patch, Exposure)
            With an OffsetPsf of the CoaddPsf of each patch's own inputs, which on this patch is
            that of all; parent pixels are the tract's.
        """
        window = self.window
        read = read_out(
            render_sky(
                window.shape,
                window.wcs,
                OffsetPsf(self.psf, *window.bbox[:2]),
                sky,
                band,
                sky.events.template_flux[band],
                conditions.counts_per_njy,
                np.sqrt(conditions.sky_variance),
            ),
            conditions,
            rng,
            COADD_DEFECTS,
        )
        data = covered(window, images)
        read.image[~data] = 0.0
        read.variance[~data] = np.nan
        read = replace(read, mask=read.mask.with_plane("NO_DATA", ~data))
        return [
            (patch, self._cut(patch, read, band, conditions))
            for patch in window.patches
            if data[window.slices(patch)].any()
        ]

    def _cut(self, patch, read, band, conditions):
        box = self.window.slices(patch)
        inputs = self.inputs_of(patch)
        x0, y0 = patch.outer_bbox[:2]
        psf = CoaddPsf(self.sky_wcs, tuple(map(_as_psf_input, inputs)))
        calib = PhotoCalib.from_zero_point(conditions.zero_point)
        return Exposure(
            image=np.ascontiguousarray(read.image[box]),
            variance=np.ascontiguousarray(read.variance[box]),
            mask=Mask(np.ascontiguousarray(read.mask.array[box]), read.mask.planes),
            wcs=patch.wcs,
            psf=OffsetPsf(psf, x0, y0),
            photo_calib=calib,
            band=band,
            exptime=conditions.exptime,
            gain=conditions.gain,
            saturate=conditions.saturate,
            xy0=(x0, y0),
            info=ExposureInfo(
                filter_label=FilterLabel(band, band),
                components={"COADD_INPUTS": _coadd_inputs(inputs, calib)},
                sky_wcs=self.sky_wcs,
            ),
        )


def _as_psf_input(one):
    return CoaddPsfInput(
        psf=one.psf,
        wcs=one.sky_wcs,
        weight=one.weight,
        bbox=one.bbox,
        valid_polygon=one.polygon,
        id=one.id,
        goodpix=_area(one.polygon),
    )


def _coadd_inputs(inputs, calib):
    """The catalogues of the visits and CCDs that went into a coadd (afw: CoaddInputs)."""
    first = {one.visit: one for one in reversed(inputs)}
    visits = [first[visit] for visit in sorted(first)]
    by_ccd = {
        "ccd": np.array([one.detector for one in inputs], np.int32),
        "visit": np.array([one.visit for one in inputs], np.int64),
    }
    return CoaddInputs(
        visits=_catalog(visits, [one.visit for one in visits], calib, {}),
        ccds=_catalog(inputs, [one.id for one in inputs], calib, by_ccd),
    )


def _catalog(inputs, ids, calib, columns):
    corners = np.array([one.bbox for one in inputs], np.int32).T
    names = ("bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y")
    return ExposureCatalog(
        columns={
            "id": np.array(ids, np.int64),
            **dict(zip(names, corners, strict=True)),
            **columns,
            "goodpix": np.array([_area(one.polygon) for one in inputs], np.int32),
            "weight": np.array([one.weight for one in inputs], float),
            "filter": np.array([one.band for one in inputs], "U32"),
        },
        components={
            "wcs": tuple(one.sky_wcs for one in inputs),
            "psf": tuple(one.psf for one in inputs),
            "photoCalib": (BoundedPhotoCalib(calib.scale, calib.scale_err),) * len(inputs),
            "validPolygon": tuple(one.polygon for one in inputs),
        },
    )


def _area(polygon):
    """Pixels inside a polygon."""
    x, y = np.array(polygon.vertices).T
    return round(0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
