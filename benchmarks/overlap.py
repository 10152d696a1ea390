"""CPU time of finding the coadds under the exposures of a survey, from known outlines.

    python benchmarks/overlap.py [--exposures 10000] [--patches 50000]

Tracts of 7 x 7 patches of 4200 px on a grid of 1.6 deg, exposures of 4072 x 4000 px anywhere on
them, at any rotation. Reading headers is not part of it: footprints are cached from run to run.
"""

import argparse
import math
import random
import time

from skydelta import sphere
from skydelta.io.footprints import Footprint
from skydelta.overlap import find_coverage, find_overlaps
from skydelta.tables import CoaddRow, ExposureRow

SCALE = math.radians(0.2 / 3600)
PER_TRACT, COLUMNS = 49, 32


def centre(tract):
    """Ra and dec of a tract, deg."""
    dec = -40 + 1.5 * (tract // COLUMNS)
    return 1.6 * (tract % COLUMNS) / math.cos(math.radians(dec)), dec


def outline(ra, dec, x0, y0, x1, y1, rotation=0.0):
    """The polygon of a box of pixels on the tangent plane at ra, dec."""
    a, d = math.radians(ra), math.radians(dec)
    east = (-math.sin(a), math.cos(a), 0.0)
    north = (-math.sin(d) * math.cos(a), -math.sin(d) * math.sin(a), math.cos(d))
    c, s = SCALE * math.cos(rotation), SCALE * math.sin(rotation)
    corners = []
    for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)):
        u, v = x * c - y * s, x * s + y * c
        point = [
            p + u * e + v * n
            for p, e, n in zip(sphere.unit_vector(ra, dec), east, north, strict=True)
        ]
        length = math.hypot(*point)
        corners.append(tuple(p / length for p in point))
    return tuple(corners)


def make_coadds(count):
    """Rows and footprints of so many patches."""
    rows, footprints = [], {}
    for number in range(count):
        tract, patch = divmod(number, PER_TRACT)
        x, y = patch % 7, patch // 7
        x0, y0 = 4000 * x - 14100, 4000 * y - 14100
        row = CoaddRow(tract, (x, y), "i", f"coadd-{tract}-{x},{y}")
        rows.append(row)
        box = outline(*centre(tract), x0, y0, x0 + 4200, y0 + 4200)
        footprints[row.path] = Footprint(box, SCALE)
    return rows, footprints


def make_exposures(count, tracts):
    """Rows and footprints of so many exposures."""
    rows, footprints = [], {}
    for visit in range(count):
        ra, dec = centre(random.randrange(tracts))
        dec += random.uniform(-0.75, 0.75)
        ra += random.uniform(-0.8, 0.8) / math.cos(math.radians(dec))
        row = ExposureRow(visit, 0, "i", f"exposure-{visit}")
        rows.append(row)
        box = outline(ra, dec, -2036, -2000, 2036, 2000, random.uniform(0, 2 * math.pi))
        footprints[row.path] = Footprint(box, SCALE)
    return rows, footprints


def main():
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=10_000)
    parser.add_argument("--patches", type=int, default=50_000)
    arguments = parser.parse_args()
    random.seed(1)
    coadds, footprints = make_coadds(arguments.patches)
    exposures, more = make_exposures(arguments.exposures, -(-arguments.patches // PER_TRACT))
    footprints |= more
    start = time.process_time()
    overlaps = find_overlaps(exposures, coadds, footprints)
    middle = time.process_time()
    coverage = find_coverage(exposures, coadds, footprints, overlaps)
    end = time.process_time()
    covered = sum(one.status == "ok" for one in coverage)
    print(
        f"{len(exposures)} exposures, {len(coadds)} patches: {len(overlaps)} overlaps in "
        f"{middle - start:.1f} CPU s, coverage of {covered} exposures in {end - middle:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
