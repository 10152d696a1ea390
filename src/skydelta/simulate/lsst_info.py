"""What a calexp says beside its pixels: the simulated camera, its visit and its calibration."""

import numpy as np

from skydelta.lsst.bounded_field import ChebyshevBoundedField
from skydelta.lsst.camera import raft_and_sensor
from skydelta.lsst.detector import Amplifier, Detector
from skydelta.lsst.exposure_info import ApCorrMap, ExposureInfo, FilterLabel
from skydelta.lsst.polygon import Polygon
from skydelta.lsst.visit_info import VisitInfo, tai_ns_of_mjd

_LONGITUDE, _LATITUDE, _ELEVATION = -70.7494, -30.2446, 2663.0
"""Of the Rubin Observatory: deg east, deg, m."""

_APERTURE_CORRECTION = ((1.0, 0.002), (-0.001, 0.0))
"""Chebyshev coefficients of base_PsfFlux_instFlux: a little more than nothing."""


def exposure_info(pointing, centre):
    """The ExposureInfo of a pointing's calexp.

    Parameters
    ----------
    pointing
        skydelta.simulate.observe.Pointing.
    centre
        (ra, dec) of the boresight, deg.
    """
    ny, nx = pointing.shape
    bbox = 0, 0, nx - 1, ny - 1
    correction = ChebyshevBoundedField(np.array(_APERTURE_CORRECTION), bbox)
    error = ChebyshevBoundedField(np.zeros((1, 1)), bbox)
    corners = ((-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5))
    return ExposureInfo(
        visit_info=_visit_info(pointing, centre),
        filter_label=FilterLabel(pointing.band, pointing.band),
        exposure_id=pointing.visit * 1000 + pointing.detector,
        components={
            "DETECTOR": _detector(pointing, bbox),
            "VALID_POLYGON": Polygon(corners),
            "AP_CORR_MAP": ApCorrMap(
                {"base_PsfFlux_instFlux": correction, "base_PsfFlux_instFluxErr": error}
            ),
        },
    )


def _visit_info(pointing, centre):
    cd = pointing.wcs.wcs.cd
    return VisitInfo(
        exposure_time=pointing.conditions.exptime,
        dark_time=pointing.conditions.exptime,
        tai_ns=tai_ns_of_mjd(pointing.mjd),
        boresight_ra=float(centre[0]),
        boresight_dec=float(centre[1]),
        rotation_angle=float(np.degrees(np.arctan2(cd[0, 1], cd[1, 1]))),
        rotation_type="SKY",
        longitude=_LONGITUDE,
        latitude=_LATITUDE,
        elevation=_ELEVATION,
        instrument="skydelta-sim",
        visit=pointing.visit,
        has_simulated_content=True,
    )


def _detector(pointing, bbox):
    raft, sensor = raft_and_sensor(pointing.detector)
    conditions = pointing.conditions
    amplifier = Amplifier(
        name="C00",
        bbox=bbox,
        gain=conditions.gain,
        saturation=conditions.full_well / conditions.gain,
        read_noise=conditions.read_noise,
    )
    return Detector(
        name=f"{raft}_{sensor}",
        number=pointing.detector,
        serial=f"SIM-{pointing.detector:03d}",
        bbox=bbox,
        amplifiers=(amplifier,),
    )
