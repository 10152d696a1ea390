"""Names of LSSTCam's science detectors (also imSim's): raft and sensor from the number, and back.

Nine detectors to a raft, rafts row by row: obs_lsst, policy/lsstCam.
"""

import re

_RAFTS = (
    *("R01", "R02", "R03"),
    *("R10", "R11", "R12", "R13", "R14"),
    *("R20", "R21", "R22", "R23", "R24"),
    *("R30", "R31", "R32", "R33", "R34"),
    *("R41", "R42", "R43"),
)
_SIDE = 3
_SENSORS = _SIDE * _SIDE
_FULL_NAME = re.compile(r"(R\d\d)[_-]?(S\d\d)", re.ASCII)

N_DETECTORS = len(_RAFTS) * _SENSORS
"""Science detectors; those of the corner rafts are not among them."""


def raft_and_sensor(detector):
    """Names of a detector's raft and sensor.

    Parameters
    ----------
    detector
        0 to 188.

    Returns
    -------
    (str, str)
        For example ``("R20", "S21")`` for 79.

    Raises
    ------
    ValueError
        If LSSTCam has no science detector of that number.
    """
    if not 0 <= detector < N_DETECTORS:
        msg = f"LSSTCam's science detectors are 0 to {N_DETECTORS - 1}; there is no {detector}"
        raise ValueError(msg)
    raft, sensor = divmod(int(detector), _SENSORS)
    row, column = divmod(sensor, _SIDE)
    return _RAFTS[raft], f"S{row}{column}"


def detector_number(raft, sensor):
    """The number of a detector; inverse of `raft_and_sensor`.

    Raises
    ------
    ValueError
        If there is no such science detector.
    """
    try:
        row, column = (int(digit) for digit in sensor.removeprefix("S"))
        first = _RAFTS.index(raft) * _SENSORS
    except ValueError as error:
        msg = f"{raft}_{sensor} is no science detector of LSSTCam"
        raise ValueError(msg) from error
    if not (0 <= row < _SIDE and 0 <= column < _SIDE):
        msg = f"{raft}_{sensor} is no science detector of LSSTCam"
        raise ValueError(msg)
    return first + row * _SIDE + column


def detector_of_name(name):
    """The number of a detector called like ``R20_S21``; None if `name` is not of that form."""
    match = _FULL_NAME.fullmatch(str(name).strip())
    try:
        return detector_number(*match.groups()) if match else None
    except ValueError:
        return None
