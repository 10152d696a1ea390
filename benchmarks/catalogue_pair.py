"""One simulated pair through the chain to its DiaSource catalogue, and what is true of each source.

Shared by benchmarks/catalogue.py, which judges catalogues, and benchmarks/train_reliability.py,
which learns from them.
"""

from dataclasses import dataclass

import numpy as np
from science import make_template
from scipy import ndimage
from scipy.spatial import cKDTree

from skydelta.calibrate import calibrate
from skydelta.decorrelate import decorrelate
from skydelta.detect import detect
from skydelta.detections import mask_with_planes
from skydelta.local_calibration import local_columns
from skydelta.mask import UNUSABLE
from skydelta.matched_template import MatchedTemplate
from skydelta.measure import measure
from skydelta.quality import RADIUS, at_pixels, far_from_saturation
from skydelta.report.entries import is_flagged
from skydelta.simulate import simulate_pair
from skydelta.subtract import subtract

PIXEL_AREA = (0.2 / 3600) ** 2
"""deg^2 of a simulated pixel."""

REAL, DUPLICATE, ARTEFACT = 1, -1, 0
"""What a source is: the one nearest to an event, another within 3 px of one, none of them."""


@dataclass(frozen=True)
class Judged:
    """A catalogue and its truth.

    Parameters
    ----------
    pair, template, difference, detections
        What it was made from.
    columns, catalogue
        Instrumental columns and DiaSource columns, sky sources included.
    kind
        (n,) REAL, DUPLICATE or ARTEFACT.
    event
        (n,) row of the truth nearest to each source.
    kernel_sum
        Science counts per template count.
    """

    pair: object
    template: object
    difference: object
    detections: object
    columns: dict
    catalogue: dict
    kind: np.ndarray
    event: np.ndarray
    kernel_sum: float

    @property
    def unflagged(self):
        """(n,) bool: no flag that the report counts, no dipole, no sky source."""
        catalogue = self.catalogue
        return ~(is_flagged(catalogue) | catalogue["isDipole"] | catalogue["sky_source"])

    @property
    def area(self):
        """deg^2."""
        ny, nx = self.pair.science.shape
        return ny * nx * PIXEL_AREA

    def away(self):
        """(events,) bool: farther than 10 px from saturation, 3 px from masked pixels of the input.

        Cosmic rays that nobody masked count as masks where they truly are; what detection masks on
        its own account does not.
        """
        science = self.pair.science
        hidden = science.mask.any(*UNUSABLE) | self.pair.cosmic_rays
        clear = far_from_saturation(science, self.template.exposure)
        clear &= ~ndimage.binary_dilation(hidden, iterations=3)
        return at_pixels(clear, self.pair.truth["x"], self.pair.truth["y"])


def simulated(size, fwhm_science, fwhm_template, seed, *, registration=20.0, events=400, trails=2):
    """A pair with unmasked cosmic rays, saturated stars and trails.

    Parameters
    ----------
    size
        px along a side.
    fwhm_science, fwhm_template
        arcsec.
    seed
        int.
    registration
        rms registration error, mas.
    events
        Per 2048 x 2048 px.
    trails
        Satellite trails.
    """
    return simulate_pair(
        (size, size),
        fwhm_science=fwhm_science,
        fwhm_template=fwhm_template,
        seed=seed,
        n_transients=round(events * (size / 2048) ** 2),
        cosmic_rays="unmasked",
        registration_error_mas=registration,
        trails=trails,
    )


def judged_pair(*arguments, **options):
    """The Judged catalogue of a `simulated` pair with default options."""
    pair = simulated(*arguments, **options)
    return judge(pair, make_template(pair), arguments[3])


def judge(pair, template, seed, *, detect_options=None, measure_options=None):
    """The Judged catalogue of the chain, with default options where none are given."""
    science, correlation = pair.science, template.noise_correlation
    raw = subtract(science, template.exposure, correlation)
    white = decorrelate(raw, science, template.exposure, correlation)
    difference = white.exposure
    found = detect(
        difference,
        psf=white.detection_psf,
        score=white.score,
        matched=MatchedTemplate.of(template.exposure, difference.meta),
        sky_seed=seed,
        options=detect_options,
    )
    difference = difference.replace(mask=mask_with_planes(difference.mask, found))
    columns = measure(
        difference,
        science,
        template.exposure,
        found,
        kernel_sum=raw.flux_ratio,
        kernel_error=raw.flux_error,
        options=measure_options,
    )
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    columns |= local_columns(difference, x, y)
    scale = template.exposure.photo_calib.scale
    catalogue = calibrate(columns, difference, 1, 0, template_scale=scale)
    kind, event = true_kinds(columns, pair.truth)
    return Judged(
        pair, template, difference, found, columns, catalogue, kind, event, raw.flux_ratio
    )


def true_kinds(columns, truth):
    """What each source is, and the event nearest to it."""
    at = np.column_stack([columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]])
    events = np.column_stack([truth["x"], truth["y"]])
    distance, event = cKDTree(events).query(at)
    own = np.flatnonzero(~columns["sky_source"])
    nearest = np.full(len(events), -1)
    _, index = cKDTree(at[own]).query(events)
    nearest[:] = own[index]
    near = distance < RADIUS
    kind = np.where(near, DUPLICATE, ARTEFACT)
    kind[near & (nearest[event] == np.arange(len(at)))] = REAL
    return kind, event
