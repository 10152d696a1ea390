"""What the workflow costs beside its science: processes, imports, Snakemake itself.

    python benchmarks/overhead.py [--size 512] [--runs 3]

Simulates an exposure and its coadds and runs `snakemake --cores 1` on them as a user does. Every
Python process of the run notes its own CPU seconds: until the first line of a program runs, in
imports before and from the first of skydelta's modules on, and altogether; the least of the runs
is printed. `preamble` is what Snakemake puts in front of a script; `work` is what is left, on a
small exposure mostly the science of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from chain import ROOT, write_survey

CHAIN = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
JOINT = ("overlap", "catalogue", "summary")
KINDS = ("start", "preamble", "imports", "work")

HOOK = """
import atexit, builtins, json, os, resource, sys, time

started, importing, spent = time.process_time(), False, {"preamble": 0.0, "imports": 0.0}
plain_import = builtins.__import__

def timed_import(name, *arguments, **options):
    global importing
    if importing:
        return plain_import(name, *arguments, **options)
    kind = "imports" if name.startswith("skydelta") or "skydelta" in sys.modules else "preamble"
    importing, begun = True, time.process_time()
    try:
        return plain_import(name, *arguments, **options)
    finally:
        importing = False
        spent[kind] += time.process_time() - begun

def note():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    total = usage.ru_utime + usage.ru_stime
    figures = {"program": sys.argv[0], "start": started, "total": total, **spent}
    with open(os.path.join(os.environ["OVERHEAD_NOTES"], f"{os.getpid()}.json"), "w") as stream:
        json.dump(figures, stream)

builtins.__import__ = timed_import
atexit.register(note)
"""
"""sitecustomize.py of every process of the measured run."""


def measured_run(folder, notes):
    """{rule, or "snakemake": {kind: CPU s}} of one run of everything."""
    for old in notes.glob("*.json"):
        old.unlink()
    (notes / "sitecustomize.py").write_text(HOOK)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--forceall"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--config", f"exposures={folder}/exposures.csv", f"coadds={folder}/coadds.csv"]
    command += ["--", "results/catalogue/diaSources.parquet", "results/status/summary.csv"]
    command += ["results/overlaps/tracts_mapping.sqlite3"]
    paths = [str(notes), str(ROOT / "src")]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    env = {**os.environ, **threads}
    env |= {"PYTHONPATH": os.pathsep.join(paths), "OVERHEAD_NOTES": str(notes)}
    subprocess.run(command, check=True, capture_output=True, env=env)
    figures = {}
    for path in notes.glob("*.json"):
        found = json.loads(path.read_text())
        found["work"] = found["total"] - found["start"] - found["preamble"] - found["imports"]
        figures[rule_of(Path(found.pop("program")))] = found
    return figures


def rule_of(program):
    """Rule of a script's copy (tmpX.RULE.py), or "snakemake"."""
    return "snakemake" if "snakemake" in program.parts[-2:] else program.name.split(".")[-2]


def print_table(least):
    """A line for each process and their sums."""
    print(f"{'CPU s':>12}" + "".join(f"{kind:>10}" for kind in (*KINDS, "total")))
    sums = defaultdict(float)
    for rule in (*CHAIN, *JOINT):
        print(f"{rule:>12}" + "".join(f"{least[rule][kind]:10.2f}" for kind in (*KINDS, "total")))
        for kind in KINDS:
            sums[kind] += least[rule][kind] if rule in CHAIN else 0.0
    print(f"{'chain':>12}" + "".join(f"{sums[kind]:10.2f}" for kind in KINDS))
    snakemake = least["snakemake"]["total"]
    overhead = sum(sums[kind] for kind in KINDS if kind != "work")
    print(f"{'snakemake':>12}{snakemake:10.2f}   its own process, all jobs of the run")
    print(f"{'overhead':>12}{overhead + snakemake:10.2f}   chain without its work, and snakemake")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, notes = Path(temporary) / "survey", Path(temporary) / "notes"
        folder.mkdir()
        notes.mkdir()
        write_survey(folder, arguments.size)
        runs = [measured_run(folder, notes) for _ in range(arguments.runs)]
    least = {
        rule: min((run[rule] for run in runs), key=lambda found: found["total"]) for rule in runs[0]
    }
    print_table(least)


if __name__ == "__main__":
    main()
