"""What Snakemake itself costs on a large survey: dry run and no-op rerun, CPU time and memory.

    python benchmarks/scale.py [--visits 1 10 40] [--batch N] [--execute] [--keep DIR]

Makes tables of VISITS x 189 exposures and the coadds under them, tiny images with true headers,
and times `snakemake -n` on them. Then it puts an empty file under the name of every product and
times a run that has nothing to do. With --execute it then runs all jobs with `--touch`, which does
nothing but Snakemake's own work for each (minutes). With --batch the jobs are those of one of N
batches.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DETECTORS = 189
KINDS = ("template", "subtracted", "diffexp", "footprints", "sources")
PATCH = 0.2222  # deg, 4000 px of 0.2 arcsec


def cards(ra, dec, n, size, rotation):
    """Cards of the header of an n x n image of `size` deg."""
    scale = size / n
    c, s = scale * math.cos(rotation), scale * math.sin(rotation)
    return {
        "SIMPLE": "T",
        "BITPIX": -32,
        "NAXIS": 2,
        "NAXIS1": n,
        "NAXIS2": n,
        "CTYPE1": "'RA---TAN'",
        "CTYPE2": "'DEC--TAN'",
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CRPIX1": (n + 1) / 2,
        "CRPIX2": (n + 1) / 2,
        "CD1_1": -c,
        "CD1_2": s,
        "CD2_1": s,
        "CD2_2": c,
    }


def write_image(path, **where):
    """A FITS image of zeros, written by hand: 40,000 of them through astropy take minutes."""
    text = "".join(
        f"{key:8}= {value:>20}".ljust(80)
        if isinstance(value, str)
        else f"{key:8}= {value:>20.12G}".ljust(80)
        for key, value in cards(n=20, **where).items()
    ) + "END".ljust(80)
    path.write_bytes(text.ljust(-(-len(text) // 2880) * 2880).encode() + bytes(2880))


def write_survey(folder, visits):
    """The two tables of a survey of `visits` x 189 exposures on coadds, and their images."""
    for name in ("exposures", "coadds"):
        (folder / name).mkdir(parents=True)
    lines = ["visit,detector,band,path"]
    for visit in range(visits):
        ra0, dec0 = 60.0 + 0.3 * (visit % 7), 0.3 * (visit // 7 % 5)
        for detector in range(DETECTORS):
            row, column = divmod(detector, 14)
            name = f"exposures/{visit:08d}-{detector:03d}.fits"
            where = {"ra": ra0 + 0.24 * (column - 7), "dec": dec0 + 0.24 * (row - 7)}
            write_image(folder / name, **where, size=0.22, rotation=0.1 * visit)
            lines.append(f"{visit},{detector},i,{name}")
    (folder / "exposures.csv").write_text("\n".join(lines) + "\n")
    lines = ["tract,patch,band,path"]
    for y in range(26):
        for x in range(27):
            name = f"coadds/1-{x}-{y}.fits"
            where = {"ra": 58.0 + PATCH * x, "dec": -2.0 + PATCH * y}
            write_image(folder / name, **where, size=PATCH * 1.05, rotation=0.0)
            lines.append(f'1,"{x},{y}",i,{name}')
    (folder / "coadds.csv").write_text("\n".join(lines) + "\n")


def timed(folder, *arguments):
    """CPU seconds, wall seconds, peak MiB and output of `snakemake` on the survey."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--cores", "1", "--quiet", "rules", *arguments),
        *("--config", f"exposures={folder}/exposures.csv", f"coadds={folder}/coadds.csv"),
    ]
    start, out = time.time(), folder / "out.txt"
    with out.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(out.read_text()[-3000:])
    cpu = usage.ru_utime + usage.ru_stime
    return cpu, time.time() - start, usage.ru_maxrss / 1024, out.read_text()


def products(visits):
    """Names of every file that the workflow would make, those made first first."""
    names = [f"results/overlaps/{name}" for name in ("tracts_mapping.sqlite3", "overlaps.csv")]
    names.append("results/overlaps/exposures.csv")
    for visit in range(visits):
        for detector in range(DETECTORS):
            name = f"{visit:08d}-i-det{detector:03d}"
            folder = f"results/deepDiff/v{visit:08d}-fi"
            names += [f"{folder}/{kind}_{name}.fits" for kind in KINDS]
            names += [f"{folder}/diaSrc_{name}.parquet", f"results/status/{name}.json"]
    names += ["results/status/summary.csv", "results/catalogue/diaSources.parquet"]
    return [*names, "results/catalogue/diaSources.fits", "results/report.html"]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--execute", action="store_true")
    arguments = parser.parse_args()
    batch = ["--batch", f"summary=1/{arguments.batch}"] if arguments.batch else []
    print("exposures  what         CPU s   wall s   peak MiB   jobs", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for visits in arguments.visits:
            folder = (arguments.keep or Path(scratch)) / f"survey{visits}"
            if not folder.exists():
                write_survey(folder, visits)
            report(folder, visits * DETECTORS, batch, execute=arguments.execute)


def report(folder, count, batch, execute):
    """Print the lines of one survey."""

    def line(what, cpu, wall, peak, text):
        jobs = [row.split()[1] for row in text.splitlines() if row.startswith("total ")]
        last = jobs[-1] if jobs else text.strip().splitlines()[-1][:40]
        print(f"{count:9d}  {what:11s} {cpu:6.1f} {wall:8.1f} {peak:10.0f}   {last}", flush=True)

    line("first start", *timed(folder, "-n", *batch))
    line("dry run", *timed(folder, "-n", *batch))
    for name in products(count // DETECTORS):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    line("nothing", *timed(folder, *batch))
    if execute:
        line("touched", *timed(folder, "--touch", "--forcerun", "template", *batch))


if __name__ == "__main__":
    main()
