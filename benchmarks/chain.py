"""CPU time and memory of every stage for one exposure, as the workflow runs it.

    python benchmarks/chain.py [--size 4096] [--keep DIR]

Simulates an exposure and its coadds, runs `snakemake --cores 1` on them, and prints what
Snakemake's own benchmark files say of each job: CPU seconds (process start and imports included)
and peak memory. `empty` is a Python process that does nothing, `imports` what the stage's imports
alone take.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("overlap", "template", "subtract", "decorrelate", "detect", "measure", "calibrate")


def write_survey(folder, size):
    """One exposure, its coadds and the two tables."""
    from skydelta.io.native import write_exposure
    from skydelta.simulate import simulate_pair

    pair = simulate_pair((size, size), fwhm_science=0.9, fwhm_template=0.75, seed=1)
    write_exposure(folder / "science.fits", pair.science)
    (folder / "exposures.csv").write_text("visit,detector,band,path\n1,0,i,science.fits\n")
    lines = ["tract,patch,band,path"]
    for tract, (x, y), coadd in pair.coadds:
        write_exposure(folder / f"coadd_{x}_{y}.fits", coadd)
        lines.append(f'{tract},"{x},{y}",i,coadd_{x}_{y}.fits')
    (folder / "coadds.csv").write_text("\n".join(lines) + "\n")


def cpu_of(command, **options):
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def imports_of(stage):
    """CPU seconds that importing the stage's modules takes."""
    sys.path.insert(0, str(ROOT / "src"))
    from skydelta.fingerprint import modules_of

    modules = modules_of(ROOT / "workflow" / "scripts" / f"{stage}.py")
    return cpu_of([sys.executable, "-c", "import " + ", ".join(modules)])


def job_figures(folder, stage):
    """(CPU s, peak MB) from the benchmark file of a stage."""
    files = sorted((folder / "logs").glob(f"{stage}*.tsv")) + sorted(
        (folder / "logs" / stage).glob("*.tsv")
    )
    with files[0].open() as stream:
        row = next(csv.DictReader(stream, delimiter="\t"))
    return float(row["cpu_time"]), float(row["max_rss"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--keep", type=Path, help="folder to work in, kept and reused")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "coadds.csv").exists():
            subprocess.run(
                [
                    sys.executable,
                    "-c",
                    "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import chain; "
                    "chain.write_survey(pathlib.Path(sys.argv[2]), int(sys.argv[3]))",
                    str(Path(__file__).parent),
                    str(folder),
                    str(arguments.size),
                ],
                check=True,
            )
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--forceall"]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
        command += ["--config", f"exposures={folder}/exposures.csv", f"coadds={folder}/coadds.csv"]
        command += ["--", "results/catalogue/diaSources.parquet"]
        command += ["results/overlaps/tracts_mapping.sqlite3"]
        whole = cpu_of(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        print(f"{'stage':>12} {'CPU s':>8} {'imports':>8} {'peak MB':>8}")
        total = 0.0
        for stage in STAGES:
            cpu, memory = job_figures(folder, stage)
            total += cpu
            print(f"{stage:>12} {cpu:8.2f} {imports_of(stage):8.2f} {memory:8.0f}", flush=True)
        print(f"{'sum':>12} {total:8.2f}")
        idle = cpu_of([part for part in command if part != "--forceall"])
        print(f"{'whole run':>12} {whole:8.2f}   all children of one snakemake, itself included")
        print(f"{'no-op run':>12} {idle:8.2f}   the same command with nothing to do")
        print(f"{'empty':>12} {cpu_of([sys.executable, '-c', '']):8.2f}")


if __name__ == "__main__":
    main()
