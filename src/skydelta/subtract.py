"""Subtraction by any method: the choices, and the call."""

from dataclasses import dataclass, field, fields, replace

import numpy as np

from skydelta.alard_lupton import BasisOptions
from skydelta.kernel_fit import FitOptions
from skydelta.kernel_stars import StarOptions

METHODS = ("alard_lupton", "zogy", "sfft", "hotpants")


@dataclass(frozen=True)
class ZogyOptions:
    """Choices of the proper subtraction of Zackay, Ofek & Gal-Yam (2016).

    Parameters
    ----------
    image_space
        Filters cut to finite kernels that vary as polynomials, instead of Fourier tiles.
    astrometric_noise
        rms registration error, px; None to measure it from the stars.
    """

    image_space: bool = False
    astrometric_noise: float | None = None


@dataclass(frozen=True)
class SubtractOptions:
    """All choices of the subtraction.

    Parameters
    ----------
    method
        One of METHODS.
    convolve
        Of Alard-Lupton: ``"template"``, ``"science"`` or ``"auto"``, by the PSFs.
    preconvolve
        ``"none"``, or fit the kernel to the science image convolved with a ``"gaussian"`` of its
        own width or correlated with its ``"psf"``, and detect with that filter.
    basis, stars, fit
        Of the kernel.
    background_cell
        Cells of the mesh, px, on which the background that the fit left over is measured and
        taken off the difference; None to leave it.
    zogy, sfft, hotpants
        Of those methods; the last two as plain mappings for their adapters' options.
    """

    method: str = "alard_lupton"
    convolve: str = "template"
    preconvolve: str = "none"
    basis: BasisOptions = field(default_factory=BasisOptions)
    stars: StarOptions = field(default_factory=StarOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    background_cell: int | None = 128
    zogy: ZogyOptions = field(default_factory=ZogyOptions)
    sfft: dict = field(default_factory=dict)
    hotpants: dict = field(default_factory=dict)


def subtract_options(section):
    """SubtractOptions from the configuration's section; missing keys have their defaults."""
    default = SubtractOptions()
    changes = {}
    for item in fields(SubtractOptions):
        if item.name not in section:
            continue
        value, known = section[item.name], getattr(default, item.name)
        if isinstance(value, dict) and not isinstance(known, dict):
            value = replace(known, **{k: _plain(v) for k, v in value.items()})
        changes[item.name] = value
    options = replace(default, **changes)
    if options.stars.max_snr is None:
        options = replace(options, stars=replace(options.stars, max_snr=np.inf))
    return options


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def subtract(science, template, noise_correlation=None, *, options=None, catalogue=None):
    """Science minus matched template, by the method of the options.

    Parameters
    ----------
    science
        Exposure with PSF.
    template
        Exposure on the same grid, with PSF.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None for white noise.
    options
        SubtractOptions.
    catalogue
        skydelta.io.star_catalogue.StarCatalogue, where `options.stars.source` is ``"catalogue"``.

    Returns
    -------
    skydelta.difference.Difference

    Raises
    ------
    TooFewStarsError, BadKernelError
        From the fit.
    EngineMissingError, EngineFailedError
        From an external engine.
    """
    options = options or SubtractOptions()
    if options.method == "alard_lupton":
        from skydelta.alard_lupton import alard_lupton as method
    elif options.method == "zogy":
        from skydelta.zogy import zogy as method
    elif options.method in ("sfft", "hotpants"):
        from skydelta.external import external as method
    else:
        msg = f"unknown method {options.method!r}: one of {', '.join(METHODS)}"
        raise ValueError(msg)
    return method(science, template, noise_correlation, options, catalogue)
