"""When, where and under what sky an exposure was taken (afw: image/VisitInfo.cc)."""

import math
from dataclasses import dataclass

_UNIX_EPOCH_MJD = 40587


@dataclass(frozen=True)
class VisitInfo:
    """What LSST files say of a visit; NaN, "" or None where they do not.

    Parameters
    ----------
    exposure_time, dark_time
        s.
    tai_ns
        Mid-exposure, ns since 1970-01-01T00:00:00 TAI.
    ut1
        Mid-exposure, MJD UT1.
    era
        Earth rotation angle, deg.
    boresight_ra, boresight_dec
        ICRS, deg.
    boresight_azimuth, boresight_altitude
        Refracted, topocentric, deg.
    boresight_airmass
        At the boresight, 1 at the zenith.
    rotation_angle
        Of the instrument, deg; what it is measured from is said by `rotation_type`.
    rotation_type
        UNKNOWN, SKY, HORIZON or MOUNT.
    longitude, latitude, elevation
        Of the telescope: deg east, deg, m.
    air_temperature, air_pressure, humidity
        C, Pa, per cent.
    instrument
        Its short name.
    visit
        Number of the visit, 0 if unknown.
    focus_z
        Defocus, mm.
    observation_type, science_program, observation_reason, target
        Texts as the observatory has them.
    has_simulated_content
        Whether something was simulated.
    """

    exposure_time: float = math.nan
    dark_time: float = math.nan
    tai_ns: int | None = None
    ut1: float = math.nan
    era: float = math.nan
    boresight_ra: float = math.nan
    boresight_dec: float = math.nan
    boresight_azimuth: float = math.nan
    boresight_altitude: float = math.nan
    boresight_airmass: float = math.nan
    rotation_angle: float = math.nan
    rotation_type: str = "UNKNOWN"
    longitude: float = math.nan
    latitude: float = math.nan
    elevation: float = math.nan
    air_temperature: float = math.nan
    air_pressure: float = math.nan
    humidity: float = math.nan
    instrument: str = ""
    visit: int = 0
    focus_z: float = math.nan
    observation_type: str = ""
    science_program: str = ""
    observation_reason: str = ""
    target: str = ""
    has_simulated_content: bool = False

    @property
    def mjd_tai(self):
        """Mid-exposure, MJD TAI (NaN if unknown)."""
        if self.tai_ns is None:
            return math.nan
        days, rest = divmod(self.tai_ns, 86400 * 10**9)
        return _UNIX_EPOCH_MJD + days + rest / 86400e9


def tai_ns_of_mjd(mjd):
    """Ns since 1970 TAI of an MJD TAI; None for NaN.

    `VisitInfo.mjd_tai` gives the same MJD again, to the last bit.
    """
    if not math.isfinite(mjd):
        return None
    days = math.floor(mjd)
    return (days - _UNIX_EPOCH_MJD) * 86400 * 10**9 + round((mjd - days) * 86400e9)
