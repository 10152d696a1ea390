"""How long `skydelta verify` and `skydelta status` take.

    python benchmarks/verify.py [--exposures 1000] [--size 64]

Writes products of so many exposures, of the shape and number that the workflow writes, and times
both commands' work on them (the files are in the page cache: on a cold disk its rate decides).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

from skydelta.dia_source import empty_catalogue
from skydelta.io.catalogues import concatenate_catalogues, write_catalogue
from skydelta.io.fits_writer import write_hdus
from skydelta.io.outcome import write_status
from skydelta.io.products import table_hdu
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.upkeep.progress import progress
from skydelta.upkeep.summary import write_summary
from skydelta.upkeep.tree import PRODUCTS, ExposureFiles
from skydelta.upkeep.verify import verify


def write_exposure_files(exposure, size):
    """Every product of one exposure without a source, link by link where they are the same."""
    planes = [
        fits.ImageHDU(np.ones((size, size), dtype), name=name)
        for name, dtype in (("IMAGE", ">f4"), ("MASK", ">i4"), ("VARIANCE", ">f4"))
    ]
    table = table_hdu({"x": np.zeros(0)}, "SOURCES")
    for stage in PRODUCTS:
        hdus = [table] if stage in ("detect", "measure") else planes
        write_hdus(exposure.product(stage), [fits.PrimaryHDU(), *(hdu.copy() for hdu in hdus)])
    write_catalogue(exposure.catalogue, empty_catalogue())
    write_status_file(exposure)


def write_status_file(exposure):
    status = {"visit": exposure.visit, "detector": exposure.detector, "band": exposure.band}
    write_status(exposure.status, status | {"status": "ok", "n_sources": 0, "n_sky_sources": 0})


def link_exposure_files(exposure, model):
    """The model's products under another exposure's names."""
    exposure.folder.mkdir(parents=True, exist_ok=True)
    for stage in PRODUCTS:
        os.link(model.product(stage), exposure.product(stage))
    os.link(model.catalogue, exposure.catalogue)
    write_status_file(exposure)


def write_results(results, n_exposures, size):
    """Results of a survey of visits of 100 detectors."""
    exposures = [ExposureFiles(k // 100, k % 100, "r", results) for k in range(n_exposures)]
    write_exposure_files(exposures[0], size)
    for exposure in exposures[1:]:
        link_exposure_files(exposure, exposures[0])
    write_tracts_mapping(results / "overlaps" / "tracts_mapping.sqlite3", [])
    rows = [f"{e.visit},{e.detector},{e.band}" for e in exposures]
    table = results / "overlaps" / "exposures.csv"
    table.write_text("\n".join(["visit,detector,band", *rows]) + "\n")
    write_summary(results / "status" / "summary.csv", [e.status for e in exposures])
    catalogue = results / "catalogue" / "diaSources.parquet"
    concatenate_catalogues([exposures[0].catalogue], [catalogue])


def timed(what, function, *arguments, **options):
    """Print the CPU and wall seconds of a call; its result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function(*arguments, **options)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what:>16} {cpu:8.2f} CPU s {wall:8.2f} s")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--exposures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "results"
        write_results(results, arguments.exposures, arguments.size)
        verdict = timed("verify", verify, results)
        timed("verify --quick", verify, results, data=False)
        timed("status", progress, results)
    print(f"{verdict.exposures} exposures, {verdict.files} files, {verdict.size / 1e9:.2f} GB")
    if not verdict.is_good:
        raise SystemExit(f"problems: {verdict.problems[:3]}")


if __name__ == "__main__":
    main()
