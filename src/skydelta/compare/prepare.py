"""What all methods have in common on one exposure: its images, its stars, its blank sky."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skydelta.errors import InputError, MissingFileError, TooFewStarsError
from skydelta.exposure import Exposure
from skydelta.mask import UNUSABLE

log = logging.getLogger(__name__)

_GRID_TOLERANCE = 0.5
"""px that the grid of a template may be off that of its exposure."""


@dataclass(frozen=True)
class PrepareJob:
    """The preparation of one exposure.

    Parameters
    ----------
    exposure
        Its row as plain values: band, path, psf, weight and mask.
    template
        Path of a template that exists, or None.
    coadds
        Rows of the coadds to make one of, or None if none are known.
    output
        Path for a template that is made.
    inputs, template_options
        The sections input and template of the configuration.
    events
        Columns of the true changes, or None.
    folder
        For the planes that later steps read: blank.npy, far.npy, science.npy, template.npy.
    """

    exposure: dict
    template: Path | None
    coadds: list | None
    output: Path
    inputs: dict
    template_options: dict
    events: dict | None
    folder: Path


@dataclass(frozen=True)
class Prepared:
    """What every method is given.

    Parameters
    ----------
    science
        Exposure with PSF.
    template
        Path of the template.
    stars
        (x, y, flux) of constant unsaturated stars, brightest first, px and counts.
    events
        Columns of the true changes, or None.
    folder
        Of the planes.
    fwhm
        Of the science PSF at the image centre, px.
    remarks
        What a reader should know of the template, one sentence each.
    """

    science: Exposure
    template: Path
    stars: tuple
    events: dict | None
    folder: Path
    fwhm: float
    remarks: tuple = ()


def prepare(job):
    """The Prepared of a PrepareJob; its planes are written into the job's folder.

    Raises
    ------
    SkydeltaError
        If exposure or template cannot be had.
    """
    from skydelta.io.inputs import read_science
    from skydelta.io.templates import read_template
    from skydelta.quality import far_from_saturation, source_free

    science = read_science(job.exposure, job.inputs)
    path = job.template or _made_template(job)
    template, _ = read_template(path)
    _same_grid(science, template, path)
    fwhm = science.central_psf_shape.fwhm
    planes = {
        "blank": source_free(science, template),
        "far": far_from_saturation(science, template),
        "science": _shown(science, "BAD", "NO_DATA"),
        "template": _shown(template, "NO_DATA"),
    }
    for name, plane in planes.items():
        np.save(job.folder / f"{name}.npy", plane)
    stars = constant_stars(science, template, job.events, fwhm)
    remarks = _remarks(template, job.template_options)
    return Prepared(science, path, stars, job.events, job.folder, float(fwhm), remarks)


def _remarks(template, options):
    """Coadds that were left out, and whether the workflow made it with other options."""
    from skydelta.io.inputs import left_out

    remarks = left_out(template)
    start = "template configuration: "
    made = [note.removeprefix(start) for note in template.notes if note.startswith(start)]
    if made and made[-1] != json.dumps(options, sort_keys=True):
        remarks.append("the template was made with other options than those configured")
    return tuple(remarks)


def _made_template(job):
    """Path of the template, made of the coadds as the workflow does."""
    from skydelta.io.inputs import read_coadds, read_grid
    from skydelta.io.templates import write_template
    from skydelta.template import build_template

    if job.coadds is None:
        msg = (
            "there is no template of this exposure: name the coadds with --coadds, or the "
            "products of a run of the workflow with --results"
        )
        raise MissingFileError(msg)
    lost = []
    wcs, shape = read_grid(job.exposure["path"])
    coadds = read_coadds(job.coadds, job.inputs, lost)
    options = job.template_options
    template = build_template(wcs, shape, coadds, band=job.exposure["band"], **options)
    template = replace(template, exposure=template.exposure.noted(*lost))
    job.output.parent.mkdir(parents=True, exist_ok=True)
    write_template(job.output, template)
    return job.output


def _same_grid(science, template, path):
    """Refuse a template that was made for another image under the same name."""
    if science.shape != template.shape:
        msg = f"the template {path} has another shape than the exposure: remove it or --results"
        raise InputError(msg)
    ny, nx = science.shape
    x, y = np.array([0.0, nx - 1.0, (nx - 1) / 2]), np.array([0.0, ny - 1.0, (ny - 1) / 2])
    u, v = template.wcs.all_world2pix(*science.wcs.all_pix2world(x, y, 0), 0, quiet=True)
    if not np.hypot(u - x, v - y).max() < _GRID_TOLERANCE:
        msg = f"the template {path} lies elsewhere on the sky: remove it or --results"
        raise InputError(msg)


def _shown(exposure, *planes):
    """Pixels for pictures: NaN where there are none."""
    empty = exposure.mask.any(*planes) & ~exposure.mask.any("SAT")
    return np.where(empty, np.float32(np.nan), exposure.image)


def constant_stars(science, template, events, fwhm):
    """(x, y, flux) of unsaturated stars of S/N 20 that do not vary, brightest first.

    Stars within three FWHM of a true change, and those whose flux ratio of the two images is off,
    are left out. Empty arrays where there are too few to tell.
    """
    from skydelta.background import estimate_background
    from skydelta.kernel_stars import kernel_stars
    from skydelta.quality import apart_from
    from skydelta.registration import register

    flat = []
    for exposure in (science, template):
        background = estimate_background(exposure.image, exposure.mask.any(*UNUSABLE), passes=2)
        flat.append(exposure.replace(image=exposure.image - background.level))
    half = int(np.ceil(1.5 * fwhm))
    try:
        found = kernel_stars(science, template, half, half)
        stars = register(*flat, found).stars
    except TooFewStarsError as error:
        log.warning("no stars to measure residuals on: %s", error)
        return tuple(np.zeros((3, 0)))
    good = np.asarray(stars["used"], bool)
    if events is not None:
        good &= apart_from(stars["x"], stars["y"], events["x"], events["y"], 3 * fwhm)
    order = np.flatnonzero(good)[np.argsort(-stars["flux"][good], kind="stable")]
    return tuple(np.asarray(stars[name], float)[order] for name in ("x", "y", "flux"))
