"""The CCD that took an exposure (afw: cameraGeom/Detector.cc)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Amplifier:
    """One amplifier of a detector.

    Parameters
    ----------
    name
        For example ``"C00"``.
    bbox
        (x_min, y_min, x_max, y_max) of its pixels in the assembled image, inclusive.
    gain
        Electrons per ADU.
    saturation
        ADU; NaN if unknown.
    read_noise
        Electrons.
    """

    name: str
    bbox: tuple
    gain: float
    saturation: float = np.nan
    read_noise: float = np.nan


@dataclass(frozen=True)
class Detector:
    """A CCD.

    Parameters
    ----------
    name
        For example ``"R20_S21"``.
    number
        Its number in the camera.
    serial
        Serial number of the device.
    bbox
        (x_min, y_min, x_max, y_max) of its pixels, inclusive.
    amplifiers
        Amplifiers.
    pixel_size
        (x, y), mm.
    physical_type
        For example ``"ITL"``.
    record
        The archive's own rows, so that what is not named here is written as it was read; None for
        a detector made here.
    """

    name: str
    number: int
    serial: str = ""
    bbox: tuple = (0, 0, -1, -1)
    amplifiers: tuple = ()
    pixel_size: tuple = (0.01, 0.01)
    physical_type: str = ""
    record: Any = field(default=None, compare=False, repr=False)

    @property
    def gain(self):
        """Mean of the amplifiers' gains, electrons per ADU; NaN if none is known."""
        gains = [amplifier.gain for amplifier in self.amplifiers]
        known = [gain for gain in gains if np.isfinite(gain) and gain > 0]
        return float(np.mean(known)) if known else np.nan

    @property
    def saturation(self):
        """The lowest saturation level of the amplifiers, ADU; inf if none is known."""
        levels = [amplifier.saturation for amplifier in self.amplifiers]
        return min((level for level in levels if np.isfinite(level) and level > 0), default=np.inf)
