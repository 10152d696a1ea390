"""CPU time of LSST files: opening exposures, and the headers that index and overlap stage read.

    python benchmarks/lsst_files.py [--size 4096] [--files 500]

Writes an exposure of that size with a PsfexPsf as lsst.afw would, plain and compressed (GZIP_2,
lossless, as the butler writes), and many small ones, and reads them. Figures of headers are scaled
to 10,000 files.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from lsst import psfex, tan

from skydelta.exposure import Exposure
from skydelta.io.afw.exposure_writer import write_afw
from skydelta.io.footprints import read_footprint
from skydelta.io.index import index_folders
from skydelta.io.reader import read_exposure
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib


def exposure(size):
    """Noise with everything that a calexp has."""
    rng = np.random.default_rng(1)
    image = rng.normal(0, 30, (size, size)).astype(np.float32)
    return Exposure(
        image=image,
        variance=np.full_like(image, 900.0),
        mask=Mask.empty(image.shape),
        wcs=tan((56.0, -31.0), (size / 2, size / 2)),
        psf=psfex(rng),
        photo_calib=PhotoCalib(0.7, 0.001),
        band="i",
        mjd=60000.0,
        exptime=30.0,
    )


def cpu(function, repeats=1):
    """Least CPU seconds of a call."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return min(spent)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--files", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        large, small = exposure(options.size), exposure(32)
        for compress in (False, True):
            path = folder / f"large{compress:d}.fits"
            wrote = cpu(lambda path=path, how=compress: write_afw(path, large, compress=how))
            read = cpu(lambda path=path: read_exposure(path).psf.stamp(100, 100), 3)
            kind = "compressed" if compress else "plain"
            megabytes = path.stat().st_size / 1e6
            figures = f"read {read:6.2f}  wrote {wrote:6.2f}"
            print(f"{kind:12} {megabytes:6.0f} MB  {figures}")
        for layout in ("gen2 names", "other names"):
            for version in (1, 2):
                headers(folder / f"{layout}{version}", layout, version, small, options.files)


def headers(folder, layout, version, small, count):
    """Print the lines of many files of one version and layout."""
    paths = []
    for visit in range(count):
        name = f"{visit:08d}-i"
        place = folder / "flat" / f"{visit}.fits"
        if layout == "gen2 names":
            place = folder / "calexp" / name / "R20" / f"calexp_{name}-R20-S21-det079.fits"
        place.parent.mkdir(parents=True, exist_ok=True)
        if paths:
            os.link(paths[0], place)
        else:
            write_afw(place, small, expinfo_version=version)
        paths.append(place)
    each = 10_000 / count
    indexed = each * cpu(lambda: index_folders([folder]))
    outlined = each * cpu(lambda: [read_footprint(path) for path in paths])
    print(
        f"version {version}, {layout:12} index {indexed:6.1f}  outlines {outlined:6.1f} per 10,000"
    )


if __name__ == "__main__":
    main()
