"""Which detections are called dipoles: misregistered stars against transients and variables.

    python benchmarks/dipoles.py [--seeds 1 2 3]

Pairs of 1024 x 1024 px with a star every 64 px, science FWHM 4.5 px, template 3.5 px and as noisy,
photon noise of gain 1, subtracted with the exact kernel and decorrelated. On every pair all stars
are of one kind:

  shifted     the star's template image is off by 0.1 to 0.5 px
  transient   a new or vanished source at 0 to 2 FWHM from the star, S/N 5.5 to 60
  variable    the star's flux has changed by so much that the change has S/N 5.5 to 60

Stars have S/N 10 to 3000, log-uniform. All kinds but the first have a registration error of 0.02 px
rms, and all of them a flux scale wrong by 0.3 % rms. Only what `detect` finds counts. A shifted
star's lobes have an S/N of their own: that of a PSF fit at the lobe's peak.
"""

import argparse
import os

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from astropy.wcs import WCS

from skydelta.detect import detect
from skydelta.dipoles import fit_all_dipoles
from skydelta.exposure import Exposure
from skydelta.mask import Mask
from skydelta.psf import FWHM_PER_SIGMA, GridPsf

SIZE, SPACING, SKY = 1024, 64, 100.0
SIGMA_SCIENCE, SIGMA_TEMPLATE = 4.5 / FWHM_PER_SIGMA, 3.5 / FWHM_PER_SIGMA
REGISTRATION, SCALE = 0.02, 0.003
KINDS = ("shifted", "transient", "variable")


def frequencies(n):
    """Angular frequencies of an n x n image, rad / px."""
    return 2 * np.pi * np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))


def filtered(image, transfer):
    return np.fft.ifft2(np.fft.fft2(image) * transfer).real


def transfers(n):
    """The matching kernel's and the whitening filter's transfer functions."""
    k = frequencies(n)
    matching = np.exp(-0.5 * k**2 * (SIGMA_SCIENCE**2 - SIGMA_TEMPLATE**2))
    return matching, np.sqrt(2.0 / (1.0 + matching**2))


def psf_of(transfer, size=51):
    return GridPsf.constant(np.fft.fftshift(np.fft.ifft2(transfer).real))


def paint(x, y, flux, sigma):
    """Gaussian stars on an image."""
    image = np.zeros((SIZE, SIZE))
    half = int(8 * sigma) + 1
    for xs, ys, fs in zip(x, y, flux, strict=True):
        x0, y0 = int(xs) - half, int(ys) - half
        at = np.arange(2 * half + 1)
        gx = np.exp(-0.5 * ((at + x0 - xs) / sigma) ** 2)
        gy = np.exp(-0.5 * ((at + y0 - ys) / sigma) ** 2)
        image[y0 : y0 + at.size, x0 : x0 + at.size] += (
            fs / (2 * np.pi * sigma**2) * gy[:, None] * gx
        )
    return image


def events(kind, n, sigma_flux, rng):
    """What happens to n stars: a dict of arrays by name."""
    snr = 10 ** rng.uniform(1.0, 3.5, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    out = {
        "star": snr * sigma_flux,
        "shift": np.zeros(n),
        "change": np.zeros(n),
        "distance": np.zeros(n),
        "angle": angle,
    }
    change = 10 ** rng.uniform(np.log10(5.5), np.log10(60), n) * sigma_flux
    change *= np.where(rng.random(n) < 0.5, 1, -1)
    if kind == "shifted":
        out["shift"] = rng.uniform(0.1, 0.5, n)
        out["star"] = 10 ** rng.uniform(1.5, 3.5, n) * sigma_flux
    else:
        out["change"] = change
        if kind == "transient":
            out["distance"] = rng.uniform(0, 2 * SIGMA_SCIENCE * FWHM_PER_SIGMA, n)
    return out


def simulate(kind, seed):
    """(difference, science, truth) of one pair."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    matching, whitening = transfers(SIZE)
    grid = np.arange(SPACING, SIZE - SPACING // 2, SPACING)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(grid, grid))
    n = x.size
    small = 51
    k = frequencies(small)
    science_psf = psf_of(np.exp(-0.5 * (k * SIGMA_SCIENCE) ** 2))
    psf = psf_of(np.exp(-0.5 * (k * SIGMA_SCIENCE) ** 2) * transfers(small)[1])
    sigma_flux = np.sqrt(2 * SKY) / np.sqrt((psf.stamp(0, 0) ** 2).sum())
    truth = events(kind, n, sigma_flux, rng) | {"x": x, "y": y}
    shift = np.full((2, n), 0.0)
    if kind == "shifted":
        shift[:] = truth["shift"] * np.array([np.cos(truth["angle"]), np.sin(truth["angle"])])
    else:
        shift[:] = rng.normal(0, REGISTRATION, (2, n))
    star, change = truth["star"], truth["change"]
    in_science, in_template = np.maximum(change, 0), np.maximum(-change, 0)
    ex = x + truth["distance"] * np.cos(truth["angle"])
    ey = y + truth["distance"] * np.sin(truth["angle"])
    scale = 1 + SCALE * rng.normal(size=n)
    science = paint(x, y, star, SIGMA_SCIENCE) + paint(ex, ey, in_science, SIGMA_SCIENCE)
    template = paint(x + shift[0], y + shift[1], star * scale, SIGMA_TEMPLATE)
    template += paint(ex, ey, in_template, SIGMA_TEMPLATE)
    seen = [rng.normal(image, np.sqrt(SKY + image)) for image in (science, template)]
    raw = seen[0] - filtered(seen[1], matching)
    light = SKY + science + SKY + filtered(template, matching)
    difference = exposure_of(filtered(raw, whitening), light, psf)
    truth["sigma"] = sigma_flux
    return difference, exposure_of(seen[0] + 20.0, SKY + science, science_psf), truth


def exposure_of(image, variance, psf):
    return Exposure(
        image=image.astype(np.float32),
        variance=variance.astype(np.float32),
        mask=Mask.empty(image.shape),
        wcs=WCS(naxis=2),
        psf=psf,
    )


def measured(kind, seeds):
    """Detections near their star: (fits' figures, truth) as one dict of arrays."""
    parts = []
    for seed in seeds:
        difference, science, truth = simulate(kind, seed)
        sources = detect(difference).sources
        fwhm = difference.psf.compute_shape(0, 0).fwhm
        fits = fit_all_dipoles(difference, science, sources, fwhm)
        without = fit_all_dipoles(difference, science, sources, fwhm, preference=-np.inf)
        apart = np.hypot(sources["x"][:, None] - truth["x"], sources["y"][:, None] - truth["y"])
        near = apart.argmin(axis=1)
        ok = apart[np.arange(len(sources)), near] < 3 * fwhm
        row = {k: np.broadcast_to(v, truth["x"].shape)[near][ok] for k, v in truth.items()}
        row["n_detections"] = np.bincount(near[ok], minlength=truth["x"].size)[near[ok]]
        row["score"] = np.fmax(np.abs(sources["score"]), np.abs(sources["score_negative"]))[ok]
        row["weaker"] = np.fmin(np.abs(sources["score"]), np.abs(sources["score_negative"]))[ok]
        row["paired"] = sources["is_dipole"][ok]
        for name in ("attempted", "is_dipole", "failed", "preference", "separation"):
            row[name] = getattr(fits, name)[ok]
        for i, sign in enumerate(("pos", "neg")):
            row[f"flux_{sign}"] = fits.flux[ok, i]
            row[f"error_{sign}"] = fits.flux_error[ok, i]
            row[f"x_{sign}"], row[f"y_{sign}"] = fits.x[ok, i], fits.y[ok, i]
        row["passes"] = without.is_dipole[ok]
        row["difference_error"] = fits.difference_error[ok]
        row["mean_error"] = fits.mean_error[ok]
        row["chi2"] = fits.chi2[ok]
        row["n_data"] = fits.n_data[ok]
        parts.append(row)
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def counted(rows, kind):
    """Detections that count: of a shifted star, or of an event that is itself above 5 sigma.

    In the other kinds what is left is the star's own residual of registration, rightly a dipole.
    """
    if kind == "shifted":
        return rows["score"] >= 5
    error = np.where(np.isfinite(rows["difference_error"]), rows["difference_error"], rows["sigma"])
    return np.abs(rows["change"]) >= 5 * error


def shift_figures(rows):
    """Lines on the fits of shifted stars: separation, fluxes and their pulls by the shift."""
    true = rows["shift"]
    apart = np.hypot(rows["x_pos"] - rows["x_neg"], rows["y_pos"] - rows["y_neg"])
    for low, high in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5)):
        some = rows["attempted"] & (true >= low) & (true < high)
        pulls = [
            (rows[f"flux_{sign}"] - rows["star"])[some] / rows[f"error_{sign}"][some]
            for sign in ("pos", "neg")
        ]
        mean = 0.5 * (rows["flux_pos"] + rows["flux_neg"])[some] / rows["star"][some]
        yield (
            f"{low:.1f}-{high:.1f} {some.sum():6d} {np.median(apart[some] / true[some]):10.3f} "
            f"{np.std(apart[some] - true[some]):9.3f} {np.median(mean):9.3f} "
            f"{np.std(pulls[0]):8.2f} {np.std(pulls[1]):8.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    results = {kind: measured(kind, arguments.seeds) for kind in KINDS}
    chosen = {kind: counted(rows, kind) for kind, rows in results.items()}
    print("called dipoles at the default criteria")
    for kind, rows in results.items():
        some, called = chosen[kind], rows["is_dipole"][chosen[kind]]
        pairs = rows["paired"][some]
        print(
            f"  {kind:>10} {called.mean():7.4f} of {some.sum()}; detect's pairs {pairs.mean():.4f}"
        )
    print("\nby the least preference: part called dipoles")
    print("preference " + " ".join(f"{kind:>10}" for kind in KINDS))
    for cut in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5):
        parts = [
            (rows["passes"] & (rows["preference"] > cut))[chosen[kind]].mean()
            for kind, rows in results.items()
        ]
        print(f"{cut:10.2f} " + " ".join(f"{part:10.4f}" for part in parts))
    print("\nshift px  stars separation   scatter flux/true pull pos pull neg")
    for line in shift_figures(results["shifted"]):
        print(line)


if __name__ == "__main__":
    main()
