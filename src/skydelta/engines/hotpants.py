"""The program hotpants (Becker 2015), which convolves the template with Alard-Lupton kernels.

It is run as it is, in a temporary folder; github.com/acbecker/hotpants is not part of this
project. What its README leaves to the user, and what is easily got wrong, is set here:

* a pixel is valid between -il and -iu (-tl and -tu): the lower limits are 0 by default, which
  rejects half of a sky-subtracted image, the upper ones 25000;
* stars for the kernel are taken below -tuk, which stays at 25000 whatever -tu is;
* a masked pixel is lost in the output only if the bit 0x80 is set in the input mask; any other
  bit keeps it from the kernel fit alone.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from skydelta.engines import (
    EngineFailedError,
    EngineMissingError,
    EngineResult,
    bad_pixels,
    fwhms,
    kernel_grid,
)
from skydelta.psf import FWHM_PER_SIGMA

_SIGMA_FLOOR = 1.4
"""Least width of the middle Gaussian, px: half of it is the narrowest that can be sampled."""

_BAD_INPUT = 0x80 | 0x01
"""Value of a bad pixel in the input masks: bad, and of bad value."""

_BAD_OUTPUT = 0x8000
"""Bit of the output mask of a pixel without a difference."""

_FIXED = (
    *("-inim", "-tmplim", "-outim", "-ini", "-tni", "-imi", "-tmi", "-oni", "-omi", "-savexy"),
    *("-hki", "-oki", "-ki", "-c", "-n", "-pca", "-rf", "-rkw", "-nrx", "-nry", "-gd", "-nc"),
    *("-sht", "-nsht", "-fi", "-fin", "-sum", "-mous", "-ssf", "-cmp"),
)
"""Arguments that decide what the output means: the reader below relies on them."""


@dataclass(frozen=True)
class HotpantsOptions:
    """All choices of a run of hotpants.

    Parameters
    ----------
    program
        Name of the program on PATH, or its path.
    order, background_order
        Degrees of the polynomials over the image (-ko, -bgo).
    half
        Half width of the kernel, px (-r); None for 2.5 times the larger FWHM.
    stamp_half
        Half width of the stamps about stars, px (-rss); None for 6 times the larger FWHM.
    sigmas
        Widths of the three Gaussians, px (-ng); None for 0.5, 1 and 2 times the width that turns
        one seeing into the other, at least 1.4 px.
    degrees
        Degree of the polynomial on each Gaussian.
    cell
        px; every cell of the image of about this size gives one star to the fit (-nsx, -nsy).
    substamps
        Stars kept in reserve in each cell (-nss).
    max_peak
        Highest peak of a star for the fit, as a fraction of the saturation level (-tuk, -iuk).
    kernel_nodes
        Kernels are sampled on so many positions along each axis.
    extra
        Further arguments, for example ``("-ft", "10")``, one string each.

    Raises
    ------
    ValueError
        For an extra argument that would change the meaning of the output.
    """

    program: str = "hotpants"
    order: int = 2
    background_order: int = 1
    half: int | None = None
    stamp_half: int | None = None
    sigmas: tuple | None = None
    degrees: tuple = (6, 4, 2)
    cell: float = 100.0
    substamps: int = 3
    max_peak: float = 0.9
    kernel_nodes: int = 5
    extra: tuple = ()

    def __post_init__(self):
        taken = [a for a in map(str, self.extra) if a.lower() in _FIXED]
        if taken:
            msg = f"these arguments of hotpants are set by skydelta: {' '.join(taken)}"
            raise ValueError(msg)
        if self.sigmas is not None and len(self.sigmas) != len(self.degrees):
            msg = f"{len(self.sigmas)} Gaussian widths but {len(self.degrees)} degrees"
            raise ValueError(msg)


def run_hotpants(science, template, options=None):
    """Science minus template with hotpants, always convolving the template.

    Parameters
    ----------
    science, template
        Exposures on one grid, each with its PSF.
    options
        HotpantsOptions.

    Returns
    -------
    EngineResult
        Its noise takes the template's noise as white.

    Raises
    ------
    EngineMissingError
        If the program is not installed.
    EngineFailedError
        If it ends with an error, finds no star or writes no difference.
    NoPsfError
        If one of the exposures has no PSF.
    """
    options = options or HotpantsOptions()
    program = _find(options.program)
    with tempfile.TemporaryDirectory(prefix="skydelta_hotpants_") as folder:
        folder = Path(folder)
        bad = bad_pixels(science, template)
        _write_inputs(folder, science, template, bad)
        command = [program, *_arguments(science, template, bad, options)]
        started = time.perf_counter()
        code, cpu_seconds, log = _run(command, folder)
        wall_seconds = time.perf_counter() - started
        if code != 0:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise EngineFailedError(f"hotpants ended with {how}", log)
        return _read_outputs(folder, science.shape, options, cpu_seconds, wall_seconds, log)


def _find(program):
    found = shutil.which(program)
    if found is None:
        msg = (
            f"the program {program!r} is not installed: get it from "
            "https://github.com/acbecker/hotpants, build it with cfitsio and put it on PATH"
        )
        raise EngineMissingError(msg)
    return str(Path(found).absolute())


def _write_inputs(folder, science, template, bad_planes):
    """Image, noise and mask of both exposures, without a value that is not finite."""
    for name, exposure, bad in zip("it", (science, template), bad_planes, strict=True):
        middle = np.median(exposure.image[~bad]) if not bad.all() else 0.0
        noise = np.sqrt(np.where(exposure.variance > 0, exposure.variance, np.nan))
        typical = np.median(noise[~bad]) if not bad.all() else 1.0
        for kind, plane in (
            ("image", np.where(np.isfinite(exposure.image), exposure.image, middle)),
            ("noise", np.where(np.isfinite(noise), noise, typical)),
            ("mask", np.where(bad, _BAD_INPUT, 0)),
        ):
            dtype = np.int16 if kind == "mask" else np.float32
            fits.PrimaryHDU(plane.astype(dtype)).writeto(folder / f"{name}_{kind}.fits")


def _arguments(science, template, bad_planes, options):
    """Command line; files are named relative to the folder: its buffers for names are short."""
    ny, nx = science.shape
    fwhm_science, fwhm_template = fwhms(science, template)
    fwhm = max(fwhm_science, fwhm_template)
    half = options.half or max(round(2.5 * fwhm), 3)
    stamp_half = options.stamp_half or max(round(6.0 * fwhm), half)
    cell = max(options.cell, 2 * (stamp_half + half + 1))
    arguments = ["-inim", "i_image.fits", "-tmplim", "t_image.fits", "-outim", "difference.fits"]
    arguments += ["-ini", "i_noise.fits", "-tni", "t_noise.fits"]
    arguments += ["-imi", "i_mask.fits", "-tmi", "t_mask.fits"]
    arguments += ["-oni", "noise.fits", "-omi", "mask.fits", "-savexy", "stars.reg", "-hki"]
    arguments += ["-c", "t", "-n", "i", "-v", "0"]
    for name, exposure, bad in zip("it", (science, template), bad_planes, strict=True):
        lower, upper = _limits(exposure, bad)
        arguments += [f"-{name}l", lower, f"-{name}u", upper]
        arguments += [f"-{name}uk", options.max_peak * upper]
    arguments += ["-r", half, "-rss", stamp_half]
    arguments += ["-ko", options.order, "-bgo", options.background_order]
    arguments += ["-nsx", max(int(nx / cell), 1), "-nsy", max(int(ny / cell), 1)]
    arguments += ["-nss", options.substamps, "-ng", len(options.degrees)]
    sigmas = options.sigmas or _sigmas(fwhm_science, fwhm_template, len(options.degrees))
    for degree, sigma in zip(options.degrees, sigmas, strict=True):
        arguments += [degree, sigma]
    arguments += options.extra
    return [f"{a:.6g}" if isinstance(a, float) else str(a) for a in arguments]


def _limits(exposure, bad):
    """Valid counts: from below the lowest usable pixel to saturation."""
    usable = exposure.image[~bad]
    low, high = (float(usable.min()), float(usable.max())) if usable.size else (0.0, 1.0)
    margin = 0.01 * (high - low) + 1e-6
    upper = float(exposure.saturate) if np.isfinite(exposure.saturate) else high + margin
    return low - margin, max(upper, margin)


def _sigmas(fwhm_science, fwhm_template, n):
    """Half, one, two ... times the Gaussian width that turns one seeing into the other, px."""
    matching = np.sqrt(abs(fwhm_science**2 - fwhm_template**2)) / FWHM_PER_SIGMA
    return [float(max(matching, _SIGMA_FLOOR) * 2.0**k) for k in range(-1, n - 1)]


def _run(command, folder):
    """Exit code, CPU seconds of this child, and what it wrote."""
    log = folder / "hotpants.log"
    with log.open("wb") as stream:
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise EngineFailedError(f"hotpants cannot be started: {error}") from error
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    return child.returncode, usage.ru_utime + usage.ru_stime, text


def _read_outputs(folder, shape, options, cpu_seconds, wall_seconds, log):
    try:
        with fits.open(folder / "difference.fits") as hdus:
            image = hdus[0].data.astype(np.float32)
            header = hdus[0].header
            table, solution = hdus[-1].header, np.asarray(hdus[-1].data["Region0"], float)
        noise = fits.getdata(folder / "noise.fits").astype(np.float32)
        bits = fits.getdata(folder / "mask.fits").astype(np.int32)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise EngineFailedError(f"hotpants wrote no difference image ({error})", log) from error
    if "KSUM00" not in header:
        msg = "hotpants fitted no kernel: it found no star; lower its threshold with extra -ft"
        raise EngineFailedError(msg, log)
    x, y = kernel_grid(shape, options.kernel_nodes)
    kernels = _kernels(table, solution, shape, x, y)
    if not np.isfinite(kernels).all():
        raise EngineFailedError("hotpants found a kernel that is not finite", log)
    lost = ((bits & _BAD_OUTPUT) != 0) | ~np.isfinite(image)
    stars = _stars(folder / "stars.reg")
    notes = [f"hotpants fitted its kernel to {len(stars)} stars"]
    if float(header.get("DSIG00", 0)) > 0:
        ratio = float(header["DSIGE00"]) / float(header["DSIG00"])
        notes.append(f"the noise hotpants measures is {ratio:.2f} of what it expects")
    return EngineResult(
        image=np.where(lost, np.float32(0), image),
        lost=lost,
        noise=np.where(lost, np.float32(0), noise),
        kernel_x=x,
        kernel_y=y,
        kernels=kernels,
        order=int(table["CKORDER"]),
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        stars=stars,
        notes=tuple(notes),
        log=log,
    )


def _kernels(header, solution, shape, x, y):
    """Kernels at positions from the table of a solution.

    The solution is, from its second element on, the constant coefficient of the first basis
    function, then for each of the others the coefficients of x^i y^j with i the slower index and
    i + j at most the order; x and y run from -1 to 1 over the image.

    Parameters
    ----------
    header, solution
        Of the table: its header, and the column of the only region.
    shape
        (ny, nx).
    x, y
        (n,) 0-based px.
    """
    n = int(header["NGAUSS"])
    degrees = [int(header[f"DGAUSS{k + 1}"]) for k in range(n)]
    sigmas = [float(header[f"SGAUSS{k + 1}"]) for k in range(n)]
    basis = _basis(degrees, sigmas, int(header["FWKERN"]))
    order, (ny, nx) = int(header["CKORDER"]), shape
    xf, yf = 2.0 * np.asarray(x) / nx - 1.0, 2.0 * np.asarray(y) / ny - 1.0
    terms = np.array([xf**i * yf**j for i in range(order + 1) for j in range(order + 1 - i)])
    varying = solution[2 : 2 + (len(basis) - 1) * len(terms)].reshape(-1, len(terms))
    return solution[1] * basis[0] + np.einsum("bt,tn,byx->nyx", varying, terms, basis[1:])


def _basis(degrees, sigmas, size):
    """(n_basis, size, size): Gaussians times x^i y^j, those even in both with the first taken off.

    The even ones have unit sum before that; hotpants leaves the others, of zero sum, unscaled.
    """
    u = np.arange(size) - float(size // 2)
    basis = []
    for degree, sigma in zip(degrees, sigmas, strict=True):
        gauss = np.exp(-0.5 * (u / sigma) ** 2)
        for i in range(degree + 1):
            for j in range(degree + 1 - i):
                fx, fy = gauss * u**i, gauss * u**j
                function = np.outer(fy, fx)
                if i % 2 == 0 and j % 2 == 0:
                    function /= fx.sum() * fy.sum()
                    if basis:
                        function -= basis[0]
                basis.append(function)
    return np.array(basis)


def _stars(path):
    """(n, 2) 0-based positions from the list of regions, whose positions count from 1."""
    if not path.exists():
        return np.zeros((0, 2))
    found = re.findall(r"box\(\s*(-?\d+),\s*(-?\d+),", path.read_text())
    return np.array(found, float).reshape(-1, 2) - 1.0
