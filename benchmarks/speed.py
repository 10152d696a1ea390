"""CPU time and memory of the subtraction, in memory and as processes, beside hotpants.

    python benchmarks/speed.py [--size 4096] [--repeats 3] [--sizes 1024 2048 4096 8192]

On one simulated pair (FWHM 0.9 over 0.75 arcsec; template already on the science grid):

  in memory   everything from two exposures in memory to a white difference: search for stars, fit,
              subtraction, variance, mask, background, decorrelation; for the default basis, the
              tutorial's (33 functions of order 4) and ZOGY in both spaces. One core.
  processes   the workflow's jobs subtract and decorrelate, start-up, reading and writing included,
              and `hotpants -ko 2 -bgo 1` (otherwise its defaults) on the same pair, if it is on
              PATH; ratio in the same run.
  scaling     the default in memory at several sizes, per pixel.
  threads     wall time of the default with one and with two threads.

The least and the median of the repeats are printed: other work on the machine only adds.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = {
    "basis": {
        "scale_by_fwhm": False,
        "sigmas": [0.1, 0.7, 1.5, 3.0],
        "degrees": [2, 4, 2, 2],
        "from_psf": False,
    },
    "fit": {"order": 4},
}
CASES = {
    "default": {},
    "tutorial, order 4": TUTORIAL,
    "zogy": {"method": "zogy"},
    "zogy, image space": {"method": "zogy", "zogy": {"image_space": True}},
}


def simulate(size, folder):
    """A pair written as the stages read it; the template on the science grid."""
    from skydelta.io.native import write_exposure
    from skydelta.io.templates import write_template
    from skydelta.simulate import simulate_pair
    from skydelta.template import build_template

    pair = simulate_pair((size, size), fwhm_science=0.9, fwhm_template=0.75, seed=1)
    coadds = [coadd for _, _, coadd in pair.coadds]
    template = build_template(pair.science.wcs, pair.science.shape, coadds, band="i")
    write_exposure(folder / "science.fits", pair.science)
    write_template(folder / "template.fits", template)


def read(folder):
    from skydelta.io.reader import read_exposure
    from skydelta.io.templates import read_template

    return (read_exposure(folder / "science.fits"), *read_template(folder / "template.fits"))


def child(function, *arguments):
    """What a function of this module prints as a fresh process: {name: value}."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import speed; "
        f"speed.{function}(*sys.argv[2:])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, arguments)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.rsplit(" ", 1) for line in out.splitlines() if line.startswith("@"))


def in_memory(folder, case, threads=1):
    """Subtract and decorrelate the pair of a folder; prints CPU, wall and peak memory."""
    from skydelta import alard_lupton, zogy  # noqa: F401  (what subtract would import)
    from skydelta.decorrelate import decorrelate
    from skydelta.parallel import set_threads
    from skydelta.stage import keep_freed_memory
    from skydelta.subtract import subtract, subtract_options

    keep_freed_memory()
    set_threads(int(threads))
    science, template, correlation = read(Path(folder))
    options = subtract_options(CASES[case])
    system = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    start = time.process_time(), time.perf_counter()
    difference = subtract(science, template, correlation, options=options)
    middle = time.process_time()
    decorrelate(difference, science, template, correlation)
    end = time.process_time(), time.perf_counter()
    print("@subtract", middle - start[0])
    print("@decorrelate", end[0] - middle)
    print("@cpu", end[0] - start[0])
    print("@system", resource.getrusage(resource.RUSAGE_SELF).ru_stime - system)
    print("@wall", end[1] - start[1])
    print("@peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def job(stage, folder):
    """One stage's script as the workflow runs it, without Snakemake."""
    import runpy

    import yaml

    folder = Path(folder)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    files = {name: str(folder / f"{name}.fits") for name in ("science", "template")}
    files |= {name: str(folder / f"{name}.fits") for name in ("subtracted", "diffexp")}
    row = {"band": "i", "path": files["science"], "psf": None, "weight": None, "mask": None}

    class Named(list):
        def __getattr__(self, name):
            return files[name]

    class Params(dict):
        __getattr__ = dict.__getitem__

    snakemake = SimpleNamespace(
        rule=stage,
        threads=1,
        log=[str(folder / "log")],
        input=Named(files.values()),
        output=Named([files["subtracted" if stage == "subtract" else "diffexp"]]),
        params=Params(section=config[stage], images=config["input"], exposure=row, code=""),
    )
    script = ROOT / "workflow" / "scripts" / f"{stage}.py"
    runpy.run_path(str(script), init_globals={"snakemake": snakemake})
    print("@peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def cpu_of(action):
    """(CPU seconds of the child processes of an action, what it returns)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, result


def write_for_hotpants(folder):
    """Plain images and their saturation levels."""
    from astropy.io import fits

    science, template, _ = read(Path(folder))
    for exposure, name in ((science, "hp_science"), (template, "hp_template")):
        image = exposure.image.copy()
        image[~(exposure.variance > 0)] = -1e4
        fits.writeto(Path(folder) / f"{name}.fits", image, overwrite=True)
        print(f"@{name} {exposure.saturate}")


def hotpants(folder, levels):
    command = ["hotpants", "-inim", "hp_science.fits", "-tmplim", "hp_template.fits"]
    command += ["-outim", "hp_difference.fits", "-ko", "2", "-bgo", "1", "-n", "i", "-c", "t"]
    for flag, name in (("i", "hp_science"), ("t", "hp_template")):
        top = float(levels[f"@{name}"])
        command += [f"-{flag}u", str(top), f"-{flag}uk", str(0.9 * top), f"-{flag}l", "-5000"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def table(title, rows):
    print(f"\n{title}")
    for label, values in rows:
        print(f"{label:>22} {min(values):8.2f} least {statistics.median(values):8.2f} median")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--keep", type=Path, help="folder for the images, kept and reused")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary)
        folders = {}
        for size in sorted({arguments.size, *arguments.sizes}):
            folders[size] = root / str(size)
            if not (folders[size] / "template.fits").exists():
                folders[size].mkdir(parents=True, exist_ok=True)
                child("simulate_in", size, folders[size])
        report(arguments, folders)


def simulate_in(size, folder):
    simulate(int(size), Path(folder))


def report(arguments, folders):
    folder, repeats = folders[arguments.size], range(arguments.repeats)
    print(f"in memory, {arguments.size} x {arguments.size}, CPU s, one core")
    for case in CASES:
        runs = [child("in_memory", folder, case) for _ in repeats]
        cpu = sorted(float(run["@cpu"]) for run in runs)
        parts = {k: min(float(run[k]) for run in runs) for k in ("@subtract", "@decorrelate")}
        print(
            f"{case:>22} {cpu[0]:8.2f} least {statistics.median(cpu):8.2f} median   "
            f"(subtract {parts['@subtract']:.2f}, decorrelate {parts['@decorrelate']:.2f}; "
            f"{min(float(run['@system']) for run in runs):.2f} of it system), "
            f"peak {float(runs[0]['@peak']):.0f} MB with both images"
        )
    found = shutil.which("hotpants")
    levels = child("write_for_hotpants", folder) if found else {}
    ours, theirs, peaks = [], [], {}
    for _ in repeats:
        total = 0.0
        for stage in ("subtract", "decorrelate"):
            cpu, out = cpu_of(lambda stage=stage: child("job", stage, folder))
            total += cpu
            peaks[stage] = float(out["@peak"])
        ours.append(total)
        if found:
            theirs.append(cpu_of(lambda: hotpants(folder, levels))[0])
    rows = [("subtract + decorrelate", ours)]
    if found:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        rows += [("hotpants", theirs), ("ratio", ratios)]
    table("as processes, CPU s", rows)
    print("  peak memory, MB:", ", ".join(f"{k} {v:.0f}" for k, v in peaks.items()))
    if not found:
        print("  hotpants is not on PATH")
    print("\nscaling, CPU s in memory (least)")
    for size in arguments.sizes:
        least = min(float(child("in_memory", folders[size], "default")["@cpu"]) for _ in repeats)
        print(f"{size:>22} {least:8.2f} {1e6 * least / size**2:8.3f} microseconds a pixel")
    print("\nthreads, wall s in memory (least)")
    for case in ("default", "zogy"):
        walls = [
            min(float(child("in_memory", folder, case, n)["@wall"]) for _ in repeats)
            for n in (1, 2)
        ]
        print(
            f"{case:>22} {walls[0]:8.2f} one {walls[1]:8.2f} two, {walls[0] / walls[1]:.2f} times"
        )


if __name__ == "__main__":
    main()
