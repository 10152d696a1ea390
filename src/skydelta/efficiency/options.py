"""What is injected, where, and how it is looked for."""

from dataclasses import dataclass

from skydelta.errors import SkydeltaError

SNR = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 10.0, 14.0, 20.0, 30.0, 50.0)
"""S/N of the injected sources by default, dense about the threshold."""


class NoRoomError(SkydeltaError):
    """Nowhere on the exposure can a source be injected."""

    status = "no_room"


@dataclass(frozen=True)
class EfficiencyOptions:
    """The section `efficiency` of the configuration.

    Parameters
    ----------
    methods
        Names of variants of the subtraction (`skydelta.compare.variants.BUILT_IN`); none of them
        means the configured one.
    exposures
        Most exposures to inject into.
    realisations
        Times that each of them is injected into, at other positions each time.
    density
        Injected sources per 10^6 px.
    snr
        Grid of the S/N of the injected sources on the difference.
    magnitudes
        Grid of their AB magnitudes in place of `snr`, or None.
    on_hosts
        Fraction placed on stars and galaxies of the template.
    negative_fraction
        Fraction of negative flux.
    separation
        Least distance of two injected sources, FWHM.
    match_radius
        Greatest distance of a detection from its source, FWHM.
    seed
        Of positions and photon noise.
    """

    methods: tuple = ()
    exposures: int = 20
    realisations: int = 1
    density: float = 50.0
    snr: tuple = SNR
    magnitudes: tuple | None = None
    on_hosts: float = 0.5
    negative_fraction: float = 0.0
    separation: float = 10.0
    match_radius: float = 1.0
    seed: int = 1


def spread(rows, count, usable):
    """Rows of a survey that stand for all of them.

    Parameters
    ----------
    rows
        With ``band`` and ``key``, in the order of the table.
    count
        Most rows to take.
    usable
        Function of a row: whether it is worth trying. Without any such row all are.

    Returns
    -------
    list
        Evenly spaced in the table sorted by band, so that every band has its share.
    """
    rows = [row for row in rows if usable(row)] or list(rows)
    rows = sorted(rows, key=lambda row: row.band)
    if len(rows) <= count:
        return rows
    return [rows[int((k + 0.5) * len(rows) / count)] for k in range(count)]
