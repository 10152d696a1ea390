"""What the workflow knows before any job runs: exposures, coadds, and which lie under which."""

import json
from dataclasses import dataclass
from pathlib import Path

from skydelta.errors import TableError
from skydelta.overlap import overlap_edges
from skydelta.tables import CoaddRow, ExposureRow, read_coadds, read_exposures

CACHE = Path(".snakemake") / "skydelta"
"""Kept from one start to the next: footprints, edges and the plan of the demo."""


@dataclass(frozen=True)
class Survey:
    """The two tables and the edges between them.

    Parameters
    ----------
    exposures, coadds
        Rows of the tables.
    edges
        List of CoaddRow by (visit, detector, band).
    simulated
        Whether the images are made by the workflow's own simulator.
    footprints
        Footprints by path that are known beforehand; empty unless simulated.
    """

    exposures: list
    coadds: list
    edges: dict
    simulated: bool
    footprints: dict

    def exposure(self, visit, detector, band):
        """The row of one exposure."""
        return self._by_key[int(visit), int(detector), band]

    @property
    def _by_key(self):
        # Built once: thousands of jobs look their row up.
        if "_index" not in self.__dict__:
            object.__setattr__(self, "_index", {row.key: row for row in self.exposures})
        return self.__dict__["_index"]


def located(config, folders):
    """The parts of the configuration that name files, with absolute paths.

    Jobs work in the working directory, which need not be where the command was given.

    Parameters
    ----------
    config
        The whole configuration.
    folders
        Where a relative path may start, the first that has the file wins.

    Returns
    -------
    dict
        exposures, coadds, data, truth, overlap, simulate, and the star_catalogue if the kernel's
        stars come from one. The demo's tables stay as they are.

    Raises
    ------
    TableError
        If a file does not exist.
    """
    paths = {key: config[key] for key in ("exposures", "coadds", "data", "truth", "simulate")}
    if not is_simulated(config):
        given = [key for key in ("exposures", "coadds", "data", "truth") if paths[key]]
        paths |= {key: _found(paths[key], key, folders) for key in given}
    overlap = dict(config["overlap"])
    if overlap["tracts_mapping"]:
        name = "overlap.tracts_mapping"
        overlap["tracts_mapping"] = _found(overlap["tracts_mapping"], name, folders)
    stars = config["subtract"]["stars"]
    catalogue = stars["catalogue"] if stars["source"] == "catalogue" else None
    if catalogue:
        catalogue = _found(catalogue, "subtract.stars.catalogue", folders)
    return paths | {"overlap": overlap, "star_catalogue": catalogue}


def load_survey(config):
    """The survey that a configuration names.

    Parameters
    ----------
    config
        The configuration, or the part of it that `located` gives.

    Raises
    ------
    TableError
        If a table is missing or malformed.
    """
    simulated = is_simulated(config)
    if simulated:
        exposures, coadds, footprints = _demo(config["simulate"])
    else:
        exposures = read_exposures(config["exposures"], config["data"])
        coadds = read_coadds(config["coadds"], config["data"])
        _refuse_braces([*exposures, *coadds])
        footprints = {}
    edges = overlap_edges(
        exposures,
        coadds,
        mapping=config["overlap"]["tracts_mapping"],
        footprints=footprints,
        cache=CACHE,
        margin_px=config["overlap"]["margin_px"],
    )
    return Survey(exposures, coadds, edges, simulated, footprints)


def is_simulated(config):
    """Whether the tables are those of the built-in demo."""
    return config["exposures"] == demo_table(config, "exposures")


def demo_table(config, name):
    """Path of a table of the simulated survey: exposures, coadds or truth."""
    return f"{config['simulate']['outdir']}/{name}.csv"


def _found(name, key, folders):
    """Absolute path of a file, in the first of the folders that has it."""
    places = [Path(folder).resolve() for folder in folders]
    for place in places:
        if (place / name).exists():
            return str(place / name)
    where = ", ".join(dict.fromkeys(str(place) for place in places))
    msg = f"{key}: {name} does not exist in {where}: correct it in the configuration"
    raise TableError(msg)


def _refuse_braces(rows):
    """Snakemake has no way to tell a brace in a file's name from a wildcard."""
    for row in rows:
        for path in (row.path, row.psf, row.weight, row.mask):
            if path and ("{" in path or "}" in path):
                msg = f"{path}: Snakemake takes braces for wildcards; rename the file or folder"
                raise TableError(msg)


def simulation_options(options):
    """Keyword arguments of `simulate_survey` from the configuration's section."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if key != "outdir"
    }


def _demo(options):
    """Rows and footprints of the simulated survey, from the cache or from its plan."""
    from skydelta.io.footprints import Footprint, code_digest, load_cache, store_cache

    key = code_digest() + json.dumps(options, sort_keys=True) + _simulator_code()
    store = CACHE / "demo.json"
    plan = load_cache(store, key)
    if plan is None:
        plan = _plan(options)
        store_cache(store, key, plan)
    outdir = Path(options["outdir"])
    exposures = [
        ExposureRow(visit, detector, band, str(outdir / path))
        for visit, detector, band, path in plan["exposures"]
    ]
    coadds = [
        CoaddRow(tract, tuple(patch), band, str(outdir / path))
        for tract, patch, band, path in plan["coadds"]
    ]
    footprints = {
        str(outdir / path): Footprint(tuple(map(tuple, outline)), scale)
        for path, (outline, scale) in plan["footprints"].items()
    }
    return exposures, coadds, footprints


def _simulator_code():
    from skydelta.fingerprint import fingerprint

    return fingerprint(Path(__file__).parent / "simulate" / "survey.py", CACHE / "code.json")


def _plan(options):
    import inspect

    from skydelta.io.footprints import footprint_of
    from skydelta.simulate.survey import plan_survey

    known = inspect.signature(plan_survey).parameters
    chosen = {k: v for k, v in simulation_options(options).items() if k in known}
    plan = plan_survey(**chosen)
    footprints = {path: footprint_of(*grid) for path, grid in plan.grids().items()}
    return {
        "exposures": plan.exposures(),
        "coadds": plan.coadds(),
        "footprints": {path: (f.outline, f.pixel_scale) for path, f in footprints.items()},
    }
